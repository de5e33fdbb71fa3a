"""What `alula power` does: one file for each of its commands, which has its name. Another command is another file.

A file has `SUMMARY`, `add_arguments(parser)` and `run(args) -> Report`, as those of `commands/` do.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from alula.report import Report


class Metering(Protocol):
    """A file of this folder."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Its own."""
        ...

    def run(self, args: argparse.Namespace, /) -> Report:
        """Do it."""
        ...


def commands() -> dict[str, Metering]:
    """All of them, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: cast("Metering", importlib.import_module(f"{__name__}.{name}")) for name in names}
