"""Progress on standard error, for what takes longer than half a second. Nothing is shown if stderr is not a terminal."""

from __future__ import annotations

import importlib.util
import sys
import time
from types import TracebackType
from typing import Any

QUIET_S = 0.5  # what ends sooner shows nothing


class Progress:
    """A bar, used as `with Progress("packing") as tell: tell(done, total, what)`.

    Drawn by rich if it is installed, else as one line that is rewritten. Not drawn if stderr is not a terminal.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._start = time.monotonic()
        self._shown = False
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Report that `done` of `total` parts are done, and which is next."""
        if not sys.stderr.isatty() or (not self._shown and time.monotonic() - self._start < QUIET_S):
            return
        self._shown = True
        if importlib.util.find_spec("rich"):
            self._draw_rich(done, total, what)
        else:
            filled = 30 * done // max(total, 1)
            print(
                f"\r{self._title} [{'#' * filled:<30}] {done}/{total} {what:<40.40}",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def _draw_rich(self, done: int, total: int, what: str) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = RichProgress(
                *columns, TextColumn("{task.fields[what]}"), console=Console(stderr=True), transient=True
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=total, what=what)
        self._bar.update(self._task, completed=done, total=total, what=what)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._shown:
            print("\r" + " " * 100 + "\r", end="", file=sys.stderr, flush=True)
