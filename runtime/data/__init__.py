"""Data sets to train on: `data = open_data(path)`, then `for x, y, samples, step in Loader(data, 32).epoch(0)`.

Needs only NumPy; images other than PPM and PGM need the extra `vision`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alula.runtime.data.augment import Augment, Moments, moments
    from alula.runtime.data.dataset import ArraySet, Dataset, Subset, check_classes, holdout
    from alula.runtime.data.loader import Batch, Loader
    from alula.runtime.data.npz import save_npz
    from alula.runtime.data.opening import open_data
    from alula.runtime.data.preprocessing import Preprocessing

__all__ = [
    "ArraySet",
    "Augment",
    "Batch",
    "Dataset",
    "Loader",
    "Moments",
    "Preprocessing",
    "Subset",
    "check_classes",
    "holdout",
    "moments",
    "open_data",
    "save_npz",
]
_FILES = ("augment", "dataset", "loader", "npz", "opening", "preprocessing")


def __getattr__(name: str) -> Any:
    """A name of `__all__`, from its file: what needs no arrays is imported without NumPy."""
    if name in __all__:
        for file in _FILES:
            found = importlib.import_module(f"{__name__}.{file}")
            if name in vars(found):
                return vars(found)[name]
    raise AttributeError(f"module {__name__} has no attribute {name}")
