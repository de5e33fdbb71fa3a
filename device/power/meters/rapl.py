"""RAPL: the energy counters of x86 processors, read through the kernel's powercap interface.

Domains nest: psys contains the package, the package contains core and uncore, and dram is beside them in
the tree. Only packages are summed, so nothing is counted twice.
Source: Linux Documentation/power/powercap/powercap.rst, drivers/powercap/powercap_sys.c.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path

from alula.device.power.kinds import Candidate, Kind, Options, Trust, no_rest, offer
from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Clock, Reading, timed
from alula.device.power.sysfs import read_int, read_text
from alula.runtime.errors import MeterError

# No package draws more for long: beyond it, a difference is a reset counter or a second wrap.
MAX_PACKAGE_W = 1000.0
PERMISSION_HINT = (
    "the kernel keeps this counter for root (CVE-2020-8694); "
    "run: sudo chmod -R a+r /sys/class/powercap/ (lasts until reboot, a udev rule lasts longer)"
)


@dataclass
class Zone:
    """One package's counter and where it stood."""

    path: Path
    range_uj: int | None
    last_uj: int = 0

    def read_uj(self) -> int:
        return read_int(self.path / "energy_uj", PERMISSION_HINT)


class Rapl:
    """The energy of all processor packages.

    root  : folder of powercap zones
    raise : MeterError if there is no package zone, or it may not be read
    """

    accuracy = Accuracy.MEASURED
    covers = "processor package(s), not the whole machine"
    interval_s = 0.002  # the counters move about once a millisecond

    def __init__(self, root: Path | str = "/sys/class/powercap", clock: Clock = time.monotonic_ns) -> None:
        self._clock = clock
        self._zones = _packages(Path(root))
        self.name = "rapl"
        self.notes: tuple[str, ...] = ()
        self._energy_j = 0.0
        self._last_ns, values = timed(self._read_all, clock)
        for zone, value in zip(self._zones, values, strict=True):
            zone.last_uj = value

    def read(self) -> Reading:
        """Energy since the meter was opened, and the mean power since the last reading."""
        t_ns, values = timed(self._read_all, self._clock)
        dt_s = max((t_ns - self._last_ns) / 1e9, 0.0)
        note = ""
        step_uj = 0
        for zone, value in zip(self._zones, values, strict=True):
            delta_uj, problem = _difference(zone, value, dt_s)
            step_uj += delta_uj
            note = note or problem
            zone.last_uj = value
        self._last_ns = t_ns
        self._energy_j += step_uj * 1e-6
        power_w = step_uj * 1e-6 / dt_s if dt_s > 0 and not note else None
        return Reading(t_ns, power_w=power_w, energy_j=self._energy_j, restarted=bool(note), note=note)

    def close(self) -> None:
        """Nothing is held open."""

    def _read_all(self) -> list[int]:
        return [zone.read_uj() for zone in self._zones]


def _difference(zone: Zone, value: int, dt_s: float) -> tuple[int, str]:
    """Microjoules since the last value, and what is wrong with them ('' if nothing)."""
    where = zone.path.name
    if zone.range_uj is not None and dt_s * MAX_PACKAGE_W > zone.range_uj * 1e-6:
        return 0, f"{where}: no reading for {dt_s:.0f} s, the counter may have wrapped more than once"
    delta_uj = value - zone.last_uj
    if delta_uj >= 0:
        return delta_uj, ""
    if zone.range_uj is None:
        return 0, f"{where}: the counter went back and its range is unknown"
    delta_uj += zone.range_uj
    # 0.05 s of grace: a counter is updated in steps, and two reads may be closer than one step.
    if delta_uj < 0 or delta_uj * 1e-6 > MAX_PACKAGE_W * (dt_s + 0.05):
        return 0, f"{where}: the counter went back without a wrap, it was reset"
    return delta_uj, ""


def _packages(root: Path) -> list[Zone]:
    """The package zones below `root`, one per package, MSR before MMIO (both show the same counter)."""
    found: dict[str, Zone] = {}
    for path in sorted(root.glob("intel-rapl:*")) + sorted(root.glob("intel-rapl-mmio:*")):
        if not (path / "name").exists():
            continue
        domain = read_text(path / "name")
        if domain.startswith("package-") and domain not in found:
            range_path = path / "max_energy_range_uj"
            found[domain] = Zone(path, read_int(range_path) if range_path.exists() else None)
    if not found:
        raise MeterError(f"{root}: expected a RAPL package zone, got none; virtual machines and ARM boards have none")
    return list(found.values())


def _open(rest: str, options: Options, root: Path, clock: Clock) -> Rapl:
    no_rest("rapl", rest)
    options.only()
    return Rapl(root / "sys/class/powercap", clock)


def _survey(root: Path, clock: Clock) -> list[Candidate]:
    make = functools.partial(Rapl, root / "sys/class/powercap", clock)
    return [offer("rapl", Trust.COUNTER, Rapl.accuracy, Rapl.covers, make)]


KIND = Kind("rapl", "rapl", _open, _survey, limits=Limits(0.0, 8 * MAX_PACKAGE_W))
