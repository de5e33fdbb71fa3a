"""Arguments that several commands share, and benchmarks with them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_file(parser: argparse.ArgumentParser) -> None:
    """The packed file, and which of its graphs."""
    parser.add_argument("file", type=Path, metavar="FILE.alula", help="a packed file")
    parser.add_argument("--graph", metavar="NAME", help="one of its graphs; default: all of them, or the only one")


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Sizes of free dimensions."""
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1,3,48,320",
                        help="shape of an input; needed if a dimension other than the batch is free")  # fmt: skip


def add_layout(parser: argparse._ActionsContainer) -> None:
    """The order of the axes of an image, for inputs whose shape does not tell."""
    from alula.runtime.data.choices import LAYOUTS

    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="order of the axes of the network's image; default: by where 1 or 3 channels are",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """How many threads the engine uses."""
    parser.add_argument("--threads", type=positive, metavar="N", help="threads of the engine; default: one per core")


def add_alpha(parser: argparse._ActionsContainer) -> None:
    """What transparent images are laid over."""
    from alula.runtime.data.choices import ALPHA

    parser.add_argument("--alpha", choices=ALPHA, default=ALPHA[0],
                        help="what transparent images are laid over (white); drop: nothing, their own colours are seen")  # fmt: skip


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return value


def natural(text: str) -> int:
    """A whole number from 0 on."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def threads_list(text: str) -> list[int]:
    """`1,2,4`."""
    return [positive(part) for part in text.split(",")]


def named_path(text: str) -> tuple[str, Path]:
    """`NAME=FILE`, or only a file, with the name ""."""
    name, _, path = text.rpartition("=")
    return name, Path(path)
