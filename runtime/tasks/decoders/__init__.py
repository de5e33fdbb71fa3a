"""How the outputs of detectors become boxes: one file for each family, called as its decoder. Another one is another file.

A file has LAYOUT, what it reads in words, and `fit(outputs)`, which says whether that is what a network gives (`decoding.py`).
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from alula.runtime.tasks.decoding import Fit, Outputs


class Decoder(Protocol):
    """A file of this folder."""

    LAYOUT: str

    def fit(self, outputs: Outputs) -> Fit | None:
        """How to read the outputs; None if they are none of this family."""
        ...


@cache
def names() -> tuple[str, ...]:
    """All decoders, without importing any."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> Decoder:
    """A decoder by its name, one of `names()`."""
    return cast("Decoder", importlib.import_module(f"{__name__}.{name}"))
