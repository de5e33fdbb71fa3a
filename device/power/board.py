"""Which board this is, from the device tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alula.device.power.sysfs import read_text
from alula.runtime.errors import MeterError


@dataclass(frozen=True)
class Identity:
    """What a board calls itself, such as `Raspberry Pi 5 Model B Rev 1.0`, and its serial number; '' on a PC."""

    model: str = ""
    serial: str = ""

    @property
    def is_pi(self) -> bool:
        return self.model.startswith("Raspberry Pi")


def identify(root: Path | str = "/") -> Identity:
    """The board whose proc/ is below `root`."""
    return Identity(*(_text(Path(root) / "proc/device-tree" / name) for name in ("model", "serial-number")))


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except MeterError:
        return ""
