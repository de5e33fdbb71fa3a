"""Choose a meter: the most trusted source on this machine, and why better ones were refused.

Order of trust: hardware energy counter (an INA228, RAPL), a shunt through hwmon, the utilisation model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from alula.device.power.hwmon import Hwmon, find_chips
from alula.device.power.meter import Clock, Meter
from alula.device.power.rapl import Rapl
from alula.device.power.replay import Replay
from alula.device.power.utilisation import Utilisation
from alula.runtime.errors import MeterError

USAGE = "auto, rapl, hwmon, hwmon:ADDRESS, hwmon:ADDRESS:CHANNEL, model, model:IDLE_W,MAX_W or replay:FILE.csv"
Found = Rapl | Hwmon | Utilisation


def select_meter(spec: str = "auto", root: Path | str = "/", clock: Clock = time.monotonic_ns) -> Meter:
    """The meter that `spec` names, or with `auto` the most trusted one that works.

    spec  : see USAGE. The model is always there, so `auto` always succeeds; what it refused is in its `notes`
    root  : the folder that holds sys/ and proc/
    raise : MeterError if a named meter is not there, or the name is unknown
    """
    kind, _, rest = spec.partition(":")
    if kind == "auto" and not rest:
        return _most_trusted(Path(root), clock)
    if kind == "rapl" and not rest:
        return Rapl(Path(root) / "sys/class/powercap", clock)
    if kind == "hwmon":
        return _hwmon(rest, Path(root), clock)
    if kind == "model":
        return _model(rest, Path(root), clock)
    if kind == "replay" and rest:
        return Replay(rest, clock=clock)
    raise MeterError(f"power meter: expected {USAGE}, got '{spec}'")


def survey(root: Path | str = "/", clock: Clock = time.monotonic_ns) -> dict[str, Found | MeterError]:
    """Every kind of meter, the most trusted first, with the meter or the reason why there is none."""
    base = Path(root)
    makers: dict[str, Callable[[], Found]] = {
        "rapl": lambda: Rapl(base / "sys/class/powercap", clock),
        "hwmon": lambda: Hwmon(root=base / "sys/class/hwmon", clock=clock),
        "model": lambda: _model("", base, clock),
    }
    if any((chip.folder / "energy1_input").exists() for chip in find_chips(base / "sys/class/hwmon")):
        makers = {"hwmon": makers["hwmon"]} | makers
    found: dict[str, Found | MeterError] = {}
    for kind, make in makers.items():
        try:
            found[kind] = make()
        except MeterError as error:
            found[kind] = error
    return found


def _most_trusted(root: Path, clock: Clock) -> Meter:
    refused: list[str] = []
    for kind, meter in survey(root, clock).items():
        if not isinstance(meter, MeterError):
            meter.notes = (*meter.notes, *refused)
            return meter
        refused.append(f"not used: {kind}: {meter}")
    raise MeterError(f"power meter: expected at least the utilisation model, got none: {'; '.join(refused)}")


def _hwmon(rest: str, root: Path, clock: Clock) -> Hwmon:
    address, _, channel = rest.partition(":")
    if channel and not channel.isdecimal():
        raise MeterError(f"power meter: expected hwmon:ADDRESS:CHANNEL with a number as channel, got 'hwmon:{rest}'")
    return Hwmon(address or None, int(channel or 1), root / "sys/class/hwmon", clock)


def _model(rest: str, root: Path, clock: Clock) -> Utilisation:
    path = root / "proc/device-tree/model"
    if not rest:
        return Utilisation(model_path=path, clock=clock)
    try:
        idle_w, max_w = (float(part) for part in rest.split(","))
    except ValueError as error:
        raise MeterError(f"power meter: expected model:IDLE_W,MAX_W like model:2.3,6.8, got 'model:{rest}'") from error
    return Utilisation(idle_w, max_w, model_path=path, clock=clock)
