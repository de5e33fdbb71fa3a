"""Packs are the same bytes whoever builds them with one version of Python: all again, in an empty cache, from a copy elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alula.runtime.compiler import build
from tests.arm.boards import BOARDS, CHECKOUT, MAIN

FOLDERS = ("alula", "runtime", "device", "host", "demo")  # what an import needs


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, under a path of another length."""
    copy = tmp_path_factory.mktemp("elsewhere") / "a longer path to the very same sources"
    copy.mkdir()
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.mp4", "out")
        shutil.copytree(CHECKOUT / name, copy / name, symlinks=True, ignore=ignored)
    return copy


@pytest.mark.parametrize("name", MAIN)
def test_a_pack_that_is_built_again_elsewhere_is_the_same_bytes(name: str, elsewhere: Path, tmp_path: Path) -> None:
    cpu = BOARDS[name].cpu
    first = build(cpu)
    code = f"from alula.runtime.compiler import build; print(build({cpu!r}, jobs=1))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(elsewhere), "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    again = Path(result.stdout.strip())
    assert again.is_relative_to(tmp_path / "cache") and again != first
    assert len(list(again.parent.glob("*.o"))) > 50, "every kernel is compiled anew"
    assert again.read_bytes() == first.read_bytes()
    assert again.with_suffix(".json").read_bytes() == first.with_suffix(".json").read_bytes()
