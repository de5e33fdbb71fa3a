"""Judge cases that may crash, hang or eat the memory: each in a forked process of its own, with limits of time and memory.

The parent must not have run a model yet: a fork copies no threads. What it has imported and loaded, the children have.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

C = TypeVar("C")


@dataclass(frozen=True)
class Judged(Generic[C]):
    """What became of one case.

    answer     : what `judge` returned; None if its process did not end by itself
    crash      : why there is no answer, or ""
    seconds    : wall time
    peak_bytes : the most memory that its process had resident, the parent's share included
    """

    case: C
    answer: Any
    crash: str
    seconds: float
    peak_bytes: int


@dataclass
class _Child(Generic[C]):
    case: C
    pid: int
    pipe: int
    started: float = field(default_factory=time.monotonic)
    data: bytes = b""


def judge_apart(
    cases: Iterable[C], judge: Callable[[C], Any], workers: int, seconds: float, more_bytes: int | None = None
) -> Iterator[Judged[C]]:
    """Judge each case in a process of its own, in the order in which they end.

    seconds    : after which a process is ended
    more_bytes : of address space that a process may take beside what it began with
    """
    waiting, running = iter(cases), dict[int, _Child[C]]()
    is_last = False
    try:
        while running or not is_last:
            while not is_last and len(running) < workers:
                case = next(waiting, None)
                if case is None:
                    is_last = True
                else:
                    child = _start(case, judge, more_bytes)
                    running[child.pipe] = child
            if not running:
                return
            patience = min(child.started for child in running.values()) + seconds - time.monotonic()
            ready, _, _ = select.select(list(running), [], [], max(patience, 0))
            for pipe in ready:
                data = os.read(pipe, 1 << 16)
                running[pipe].data += data
                if not data:
                    yield _end(running.pop(pipe), "")
            for child in [c for c in running.values() if time.monotonic() - c.started > seconds]:
                os.kill(child.pid, signal.SIGKILL)
                yield _end(running.pop(child.pipe), f"no answer within {seconds:.0f} s")
    finally:
        for child in running.values():
            os.kill(child.pid, signal.SIGKILL)
            _end(child, "interrupted")


def _start(case: C, judge: Callable[[C], Any], more_bytes: int | None) -> _Child[C]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return _Child(case, pid, reader)
    status = 1
    try:
        os.close(reader)
        if more_bytes is not None:
            with open("/proc/self/statm") as sizes:
                limit = int(sizes.read().split()[0]) * resource.getpagesize() + more_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        answer = pickle.dumps(judge(case))
        while answer:
            answer = answer[os.write(writer, answer) :]
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _end(child: _Child[C], crash: str) -> Judged[C]:
    """Collect a process that has closed its pipe, or was ended."""
    took = time.monotonic() - child.started
    os.close(child.pipe)
    _, status, usage = os.wait4(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if not crash and (code or not child.data):
        crash = f"the process died with status {code}"
    answer = None if crash else pickle.loads(child.data)
    return Judged(child.case, answer, crash, took, usage.ru_maxrss << 10)
