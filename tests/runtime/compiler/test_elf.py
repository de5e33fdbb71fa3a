"""The reader of shared objects sees what a linker made, and fails on damage in one line."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from alula.runtime.compiler.elf import architecture_of, read_shared_object
from alula.runtime.compiler.link import check_shared_object, find_linker, link
from alula.runtime.errors import CompilerError
from tests.runtime.compiler.objects import make_object

ARCHITECTURES = {"cortex-a72": "aarch64", "x86-64": "x86_64"}


@pytest.fixture(scope="module")
def aarch64(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A shared object with two functions, one of which calls libm."""
    return make_shared(tmp_path_factory.mktemp("elf"), "cortex-a72", calls="expf").read_bytes()


def make_shared(folder: Path, cpu: str, calls: str) -> Path:
    linker = find_linker(cpu)
    assert linker, "the test extra brings a linker"
    objects = [make_object(folder / "one.o", "one", cpu, calls=calls), make_object(folder / "two.o", "two", cpu)]
    link(linker, objects, folder / "pack.so", cpu, ("one", "two"))
    return folder / "pack.so"


@pytest.mark.parametrize("cpu", ARCHITECTURES)
def test_it_reads_what_the_linker_made(cpu: str, tmp_path: Path) -> None:
    found = read_shared_object(make_shared(tmp_path, cpu, "expf").read_bytes())
    assert found.architecture == ARCHITECTURES[cpu]
    assert {"one", "two"} <= found.defined
    assert found.undefined == {"expf"}
    assert (found.needed, found.faults) == ((), ())
    assert found.page_size >= 16384


def test_it_agrees_with_binutils(tmp_path: Path) -> None:
    pack = make_shared(tmp_path, "x86-64", "expf")
    result = subprocess.run(["readelf", "--dyn-syms", "-W", str(pack)], capture_output=True, text=True, check=False)
    rows = [
        line.split() for line in result.stdout.splitlines() if len(line.split()) == 8 and line.split()[0][0].isdigit()
    ]
    found = read_shared_object(pack.read_bytes())
    assert {row[7] for row in rows if row[6] == "UND"} == found.undefined
    assert {row[7] for row in rows if row[6] != "UND"} == found.defined


def test_a_symbol_of_another_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompilerError, match="expected no symbol but libc's and libm's, got NRT_Allocate;"):
        make_shared(tmp_path, "cortex-a72", "NRT_Allocate")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.o", "two.o"]


def test_a_shared_object_for_another_architecture_is_refused(aarch64: bytes) -> None:
    check_shared_object(aarch64, "cortex-a53", ("one", "two"))
    with pytest.raises(CompilerError, match="expected a shared object for x86_64, got one for aarch64"):
        check_shared_object(aarch64, "x86-64", ("one", "two"))


def test_a_kernel_that_is_missing_is_named(aarch64: bytes) -> None:
    with pytest.raises(CompilerError, match="expected 2 kernels, got none named three"):
        check_shared_object(aarch64, "cortex-a72", ("one", "three"))


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"MZ" + bytes(200), b"\x7fELF\x01\x01" + bytes(200)])
def test_other_files_are_no_shared_objects(data: bytes) -> None:
    assert architecture_of(data) == ""
    with pytest.raises(CompilerError, match="expected a shared object"):
        read_shared_object(data)


def test_damage_is_refused_or_read_but_never_worse(aarch64: bytes) -> None:
    generator = random.Random(3)
    for number in range(2000):
        data = bytearray(aarch64[: generator.randrange(len(aarch64))] if number % 2 else aarch64)
        for _ in range(generator.randrange(1, 9)):
            if data:
                data[generator.randrange(min(len(data), 2048))] = generator.randrange(256)
        try:
            read_shared_object(bytes(data))
        except CompilerError as error:
            assert "\n" not in str(error)
