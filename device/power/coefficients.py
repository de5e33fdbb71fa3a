"""Corrections of meters, as `alula power calibrate` finds them: `power_w = gain * raw_w + offset_w`, one file for all boards.

The file is JSON, at $ALULA_POWER, or power.json in $XDG_CONFIG_HOME/alula (~/.config/alula). It may be copied to other boards:

    {"format": "alula-power-coefficients-1",
     "corrections": [{"meter": "pmic", "board": "Raspberry Pi 5 Model B Rev 1.0", "serial": "1000000012345678",
                      "gain": 1.12, "offset_w": 0.61, "source": "3 steps against csv:um25c.csv, 2026-11-30", "residual_w": 0.05}]}

meter  : the name of the meter it is for (`Meter.name`), without a correction
board, serial : whose. A correction of this very board is taken, else one of this model, else none
residual_w    : the largest difference that the fit leaves
A file without the key, or one that is damaged, is an error that names it: a correction must not vanish in silence.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alula.device.power.board import Identity
from alula.runtime.errors import MeterError
from alula.runtime.files import write_whole

FORMAT = "alula-power-coefficients-1"


@dataclass(frozen=True)
class Correction:
    """`power_w = gain * raw_w + offset_w` for one meter on one board, and where that comes from."""

    gain: float = 1.0
    offset_w: float = 0.0
    source: str = "given"
    meter: str = ""
    board: str = ""
    serial: str = ""
    residual_w: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gain) and self.gain > 0 and math.isfinite(self.offset_w)):
            got = f"{self.gain} and {self.offset_w}"
            raise MeterError(f"correction: expected a gain above 0 and a finite offset_w, got {got}; calibrate again")

    @property
    def is_none(self) -> bool:
        """Whether it changes nothing."""
        return self.gain == 1.0 and self.offset_w == 0.0


def path_of(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the file is, or would be."""
    if named := environment.get("ALULA_POWER"):
        return Path(named)
    base = environment.get("XDG_CONFIG_HOME")
    if not base:
        home = environment.get("HOME") or os.path.expanduser("~")
        base = (
            os.devnull if home == "~" else os.path.join(home, ".config")
        )  # nobody's home: no file, and none can be made
    return Path(base) / "alula" / "power.json"


def load(path: Path | None = None) -> list[Correction]:
    """All corrections in the file; none if there is no file. raise: MeterError if it is damaged or cannot be read"""
    path = path_of() if path is None else path
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise MeterError(f"{path}: expected corrections of meters, got {error}; fix or remove the file") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        got = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise MeterError(f"{path}: expected the format {FORMAT}, got {got!r}; fix or remove the file")
    entries = document.get("corrections")
    if not isinstance(entries, list):
        raise MeterError(
            f"{path}: expected a list of corrections, got {type(entries).__name__}; fix or remove the file"
        )
    return [_correction(path, entry) for entry in entries]


def find(corrections: list[Correction], meter: str, board: Identity) -> Correction | None:
    """This board's correction of a meter, or that of its model; the last one of several."""
    fitting = [entry for entry in corrections if entry.meter == meter]
    own = [entry for entry in fitting if entry.serial and entry.serial == board.serial]
    shared = [entry for entry in fitting if entry.board == board.model]
    return next(reversed(own or shared), None)


def save(correction: Correction, path: Path | None = None) -> Path:
    """Put a correction into the file, in place of the one for the same meter and board. The file is never half written.

    return : where it is. raise: MeterError if the file is damaged or cannot be written
    """
    path = path_of() if path is None else path
    kept = [entry for entry in load(path) if _key(entry) != _key(correction)]
    document = {"format": FORMAT, "corrections": [asdict(entry) for entry in (*kept, correction)]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda handle: handle.write((json.dumps(document, indent=2) + "\n").encode()))
    except OSError as error:
        raise MeterError(f"{path}: expected to write corrections, got {error}; set ALULA_POWER to a file") from error
    return path


def _key(entry: Correction) -> tuple[str, str, str]:
    return entry.meter, entry.board, entry.serial


def _correction(path: Path, entry: Any) -> Correction:
    try:
        values: dict[str, Any] = {
            name: value for name, value in entry.items() if name in Correction.__dataclass_fields__
        }
        residual_w = values.pop("residual_w", None)
        gain, offset_w = float(values.pop("gain")), float(values.pop("offset_w"))
        words: dict[str, Any] = {name: str(value) for name, value in values.items()}
        return Correction(gain, offset_w, **words, residual_w=None if residual_w is None else float(residual_w))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise MeterError(
            f"{path}: expected gain and offset_w as numbers, got {error}; fix or remove the file"
        ) from error
