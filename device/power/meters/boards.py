"""Power of known boards as a straight line over processor load: `power_w = idle_w + slope_w * load`, load 0 to 1.

The Raspberry Pi lines, but for the Zero 2 W, are the published linear fits of PowerJoular 1.1
(A. Noureddine, "PowerJoular and JoularJX: Multi-Platform Software Power Monitoring Tools", IE 2022;
https://github.com/joular/powerjoular), measured at the board's supply, 64-bit systems where there is a choice.
Its polynomials are not used: that of the Pi 5 gives 8.7 W idle and 3.7 W at full load.
A line over load does not see clock, throttling and the mix of instructions. It is never a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

from alula.device.power.meter import Accuracy
from alula.runtime.errors import MeterError

POWERJOULAR = "linear fit published with PowerJoular"


@dataclass(frozen=True)
class Board:
    """A board's line. `revision` as in /proc/device-tree/model, '' if it stands for all revisions."""

    model: str
    revision: str
    idle_w: float
    slope_w: float
    source: str
    accuracy: Accuracy = Accuracy.MODELLED


BOARDS = (
    Board("Raspberry Pi 5 Model B", "1.0", 4.403, 3.458, POWERJOULAR),
    Board("Raspberry Pi 400", "1.0", 1.822, 5.025, POWERJOULAR),
    Board("Raspberry Pi 4 Model B", "1.2", 2.286, 4.534, POWERJOULAR),
    Board("Raspberry Pi 4 Model B", "1.1", 2.307, 4.496, POWERJOULAR),
    Board("Raspberry Pi 3 Model B Plus", "1.3", 2.002, 3.298, POWERJOULAR),
    Board("Raspberry Pi 3 Model B", "1.2", 1.078, 3.477, POWERJOULAR),
    # 120 mA at rest (CNX Software, December 2021); full load is a guess between published 1.75 and 2.5 W.
    Board(
        "Raspberry Pi Zero 2 W",
        "",
        0.60,
        1.50,
        "rest: published measurement; full load: a guess, no fit exists",
        Accuracy.GUESSED,
    ),
    Board("Raspberry Pi Zero W", "1.1", 0.920, 0.473, POWERJOULAR),
)


def find_board(device_tree_model: str) -> Board | None:
    """The line for a board that calls itself `Raspberry Pi 4 Model B Rev 1.2`; another revision if need be, or None."""
    model, _, revision = device_tree_model.strip("\0 \n").partition(" Rev ")
    same_model = [board for board in BOARDS if board.model == model]
    exact = [board for board in same_model if board.revision == revision]
    return next(iter(exact + same_model), None)


def named_board(name: str) -> Board:
    """The line of `pi5`, `4B`, `Raspberry Pi 400`, ... raise: MeterError if the table has none"""
    for board in BOARDS:
        if _key(name) in (_key(board.model), _key(board.model.removesuffix(" Model B"))):
            return board
    there = ", ".join(dict.fromkeys(board.model.removeprefix("Raspberry ") for board in BOARDS))
    raise MeterError(f"power meter: expected model: and one of {there}, got '{name}'; or model,idle=W,full=W")


def _key(name: str) -> str:
    """A name without what people leave out: case, blanks, the maker."""
    return name.lower().replace(" ", "").replace("-", "").removeprefix("raspberry").removeprefix("pi")
