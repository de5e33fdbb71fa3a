"""What a run asks of whoever measures energy: `device/power` has such logs, and anything else may be one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol


class EnergyLog(Protocol):
    """Joules since it began, by phase."""

    def phase(self, name: str) -> AbstractContextManager[Any]:
        """Everything inside belongs to `name`."""
        ...

    def sample(self) -> Any:
        """Read the meter now."""
        ...

    def summary(self) -> dict[str, Any]:
        """The figures so far: energy_j, mean_w, source, accuracy."""
        ...


def since_asked(log: EnergyLog) -> Callable[[], float]:
    """Joules since it was last asked."""
    last = 0.0

    def since() -> float:
        nonlocal last
        log.sample()
        now = log.summary()["energy_j"]
        spent, last = now - last, now
        return float(spent)

    return since
