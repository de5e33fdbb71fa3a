"""Machines are recognised by what their kernels say, and none is given code that it cannot run."""

from __future__ import annotations

import platform
import sys

import pytest

from alula.runtime.compiler import cpu as cpus
from alula.runtime.compiler.cpu import Machine, best, describe, host_cpu, this_machine
from alula.runtime.compiler.target import TARGETS, target
from alula.runtime.errors import CompilerError
from alula.runtime.kernels.tiles import BY_CPU
from tests.runtime.compiler.boards import PI3, PI4, PI5, V80, V82, arm, cpuinfo, hwcap


@pytest.mark.parametrize("machine, cpu", [(PI3, "cortex-a53"), (PI4, "cortex-a72"), (PI5, "cortex-a76")])
def test_each_board_is_recognised(machine: Machine, cpu: str) -> None:
    assert machine.problem == ""
    assert machine.cores == (cpu,)
    assert machine.candidates()[0] == best(machine) == cpu


def test_no_candidate_of_a_board_needs_what_the_board_lacks() -> None:
    for machine in (PI3, PI4, PI5):
        assert [machine.lacks(cpu) for cpu in machine.candidates()] == [()] * len(machine.candidates())


@pytest.mark.parametrize(
    "machine, cpu",
    [
        (arm(V82, "0xd0c"), "cortex-a76"),  # Neoverse N1
        (arm(V82, *["0xd05"] * 4, *["0xd0b"] * 2), "cortex-a76"),  # Cortex-A55 and A76
        (arm(V80, "0xd09"), "cortex-a53"),  # Cortex-A73
        (arm(V80, *["0xd03"] * 4, "0xd08"), "cortex-a53"),  # Cortex-A53 and A72
        (arm(V80, "0xd0b", implementer="0x61"), "cortex-a53"),  # another maker's part of that number
        (arm("fp asimd", "0x000", implementer="0x50"), "cortex-a53"),
        (arm(V82.replace(" asimddp", ""), "0xd0b"), "cortex-a72"),  # a hypervisor that hides a feature
        (describe("linux", "aarch64", 64, "", hwcap(V82)), "cortex-a76"),  # no /proc
        (describe("linux", "aarch64", 64, cpuinfo(V80, "0xd08"), None), "cortex-a72"),  # no auxiliary vector
    ],
)
def test_other_arm_machines_get_the_best_that_their_features_allow(machine: Machine, cpu: str) -> None:
    assert best(machine) == cpu


def test_the_auxiliary_vector_has_the_last_word_on_features() -> None:
    pretender = describe("linux", "aarch64", 64, cpuinfo(V82, "0xd0b"), hwcap(V80))
    assert pretender.lacks("cortex-a76") == ("asimddp", "asimdhp", "asimdrdm", "atomics", "fphp", "lrcpc")
    assert best(pretender) == "cortex-a72"


def test_features_are_those_that_every_core_has() -> None:
    mixed = describe("linux", "aarch64", 64, cpuinfo(V82, "0xd0b") + "\n" + cpuinfo(V80, "0xd08"), None)
    assert mixed.features == set(V80.split())
    assert best(mixed) == "cortex-a72"


@pytest.mark.parametrize(
    "system, architecture, bits, words",
    [
        ("linux", "armv7l", 32, "expected a 64-bit system, got one of 32 bits"),
        ("linux", "armv6l", 32, "expected a 64-bit system, got one of 32 bits"),
        ("linux", "aarch64", 32, "expected a 64-bit Python, got one of 32 bits on a 64-bit kernel"),
        ("linux", "armv8l", 32, "expected a 64-bit system"),
        ("linux", "i686", 32, "expected a 64-bit system"),
        ("linux", "riscv64", 64, "expected x86-64 or 64-bit ARM"),
    ],
)
def test_a_system_without_kernels_is_told_so(system: str, architecture: str, bits: int, words: str) -> None:
    machine = describe(system, architecture, bits, cpuinfo(V80, "0xd03"))
    assert machine.candidates() == ()
    with pytest.raises(CompilerError, match=words) as refusal:
        best(machine)
    assert "\n" not in str(refusal.value)


def test_an_arm_core_without_vectors_is_refused() -> None:
    with pytest.raises(CompilerError, match="expected the features fp and asimd, got crc32"):
        best(arm("crc32", "0xd03"))


@pytest.mark.parametrize(
    "flags, cpu",
    [
        ("fpu sse2", "x86-64"),
        ("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3", "x86-64-v2"),
        ("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 abm avx avx2 bmi1 bmi2 f16c fma movbe", "x86-64-v3"),
        ("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma movbe", "x86-64-v2"),  # no lzcnt
        ("", "x86-64"),
    ],
)
def test_x86_machines_get_the_level_whose_flags_they_have(flags: str, cpu: str) -> None:
    assert best(describe("linux", "x86_64", 64, f"processor\t: 0\nflags\t\t: {flags}\n" if flags else "")) == cpu


def test_a_mac_needs_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best(cpus._mac("arm64", 64)) == "apple-m1"
    asked: dict[str, int] = {"hw.optional.sse4_2": 1, "hw.optional.avx2_0": 1, "hw.optional.bmi2": 1}
    monkeypatch.setattr(cpus, "_sysctl", lambda name: asked.get(name, 0))
    assert best(cpus._mac("x86_64", 64)) == "x86-64-v3"


def test_this_machine_is_one_that_kernels_are_built_for() -> None:
    machine = this_machine()
    assert (machine.system, machine.bits) == (sys.platform, 64)
    assert machine.architecture == platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")
    assert machine.lacks(host_cpu()) == ()


def test_an_unknown_cpu_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CompilerError, match=r"cpu 'cortex-a99': expected one of cortex-a53, .*; choose one"):
        target("cortex-a99")


def test_every_cpu_has_tiles() -> None:
    assert set(TARGETS) <= set(BY_CPU)
