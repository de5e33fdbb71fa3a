"""A clock that stands still until told, and builders of small sysfs trees."""

from __future__ import annotations

from pathlib import Path

import pytest


class Clock:
    """Monotonic nanoseconds under the test's control."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000

    def __call__(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


class Tree:
    """A folder of one-value files, as the kernel has them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, folder: str, **values: object) -> Path:
        path = self.root / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (path / name).write_text(f"{value}\n")
        return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture(autouse=True)
def no_corrections(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corrections of whoever runs the tests are not theirs."""
    monkeypatch.setenv("ALULA_POWER", str(tmp_path_factory.getbasetemp() / "no-corrections.json"))
