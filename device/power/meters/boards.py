"""Power of known boards as a straight line over processor load: `power_w = idle_w + slope_w * load`, load 0 to 1, at the stock clock.

MODELLED lines are the published linear fits of PowerJoular 1.1 (A. Noureddine, "PowerJoular and JoularJX: Multi-Platform Software
Power Monitoring Tools", IE 2022; https://github.com/joular/powerjoular), measured at the board's supply, 64-bit systems where there
is a choice. Its polynomials are not used: that of the Pi 5 gives 8.7 W idle and 3.7 W at full load.
Nobody has published a fit for the other boards. Those are GUESSED: the slope is that of a board with the same processor, scaled by the
clock; each says where its watts at rest come from.
A line over load does not see the mix of instructions, USB, cameras and radios. It is never a measurement.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from alula.device.power.meter import Accuracy
from alula.runtime.errors import MeterError

POWERJOULAR = "linear fit published with PowerJoular"
GUESSED = Accuracy.GUESSED


@dataclass(frozen=True)
class Board:
    """A board's line. `revision` as in /proc/device-tree/model, '' if it stands for all; clock_mhz: the stock clock, 0 if unknown."""

    model: str
    revision: str
    clock_mhz: float
    idle_w: float
    slope_w: float
    source: str
    accuracy: Accuracy = Accuracy.MODELLED


def _like(board: Board, model: str, clock_mhz: float, idle_w: float | None, why: str) -> Board:
    """A guess for a board with the same processor as one that was measured."""
    slope_w = board.slope_w * clock_mhz / board.clock_mhz
    rest_w = board.idle_w if idle_w is None else idle_w
    source = f"a guess, no fit exists: the processor is that of the {board.model.removeprefix('Raspberry ')}; {why}"
    return Board(model, "", clock_mhz, rest_w, slope_w, source, GUESSED)


PI_5 = Board("Raspberry Pi 5 Model B", "1.0", 2400, 4.403192, 3.457856, POWERJOULAR)
PI_4 = Board("Raspberry Pi 4 Model B", "1.2", 1500, 2.285693, 4.534427, POWERJOULAR)
PI_3B_PLUS = Board("Raspberry Pi 3 Model B Plus", "1.3", 1400, 2.002230, 3.298333, POWERJOULAR)
BOARDS = (
    PI_5,
    _like(PI_5, "Raspberry Pi 500", 2400, None, "a keyboard is in it"),
    _like(PI_5, "Raspberry Pi Compute Module 5", 2400, None, "what the carrier draws is not known"),
    PI_4,
    Board("Raspberry Pi 4 Model B", "1.1", 1500, 2.307256, 4.495801, POWERJOULAR),
    Board("Raspberry Pi 400", "1.0", 1800, 1.822133, 5.025369, POWERJOULAR),
    _like(PI_4, "Raspberry Pi Compute Module 4", 1500, None, "what the carrier draws is not known"),
    PI_3B_PLUS,
    _like(
        PI_3B_PLUS,
        "Raspberry Pi 3 Model A Plus",
        1400,
        1.1,
        "rest: without its Ethernet and hub, which take about 0.9 W",
    ),
    _like(PI_3B_PLUS, "Raspberry Pi Compute Module 3 Plus", 1200, 1.0, "rest: without Ethernet, hub and radio"),
    Board("Raspberry Pi 3 Model B", "1.2", 1200, 1.078204, 3.477373, POWERJOULAR),
    # 120 mA at rest (CNX Software, December 2021); full load is a guess between published 1.75 and 2.5 W.
    Board("Raspberry Pi Zero 2 W", "", 1000, 0.60, 1.50, "a guess, no fit exists; rest: 120 mA as published", GUESSED),
    Board("Raspberry Pi Zero W", "1.1", 1000, 0.920083, 0.473290, POWERJOULAR),
)


def find_board(device_tree_model: str) -> Board | None:
    """The line for a board that calls itself `Raspberry Pi 4 Model B Rev 1.2`, or None.

    The exact revision, else another one of the model, which `source` then says; else, as a guess, that of the model whose name this
    one begins with (`Compute Module 5 Lite`).
    """
    model, _, revision = device_tree_model.strip("\0 \n").partition(" Rev ")
    for board in BOARDS:
        if board.model == model and revision.startswith(board.revision):
            return board
    for board in BOARDS:
        if board.model == model:
            return dataclasses.replace(board, source=f"{board.source}, of revision {board.revision}")
    begins = [board for board in BOARDS if model.startswith((f"{board.model} ", f"{board.model}S"))]
    if begins:
        nearest = max(begins, key=lambda board: len(board.model))
        return dataclasses.replace(nearest, source=f"{nearest.source}, of the {nearest.model}", accuracy=GUESSED)
    return None


def named_board(name: str) -> Board:
    """The line of `pi5`, `4B`, `cm4`, `Raspberry Pi 400`, ... raise: MeterError if the table has none"""
    for board in BOARDS:
        if _key(name) in (_key(board.model), _key(board.model.removesuffix(" Model B"))):
            return board
    there = ", ".join(dict.fromkeys(_key(board.model) for board in BOARDS))
    raise MeterError(
        f"power meter: expected model: and one of {there}, got '{name}'; or give watts: model,idle=2.3,full=6.8"
    )


def _key(name: str) -> str:
    """A name without what people leave out or shorten: `3b+`, `cm4`, `zero2w`."""
    key = name.lower().replace(" ", "").replace("-", "").replace("_", "")
    key = (
        key.removeprefix("raspberry")
        .removeprefix("pi")
        .replace("computemodule", "cm")
        .replace("model", "")
        .replace("plus", "+")
    )
    return key.removeprefix("rev")
