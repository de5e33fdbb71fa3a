"""What `alula run` does for each task: one file a task, which has its name. Another task is another file.

A file has `OPTIONS`, the names of those that only it takes, `add_options(parser)` and `run(args, predictor) -> Report`. Beside them,
`signs.py` and `arrays.py` are for files without a task on images.
"""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING, Any, Protocol, cast

from alula.runtime.data.choices import TASKS

if TYPE_CHECKING:
    from alula.report import Report

ON_IMAGES = tuple(task for task in TASKS if task != "arrays")


class Running(Protocol):
    """A file of this folder."""

    OPTIONS: tuple[str, ...]

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Its own options."""
        ...

    def run(self, args: argparse.Namespace, predictor: Any, /) -> Report:
        """Look at a source; what was seen in it."""
        ...


def find(task: str) -> Running:
    """The file of a task."""
    return cast("Running", importlib.import_module(f"{__name__}.{task}"))


def add_own_options(parser: argparse.ArgumentParser) -> None:
    """The options of every task."""
    for task in ON_IMAGES:
        find(task).add_options(parser)


def own_options() -> tuple[str, ...]:
    """The names of the options that only one task takes."""
    return tuple(option for task in ON_IMAGES for option in find(task).OPTIONS)
