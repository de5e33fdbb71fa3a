"""Kernels are loaded from packs, with neither compiler nor cache, and what is wrong is told in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from alula.runtime.compiler import builder, library, packs
from alula.runtime.compiler.builder import build, list_kernels
from alula.runtime.compiler.cache import cache_path, source_hash
from alula.runtime.compiler.cpu import host_cpu, this_machine
from alula.runtime.compiler.link import check_shared_object
from alula.runtime.compiler.manifest import digest_of, read_manifest
from alula.runtime.errors import CompilerError
from alula.runtime.kernels import all_kernels

ROOT = Path(__file__).parents[3]
# What a machine without the compiler is like: the packages cannot be found
BARE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numba", "llvmlite", "ziglang", "onnx", "onnxruntime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in ("numba", "llvmlite", "ziglang") else find(name, package)
"""
COPY = """
import numpy as np
from alula.runtime.compiler import library
source, target = np.arange(12, dtype=np.float32), np.zeros(12, np.float32)
library().call("copy_4", source, target, 1, 12, 1, 1)
print(library().path, library().cpu, bool((source == target).all()))
"""


@pytest.fixture(scope="module")
def host_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack for this machine."""
    library()
    return build(out=tmp_path_factory.mktemp("host"))


def bare(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code where the compiler is not installed and the cache cannot be written to."""
    return subprocess.run(
        [sys.executable, "-c", BARE + code], capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_CACHE_HOME": "/dev/null/cache", "TMPDIR": "/dev/null", "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def refused(code: str, **environment: str) -> str:
    """The last line of a run that has failed with an error of ours."""
    result = bare(code, **environment)
    assert result.returncode == 1
    name, _, message = result.stderr.splitlines()[-1].partition(": ")
    assert name.endswith(".CompilerError")
    return message


def test_a_pack_runs_without_the_compiler(host_pack: Path) -> None:
    result = bare(COPY, ALULA_PACK=str(host_pack))
    assert (result.stdout, result.stderr) == (f"{host_pack} {host_cpu()} True\n", "")


def test_a_start_imports_neither_compiler_nor_openssl(host_pack: Path) -> None:
    code = "import sys, alula.runtime.compiler as c; c.library(); print({'numba', 'llvmlite', '_hashlib'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "ALULA_PACK": str(host_pack)},
    )  # fmt: skip
    assert result.stdout == "set()\n"


def test_shipped_packs_load_where_nothing_can_be_written(host_pack: Path) -> None:
    code = f"from pathlib import Path; from alula.runtime.compiler import packs; packs.SHIPPED = Path({str(host_pack.parent)!r})"
    result = bare(code + COPY)
    assert (result.stdout, result.stderr) == (f"{host_pack} {host_cpu()} True\n", "")


def test_without_pack_and_compiler_the_error_says_what_to_do() -> None:
    assert refused(COPY).startswith(
        f"kernels for {host_cpu()}: expected a pack or the compiler, got neither; install Alula"
    )


