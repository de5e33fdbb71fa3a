"""Run Python code in a child process, and distinguish an answer, an error, a signal and a hang.

A wheel that was built for a newer CPU kills the process that imports it, with signal 4 and no message.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

MARK = "\x1ealula "  # begins the line of the answer: what a module prints while it is imported is not one
PREAMBLE = """
import sys
sys.path[:] = {path!r}
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except Exception:
    pass
def answer(value):
    import json
    sys.stdout.write("\\n" + {mark!r} + json.dumps(value) + "\\n")
    sys.stdout.flush()
"""


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    answer : what it answered, if it came to that
    crash  : the signal that killed it, such as `SIGILL`; or empty
    hung   : it was stopped at the time limit
    error  : the last line of its traceback, or what else it said; or empty
    stderr : all of it
    """

    answer: dict[str, Any] = field(default_factory=dict)
    crash: str = ""
    hung: bool = False
    error: str = ""
    stderr: str = ""

    @property
    def lethal(self) -> bool:
        """Whether it would have taken the program with it."""
        return self.hung or bool(self.crash)

    @property
    def trouble(self) -> str:
        """What went wrong, in a few words; empty if nothing did."""
        if self.hung:
            return "hung, and was stopped"
        if self.crash:
            return f"killed by {self.crash}{MEANINGS.get(self.crash, '')}"
        return self.error


MEANINGS = {"SIGILL": " (an instruction that this CPU does not have)", "SIGSEGV": " (a wrong memory access)",
            "SIGKILL": " (out of memory?)", "SIGABRT": " (it gave up)"}  # fmt: skip


def ask_child(code: str, limit_s: float, *words: str) -> Outcome:
    """Run `code`, which calls `answer({...})`, with this process's module path. words: its sys.argv[1:]"""
    program = PREAMBLE.format(path=[entry or os.getcwd() for entry in sys.path], mark=MARK) + code
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return Outcome(error=f"no child process could be started: {error}")
    hung = False
    try:
        said, complained = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        hung = True
        _end(child)
        said, complained = child.communicate()
    except BaseException:  # Ctrl-C: a child in a session of its own does not hear it
        _end(child)
        child.wait()
        raise
    if hung:
        return Outcome(hung=True, stderr=complained)
    if child.returncode < 0:
        return Outcome(crash=_signal_name(-child.returncode), stderr=complained)
    answers = [line.removeprefix(MARK) for line in said.split("\n") if line.startswith(MARK)]
    if answers and child.returncode == 0:
        return Outcome(answer=json.loads(answers[-1]), stderr=complained)
    lines = complained.strip().splitlines()
    return Outcome(error=lines[-1].strip() if lines else f"ended with status {child.returncode}", stderr=complained)


def _end(child: subprocess.Popen[str]) -> None:
    """Kill the child and what it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except OSError:
        child.kill()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
