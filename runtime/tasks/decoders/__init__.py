"""How the outputs of detectors become boxes: one file for each family, called as its decoder. Another one is another file.

A file has LAYOUT, what it reads in words, and `fit(outputs)`, which says whether that is what a network gives (`decoding.py`).
Its name ends in `_pose` or `_segment` if its boxes have key points or masks.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from alula.runtime.tasks.decoding import Fit, Outputs

MORE = ("pose", "segment")  # tasks with more than boxes


class Decoder(Protocol):
    """A file of this folder."""

    LAYOUT: str

    def fit(self, outputs: Outputs) -> Fit | None:
        """How to read the outputs; None if they are none of this family."""
        ...


@cache
def names(kind: str = "") -> tuple[str, ...]:
    """All decoders, or those of a task, without importing any."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in found if kind in ("", kind_of(name)))


def kind_of(name: str) -> str:
    """The task of a decoder, in which its name ends; `detect` where it ends in none."""
    last = name.rpartition("_")[2]
    return last if last in MORE else "detect"


def find(name: str) -> Decoder:
    """A decoder by its name, one of `names()`."""
    return cast("Decoder", importlib.import_module(f"{__name__}.{name}"))
