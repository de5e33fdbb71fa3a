"""A known load: cores that are busy from a known instant on. For checks and calibrations of meters."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from alula.device.power.meter import Clock
from alula.runtime.errors import MeterError

# Waits for a byte, says that it begins, and spins until it is killed. Floats and integers, no memory: the same on every board.
SPIN = """
import sys
sys.stdin.buffer.read(1)
sys.stdout.write("."); sys.stdout.flush()
x = 1.0
while True:
    for _ in range(100000):
        x = x * 1.0000001 + 1e-9
"""
READY_S = 30.0  # to start an interpreter on the slowest board


class Load(Protocol):
    """So many busy cores between `start` and `stop`."""

    def start(self, cores: int) -> int:
        """Begin. return: monotonic ns of the instant when they are busy"""
        ...

    def stop(self) -> None:
        """End. Without a start nothing happens."""
        ...


class BusyCores:
    """Processes that spin. They are started beforehand, idle, so that the step is steep."""

    def __init__(self, cores: int, clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock
        self._waiting = [self._process() for _ in range(cores)]
        self._busy: list[subprocess.Popen[bytes]] = []

    def start(self, cores: int) -> int:
        """raise: MeterError if a process cannot be started"""
        while len(self._waiting) < cores:
            self._waiting.append(self._process())
        self._busy, self._waiting = self._waiting[:cores], self._waiting[cores:]
        for process in self._busy:
            assert process.stdin is not None
            process.stdin.write(b".")
            process.stdin.flush()
        for process in self._busy:
            assert process.stdout is not None
            if not process.stdout.read(1):
                raise MeterError("load: expected a busy core, got a process that ended; is there enough memory?")
        return self._clock()

    def stop(self) -> None:
        """End all that are busy."""
        _end(self._busy)
        self._busy = []

    def __enter__(self) -> BusyCores:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        _end(self._waiting)

    def _process(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen([sys.executable, "-S", "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise MeterError(
                f"load: expected to start {sys.executable}, got {error.strerror}; is there memory?"
            ) from error


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


Sleep = Callable[[float], None]
