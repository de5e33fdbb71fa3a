"""How fast the processor runs, and whether it is throttled: from the firmware, which knows, else from the kernel, which believes."""

from __future__ import annotations

import re
from pathlib import Path

from alula.device import firmware
from alula.device.power.sysfs import read_int
from alula.runtime.errors import MeterError

FREQUENCY = re.compile(r"frequency\(\d+\)=(\d+)")
KERNEL = "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq"
NOW = firmware.UNDER_VOLTAGE | firmware.CAPPED | firmware.THROTTLED | firmware.SOFT_LIMIT


class Speed:
    """The clock below `root`. source: `the firmware`, `the kernel`, or '' if nobody says it

    The firmware throttles without telling the kernel, whose figure is then too high.
    """

    def __init__(self, root: Path) -> None:
        self._root, self.source = root, "the firmware"
        if self._firmware_mhz() is None:
            self.source = "the kernel"
        if self.mhz() is None:
            self.source = ""

    def mhz(self) -> float | None:
        """The clock now, or None."""
        if self.source == "the firmware":
            return self._firmware_mhz()
        try:
            return read_int(self._root / KERNEL) / 1e3 if self.source else None
        except MeterError:
            return None

    def limits(self) -> list[str]:
        """Why the firmware holds the clock down now; nothing where it cannot be asked."""
        if self.source != "the firmware":
            return []
        try:
            bits = firmware.parse_throttled(firmware.ask("get_throttled", self._root))
        except (OSError, ValueError):
            return []
        return firmware.meanings(bits & NOW)[0]

    def _firmware_mhz(self) -> float | None:
        try:
            found = FREQUENCY.search(firmware.ask("measure_clock arm", self._root))
        except OSError:
            return None
        return int(found[1]) / 1e6 if found else None
