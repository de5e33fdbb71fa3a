"""The wheel has the packs that were asked for, whatever lies in the tree, and only a wheel asks for the compiler."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from alula.runtime.compiler import library
from alula.runtime.compiler.cpu import host_cpu
from alula.runtime.compiler.manifest import digest_of, read_manifest

ROOT = Path(__file__).parents[2]
BUILD = """
import sys
sys.path.insert(0, "deploy")
import backend
print(backend.build_wheel(sys.argv[1], {"packs": sys.argv[2]}))
"""


@pytest.fixture(scope="module")
def backend() -> ModuleType:
    spec = importlib.util.spec_from_file_location("backend", ROOT / "deploy" / "backend.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, with a stale pack among them and stale modules of an earlier build."""
    copy = tmp_path_factory.mktemp("wheel") / "tree"
    copy.mkdir()
    for name in ("alula", "runtime", "device", "host", "deploy"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "packs"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    stale = [
        copy / "runtime" / "packs" / "stale.so",
        copy / "build" / "lib" / "alula" / "runtime" / "packs" / "stale.so",
    ]
    for path in stale:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"stale")
    return copy


def build_wheel(tree: Path, folder: Path, packs: str) -> Path:
    """A wheel, built in a process of its own, as front ends do it."""
    folder.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder), packs], cwd=tree, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name not in ("SOURCE_DATE_EPOCH", "PYTHONPATH")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    (wheel,) = folder.iterdir()
    assert wheel.name == result.stdout.splitlines()[-1]
    return wheel


def binaries(wheel: Path) -> list[str]:
    """The files of a wheel that are compiled code, or tell of it."""
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if name.endswith((".so", ".o", ".a", ".json", ".list"))]


def test_a_wheel_has_the_packs_that_were_asked_for_and_is_the_same_when_built_again(tree: Path, tmp_path: Path) -> None:
    library()
    cpu = host_cpu()
    wheel = build_wheel(tree, tmp_path / "one", cpu)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert binaries(wheel) == [f"alula/runtime/packs/{cpu}.json", f"alula/runtime/packs/{cpu}.so"]
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    pack = tmp_path / "site" / "alula" / "runtime" / "packs" / f"{cpu}.so"
    assert digest_of(pack.read_bytes()) == read_manifest(pack.with_suffix(".json")).digest
    assert build_wheel(tree, tmp_path / "two", cpu).read_bytes() == wheel.read_bytes()

    code = "from alula.runtime.compiler import library; print(library().path)"
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "XDG_CACHE_HOME": "/dev/null",
        "TMPDIR": "/dev/null",
    }
    loaded = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (loaded.stdout, loaded.stderr) == (f"{pack}\n", "")


def test_a_wheel_without_packs_has_no_code_but_python(tree: Path, tmp_path: Path) -> None:
    assert binaries(build_wheel(tree, tmp_path / "bare", "none")) == []


def test_only_a_wheel_with_packs_asks_for_the_compiler(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(backend.build_meta, "get_requires_for_build_wheel", lambda settings: [])
    needs = backend.get_requires_for_build_wheel()
    assert {need.partition("=")[0].partition(">")[0] for need in needs} == {"numba", "llvmlite", "ziglang", "numpy"}
    assert backend.get_requires_for_build_wheel({"packs": "none"}) == []
    assert backend.get_requires_for_build_editable is backend.build_meta.get_requires_for_build_editable


@pytest.mark.parametrize(
    "settings, packs",
    [
        (None, ("cortex-a53", "cortex-a72", "cortex-a76")),
        ({"packs": "none"}, ()),
        ({"packs": "cortex-a72,cortex-a76"}, ("cortex-a72", "cortex-a76")),
        ({"packs": ["cortex-a72", "cortex-a53"]}, ("cortex-a72", "cortex-a53")),
    ],
)
def test_the_setting_names_the_packs(
    settings: dict[str, str | list[str]] | None, packs: tuple[str, ...], backend: ModuleType
) -> None:
    assert backend.packs_of(settings) == packs
