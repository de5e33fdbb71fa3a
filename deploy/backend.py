"""The build backend of `pyproject.toml`: setuptools' backend, plus the kernel packs of a wheel.

A wheel is built with the packs of the Raspberry Pi's CPUs, compiled and linked afresh into the build folder, never taken
from the source tree; so only a wheel asks for the compiler, and editable installs build nothing. Which packs:

    python -m build --wheel -C packs=cortex-a72        or several, with commas; none for a wheel without packs

Wheels are reproducible: every file in them has the time SOURCE_DATE_EPOCH, or 1980 where that is not set.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.build_py import build_py

__all__ = [
    "BuildPy",
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parent.parent
BOARDS = ("cortex-a53", "cortex-a72", "cortex-a76")
EARLIEST = "315532800"  # 1980, the earliest time that a zip can hold

Settings = Mapping[str, str | list[str] | None] | None
_packs: tuple[str, ...] = ()  # of the wheel that is being built


def packs_of(settings: Settings) -> tuple[str, ...]:
    """The CPUs whose packs a wheel shall have, by the setting `packs`."""
    asked = (settings or {}).get("packs")
    if asked is None:
        return BOARDS
    words = [asked] if isinstance(asked, str) else asked
    names = [name for word in words for name in word.split(",") if name]
    return () if names == ["none"] else tuple(names)


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What a wheel is built with: the compiler, where it has packs."""
    needs = list(build_meta.get_requires_for_build_wheel(_for_setuptools(config_settings)))
    if packs_of(config_settings):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        needs += [*project["optional-dependencies"]["compiler"], "numpy"]
    return needs


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build the wheel."""
    global _packs
    os.environ.setdefault("SOURCE_DATE_EPOCH", EARLIEST)
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # or files that are gone come back
    _packs = packs_of(config_settings)
    name: str = build_meta.build_wheel(wheel_directory, _for_setuptools(config_settings), metadata_directory)
    return name


def _for_setuptools(settings: Settings) -> dict[str, str | list[str] | None]:
    return {name: value for name, value in (settings or {}).items() if name != "packs"}


class BuildPy(build_py):  # type: ignore[misc, unused-ignore]
    """setuptools' copying of modules, with the packs after it."""

    def run(self) -> None:
        """Copy the modules, build the packs."""
        super().run()
        if _packs and not self.editable_mode:
            build_packs(_packs, Path(self.build_lib) / "alula" / "runtime" / "packs")


def build_packs(cpus: tuple[str, ...], folder: Path) -> None:
    """Build packs into a folder, with the sources of this tree."""
    sys.path.insert(0, str(ROOT))
    from alula.runtime.compiler import build
    from alula.runtime.errors import CompilerError

    for cpu in cpus:
        print(f"building the kernel pack of {cpu}", flush=True)
        try:
            print(build(cpu, out=folder), flush=True)
        except CompilerError as error:
            raise SystemExit(f"wheel: {error}") from None
