"""What a task tells an energy log."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol


class Log(Protocol):
    """The phases that a task goes through, and the frames that it has done."""

    def phase(self, name: str) -> AbstractContextManager[Any]:
        """Everything inside belongs to `name`."""
        ...

    def count(self, name: str) -> Any:
        """One more of `name`."""
        ...


class NoLog:
    """Logs nothing."""

    def phase(self, name: str) -> AbstractContextManager[Any]:
        """A context that does nothing."""
        return nullcontext()

    def count(self, name: str) -> None:
        """Nothing."""