def test_a_tampered_pack_is_refused_before_it_is_loaded(host_pack: Path, tmp_path: Path) -> None:
    for file in (host_pack, host_pack.with_suffix(".json")):
        shutil.copy(file, tmp_path)
    pack = tmp_path / host_pack.name
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    assert "expected the digest" in refused(COPY, ALULA_PACK=str(pack))
    pack.write_bytes(data[: len(data) // 2])
    assert "the file is not whole" in refused(COPY, ALULA_PACK=str(pack))


def test_a_damaged_shipped_pack_is_named_and_another_one_loaded(host_pack: Path, tmp_path: Path) -> None:
    lesser = {"x86-64-v4": "x86-64-v3", "x86-64-v3": "x86-64-v2", "x86-64-v2": "x86-64"}.get(host_cpu())
    if lesser is None:
        pytest.skip(f"{host_cpu()} has no lesser relative on this architecture")
    # The lesser one is this machine's own code under another name: what is loaded is not what is tested here
    fields = json.loads(host_pack.with_suffix(".json").read_text(encoding="utf-8"))
    (tmp_path / f"{lesser}.so").write_bytes(host_pack.read_bytes())
    (tmp_path / f"{lesser}.json").write_text(json.dumps({**fields, "cpu": lesser}), encoding="utf-8")
    (tmp_path / f"{host_cpu()}.so").write_bytes(b"nothing")
    code = (
        f"from pathlib import Path; from alula.runtime.compiler import packs; packs.SHIPPED = Path({str(tmp_path)!r})"
    )
    result = bare(code + COPY)
    assert result.stdout == f"{tmp_path / f'{lesser}.so'} {lesser} True\n"
    assert result.stderr == (
        f"alula: {tmp_path / f'{host_cpu()}.so'}: expected its manifest {host_cpu()}.json beside it, got none; "
        "install or build it again\n"
    )


def test_what_the_system_does_not_load_is_refused_in_a_line(host_pack: Path, tmp_path: Path) -> None:
    pack = tmp_path / host_pack.name
    pack.write_bytes(host_pack.read_bytes()[:64] + bytes(1000))
    manifest = read_manifest(host_pack.with_suffix(".json"))
    data = pack.read_bytes()
    replace(manifest, size_bytes=len(data), digest=digest_of(data)).write(pack.with_suffix(".json"))
    assert "expected the system to load it, got " in refused(COPY, ALULA_PACK=str(pack))


def test_a_built_pack_says_what_it_is(host_pack: Path) -> None:
    manifest = read_manifest(host_pack.with_suffix(".json"))
    assert manifest.cpu == host_cpu() and manifest.sources == source_hash()
    assert manifest.kernels == tuple(sorted(kernel.name for kernel, _, _ in list_kernels()))
    assert set(manifest.versions) == {"alula", "numba", "llvmlite", "linker"}
    assert manifest.size_bytes == host_pack.stat().st_size
    check_shared_object(host_pack.read_bytes(), host_cpu(), manifest.kernels)
    assert packs.check(host_pack, this_machine(), source_hash()) == manifest


def test_linking_again_gives_the_same_bytes(host_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere" / "alula" / "kernels" / host_cpu()
    folder.mkdir(parents=True)
    for _, path, _ in list_kernels():
        if path.exists():
            shutil.copy(path, folder)
    if len(list(folder.iterdir())) < len(list_kernels()):
        pytest.skip("the objects of the cached pack are gone; compiling all of them again takes minutes")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    again = build()
    assert again.parent == folder
    assert again.read_bytes() == host_pack.read_bytes()
    assert again.with_suffix(".json").read_bytes() == host_pack.with_suffix(".json").read_bytes()


def test_an_object_is_the_same_whatever_its_process_compiled_before(tmp_path: Path) -> None:
    names, made = ("copy_2", "f32_moments", "gather_1"), []
    for jobs in (1, 3):  # all by one process, or each by one of its own
        folder = tmp_path / str(jobs)
        folder.mkdir()
        builder._compile([(all_kernels()[name], folder / name) for name in names], host_cpu(), None, jobs)
        made.append([(folder / name).read_bytes() for name in names])
    assert made[0] == made[1]


def test_building_falls_back_to_a_temporary_folder_and_says_so(
    host_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(builder, "_compile", lambda rows, *rest: None)
    monkeypatch.setattr(
        builder, "link", lambda linker, objects, pack, cpu, kernels: pack.write_bytes(host_pack.read_bytes())
    )
    pack = build()
    assert pack.is_relative_to(tmp_path / f"alula-{os.getuid()}")
    assert (tmp_path / f"alula-{os.getuid()}").stat().st_mode & 0o777 == 0o700
    assert capsys.readouterr().err == (
        f"alula: no cache of kernels can be kept in /dev/null/cache/alula/kernels/{host_cpu()}: Not a directory; "
        f"they go to {pack.parent}\n"
    )
    assert packs.choose().path == pack


def test_a_temporary_folder_that_others_can_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"alula-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(
        CompilerError, match=r"expected a folder to keep them in, got /dev/null.*: Not a directory; set XDG"
    ):
        build()
    folder.chmod(0o700)
    assert cache_path().is_relative_to("/dev/null/cache")


def test_without_the_compiler_a_build_takes_the_shipped_pack_or_says_what_is_missing(host_pack: Path) -> None:
    code = "from alula.runtime.compiler import packs, build\n"
    shipped = f"from pathlib import Path; packs.SHIPPED = Path({str(host_pack.parent)!r})\n"
    result = bare(code + shipped + "print(build())")
    assert (result.stdout, result.stderr) == (f"{host_pack}\n", "")
    assert refused(code + "build()") == (
        f"kernels for {host_cpu()}: expected the compiler, to build them, got none; install it with: pip install 'alula[compiler]'"
    )


def test_a_pack_goes_where_it_is_asked_for_or_says_why_not(host_pack: Path, tmp_path: Path) -> None:
    assert build(out=tmp_path / "a" / "b") == tmp_path / "a" / "b" / host_pack.name
    with pytest.raises(
        CompilerError, match="expected to write a pack there, got Not a directory; choose another folder"
    ):
        build(out=host_pack / "inside")
