"""Packs are chosen by what fits, and refused with a line that says what does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from alula.runtime.compiler import cache, packs
from alula.runtime.compiler.cpu import Machine, describe
from alula.runtime.compiler.packs import Choice, choose
from tests.runtime.compiler.boards import PI3, PI4, PI5, V80, V82, arm, cpuinfo
from tests.runtime.compiler.packing import make_pack

Fault = Callable[[Path], None]
BOARDS = ("cortex-a53", "cortex-a72", "cortex-a76")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation without a compiler, with an empty cache and the packs of the three boards; their folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv(packs.VARIABLE, raising=False)
    monkeypatch.setattr(packs, "SHIPPED", tmp_path / "packs")
    monkeypatch.setattr(packs, "_has_compiler", lambda: False)
    for cpu in BOARDS:
        make_pack(tmp_path / "packs", cpu)
    return tmp_path / "packs"


def only_refusal(choice: Choice) -> str:
    """What was said of the one pack that was refused."""
    ((_, reason),) = choice.refused
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize("machine, cpu", [(PI3, "cortex-a53"), (PI4, "cortex-a72"), (PI5, "cortex-a76")])
def test_each_board_loads_its_own_pack(machine: Machine, cpu: str, shipped: Path) -> None:
    choice = choose(machine)
    assert choice == Choice(cpu, shipped / f"{cpu}.so", f"made for this CPU ({cpu}), came with Alula")


def test_an_unknown_core_gets_the_best_pack_that_it_can_run(shipped: Path) -> None:
    choice = choose(arm(V80, "0xd09"))
    assert choice.path == shipped / "cortex-a53.so"
    assert choice.reason.startswith("unknown cores (0x41:0xd09), and cortex-a53 needs nothing that they lack")
    assert "cortex-a76, which needs asimddp asimdhp asimdrdm atomics fphp lrcpc" in only_refusal(choice)
    assert not choice.damaged
    assert choose(arm(V82, "0xd0c")).cpu == "cortex-a76"


def test_cores_of_two_kinds_get_a_pack_that_both_can_run(shipped: Path) -> None:
    choice = choose(arm(V80, "0xd03", "0xd08"))
    assert (choice.cpu, choice.reason) == ("cortex-a53", "suits all cores (cortex-a53 and cortex-a72), came with Alula")


def test_a_missing_feature_leads_to_the_next_pack(shipped: Path) -> None:
    choice = choose(arm(V82.replace(" atomics", ""), "0xd0b"))
    assert choice.path == shipped / "cortex-a72.so"
    assert only_refusal(choice).endswith("got one for cortex-a76, which needs atomics")


def truncate(pack: Path) -> None:
    pack.write_bytes(pack.read_bytes()[:100])


def flip_a_bit(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[200] ^= 4
    pack.write_bytes(data)


def lose_the_manifest(pack: Path) -> None:
    pack.with_suffix(".json").unlink()


def lose_the_code(pack: Path) -> None:
    pack.unlink()


def put_a_folder_there(pack: Path) -> None:
    pack.unlink()
    pack.mkdir()


def damage_the_manifest(pack: Path) -> None:
    pack.with_suffix(".json").write_text('{"format": 1, "abi": 1, "cpu": ["x"]}', encoding="utf-8")


def write_nonsense(pack: Path) -> None:
    pack.with_suffix(".json").write_bytes(b"\xff\x00" + b"[" * 100_000)


def bring_another_cpu(pack: Path) -> None:
    make_pack(pack.parent, "cortex-a53", pack.stem)


def bring_x86(pack: Path) -> None:
    make_pack(pack.parent, "x86-64-v3", pack.stem)


def claim_x86_code(pack: Path) -> None:
    donor = make_pack(pack.parent / "x86", "x86-64")
    fields = json.loads(donor.with_suffix(".json").read_text(encoding="utf-8"))
    make_pack(pack.parent, "cortex-a72", size_bytes=fields["size_bytes"], digest=fields["digest"])
    pack.write_bytes(donor.read_bytes())


def age_the_sources(pack: Path) -> None:
    make_pack(pack.parent, pack.stem, sources="0123456789abcdef")


def change_the_abi(pack: Path) -> None:
    make_pack(pack.parent, pack.stem, abi=99)


def change_the_format(pack: Path) -> None:
    pack.with_suffix(".json").write_text('{"format": 2}', encoding="utf-8")


def need_more(pack: Path) -> None:
    make_pack(pack.parent, pack.stem, features=("asimd", "sve"))


FAULTS = [
    (truncate, "expected 320 bytes, got 100: the file is not whole", True),
    (flip_a_bit, "expected the digest .*: the file is damaged", True),
    (lose_the_manifest, "expected its manifest cortex-a72.json beside it, got none", True),
    (lose_the_code, "expected to read the pack, got No such file", True),
    (put_a_folder_there, "expected .*, got ", True),
    (damage_the_manifest, "expected a manifest with cpu, got a damaged one", True),
    (write_nonsense, "expected a manifest in cortex-a72.json, got something else", True),
    (bring_another_cpu, "expected a pack for cortex-a72, got one for cortex-a53", True),
    (bring_x86, "expected a pack for cortex-a72, got one for x86-64-v3", True),
    (claim_x86_code, "expected a shared object for cortex-a72, got another file", True),
    (age_the_sources, r"sources [0-9a-f]{16}\), got those of Alula 0.0.9 \(sources 0123456789abcdef\)", True),
    (change_the_abi, "expected kernels of ABI 1, got ABI 99 of Alula 0.0.9: the pack is another version's", True),
    (change_the_format, "expected a manifest of format 1, got format 2", True),
    (need_more, "got one for cortex-a72, which needs sve", False),
]


@pytest.mark.parametrize("fault, words, damaged", FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_pack_with_a_fault_is_refused_and_another_one_taken(
    fault: Fault, words: str, damaged: bool, shipped: Path
) -> None:
    fault(shipped / "cortex-a72.so")
    choice = choose(PI4)
    assert choice.path == shipped / "cortex-a53.so"
    assert choice.reason == "the next best for this CPU (cortex-a72), came with Alula"
    assert choice.damaged == ((shipped / "cortex-a72.so",) if damaged else ())
    assert re.search(words, only_refusal(choice))


@pytest.mark.parametrize("fault, words, damaged", FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_pack_that_is_asked_for_by_name_is_never_replaced(
    fault: Fault, words: str, damaged: bool, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = make_pack(tmp_path / "mine", "cortex-a72")
    monkeypatch.setenv(packs.VARIABLE, str(pack))
    assert choose(PI4).path == pack
    fault(pack)
    choice = choose(PI4)
    if fault is not bring_another_cpu:  # which this CPU can run
        assert choice.path is None and not choice.builds
        assert choice.reason.startswith(f"ALULA_PACK: {pack}: ")
        assert choice.reason.endswith("; name a pack for cortex-a72, or unset ALULA_PACK")


def test_a_folder_of_packs_may_be_named(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(packs.VARIABLE, str(shipped))
    assert [choose(machine).cpu for machine in (PI3, PI4, PI5)] == list(BOARDS)
    monkeypatch.setenv(packs.VARIABLE, str(shipped.parent))
    assert "expected a folder with packs, got none in it" in choose(PI3).reason


def test_a_pack_that_was_built_here_comes_before_a_shipped_one(shipped: Path) -> None:
    built = make_pack(cache.cache_path("cortex-a72"), "cortex-a72", cache.pack_name())
    assert choose(PI4) == Choice("cortex-a72", built, "made for this CPU (cortex-a72), built on this machine")
    assert choose(PI3).path == shipped / "cortex-a53.so"


def test_a_built_pack_of_a_lesser_cpu_does_not_keep_the_compiler_from_doing_better(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = describe("linux", "x86_64", 64, "flags : cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3")
    built = make_pack(cache.cache_path("x86-64"), "x86-64", cache.pack_name())
    assert choose(machine).path == built
    monkeypatch.setattr(packs, "_has_compiler", lambda: True)
    choice = choose(machine)
    assert (choice.cpu, choice.path, choice.builds) == ("x86-64-v2", None, True)


def test_a_wheel_without_packs_says_what_to_do(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in shipped.iterdir():
        file.unlink()
    shipped.rmdir()
    reason = choose(PI3).reason
    assert reason.startswith(
        "kernels for cortex-a53: expected a pack or the compiler, got neither; install Alula from a wheel"
    )
    assert "pip install 'alula[compiler]'" in reason and "alula kernels build --cpu cortex-a53" in reason


def test_all_packs_unfit_are_all_named(shipped: Path) -> None:
    for cpu in BOARDS:
        flip_a_bit(shipped / f"{cpu}.so")
    choice = choose(PI5)
    assert choice.path is None
    assert [path.name for path, _ in choice.refused] == ["cortex-a76.so", "cortex-a72.so", "cortex-a53.so"]
    assert "got only unfit packs (" in choice.reason and "\n" not in choice.reason


def test_a_machine_without_kernels_gets_its_reason(shipped: Path) -> None:
    choice = choose(describe("linux", "armv7l", 32, cpuinfo(V80, "0xd03")))
    assert (choice.cpu, choice.path) == ("armv7l", None)
    assert "expected a 64-bit system" in choice.reason


def test_without_home_the_shipped_pack_is_found_still(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert choose(PI3).path == shipped / "cortex-a53.so"


def test_choosing_writes_nothing(shipped: Path) -> None:
    before = sorted(shipped.parent.rglob("*"))
    choose(PI4)
    assert sorted(shipped.parent.rglob("*")) == before


def test_what_the_system_does_not_load_is_passed_over(shipped: Path) -> None:
    choice = choose(PI4, {shipped / "cortex-a72.so": "expected the system to load it, got no"})
    assert choice.path == shipped / "cortex-a53.so"
    assert only_refusal(choice) == "expected the system to load it, got no"
