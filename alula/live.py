"""One line on standard error that is rewritten while something runs; nothing if that is no terminal."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType


class LiveLine:
    """`with LiveLine() as tell: tell("3.2 W")`. The line is gone in the end."""

    def __init__(self) -> None:
        self._width = 0

    def __call__(self, text: str) -> None:
        """Show this instead."""
        if not sys.stderr.isatty():
            return
        shown = text[: max(shutil.get_terminal_size().columns - 1, 1)]
        self._width = max(self._width, len(shown))
        print(f"\r{shown:<{self._width}}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
