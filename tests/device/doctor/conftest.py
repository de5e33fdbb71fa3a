"""A machine out of files: a small root with proc/, sys/, etc/ and dev/."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from alula.device.doctor import Machine


class Fake:
    """Write files by path; `machine` is what the checks see."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: object) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{text}\n")

    def pi(self, model: str = "Raspberry Pi 4 Model B Rev 1.4") -> None:
        self.write("proc/device-tree/model", f"{model}\0")

    def machine(self, **facts: Any) -> Machine:
        plain = Machine(self.root, "Linux", "aarch64", "6.12.0-v8", (3, 11, 2), 64, frozenset(), False)
        return dataclasses.replace(plain, **facts)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)
