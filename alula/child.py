"""A command of the user's that runs inside one of ours: started, waited for, ended; its exit status is passed on."""

from __future__ import annotations

import shutil
import subprocess
from types import TracebackType

from alula.runtime.errors import SourceError

PATIENCE_S = 5.0  # from SIGTERM to SIGKILL


def check_command(words: list[str]) -> None:
    """raise: SourceError if there is no such command"""
    if words and shutil.which(words[0]) is None:
        raise SourceError(f"{words[0]}: expected a command, got none of that name; check the spelling and the PATH")


class Child:
    """A running command. It has our standard streams, and gets Ctrl-C from the terminal as we do.

    has_input : whether it may read our standard input; without, its own is empty
    raise     : SourceError if there is no such command, or it cannot be started
    """

    def __init__(self, words: list[str], has_input: bool = True) -> None:
        check_command(words)
        try:
            self._process = subprocess.Popen(words, stdin=None if has_input else subprocess.DEVNULL)
        except OSError as error:
            raise SourceError(
                f"{words[0]}: expected a command that starts, got {error.strerror}; check the file"
            ) from error

    def wait(self, seconds: float) -> bool:
        """Wait so long at most. return: whether it has ended"""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self._process.poll() is None:
            self._process.terminate()
            if not self.wait(PATIENCE_S):
                self._process.kill()
                self._process.wait()

    @property
    def status(self) -> int:
        """As a shell says it: 128 and the signal's number for one that a signal ended."""
        code = self._process.returncode
        return 128 - code if code < 0 else code

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.wait(PATIENCE_S)  # Ctrl-C came to it, too
        self.end()
