"""The counter against machine code whose counts are known. It runs where the emulated boards are built."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.arm.boards import BOARDS, Board, ensure
from tests.arm.counting import CACHES, environment, plugin

# What the guest runs: code as words goes into executable memory and is called with the address of 4 KiB
CALLER = """
import ctypes, json, mmap, sys
from tests.arm import counter
code = bytes.fromhex(sys.argv[1])
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory[: len(code)] = code
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
counter.set_region(address, address + len(code))
data = mmap.mmap(-1, 4096)
call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
for _ in range(2):
    counter.empty_caches()
    print(json.dumps(counter.of_region(lambda: call(ctypes.addressof(ctypes.c_char.from_buffer(data))))))
"""
RETURN = 0xD65F03C0
LOOP = (
    0xD2807D01,  # mov x1, #1000
    0x3DC00000,  # ldr q0, [x0]
    0x4F811002,  # fmla v2.4s, v0.4s, v1.s[0]
    0xAD000800,  # stp q0, q2, [x0]
    0xF1000421,  # subs x1, x1, #1
    0x54FFFF81,  # b.ne to the ldr
    RETURN,
)
MULTIPLY_ADDS = {
    "fmla v0.4s, v1.4s, v2.4s": 0x4E22CC20, "fmls v0.2d, v1.2d, v2.2d": 0x4EE2CC20,
    "fmla v0.4s, v1.4s, v2.s[3]": 0x4FA21820, "fmls v0.2d, v1.2d, v2.d[1]": 0x4FC25820,
    "fmla v0.8h, v1.8h, v2.8h": 0x4E420C20, "fmla v0.8h, v1.8h, v2.h[7]": 0x4F321820,
    "mla v0.4s, v1.4s, v2.4s": 0x4EA29420, "smlal v0.8h, v1.8b, v2.8b": 0x0E228020,
    "umlsl2 v0.4s, v1.8h, v2.8h": 0x6E62A020, "smull v0.8h, v1.8b, v2.8b": 0x0E22C020,
    "mla v0.8h, v1.8h, v2.h[7]": 0x6F720820, "smlal2 v0.4s, v1.8h, v2.h[1]": 0x4F522020,
    "umull v0.4s, v1.4h, v2.h[1]": 0x2F52A020, "sdot v0.4s, v1.16b, v2.16b": 0x4E829420,
    "udot v0.4s, v1.16b, v2.4b[3]": 0x6FA2E820, "sadalp v0.4s, v1.8h": 0x4E606820,
    "saba v0.16b, v1.16b, v2.16b": 0x4E227C20, "uabal2 v0.8h, v1.16b, v2.16b": 0x6E225020,
    "cnt v0.16b, v1.16b": 0x4E205820, "fmadd s0, s1, s2, s3": 0x1F020C20, "fmsub d0, d1, d2, d3": 0x1F428C20,
}  # fmt: skip
OTHERS = {
    "fadd v0.4s, v1.4s, v2.4s": 0x4E22D420, "fmul v0.4s, v1.4s, v2.s[1]": 0x4FA29020,
    "fmax v0.4s, v1.4s, v2.4s": 0x4E22F420, "dup v0.4s, v1.s[1]": 0x4E0C0420, "ext v0.16b, v1.16b, v2.16b, #4": 0x6E022020,
    "movi v0.4s, #1": 0x4F000420, "fmov v0.4s, #1.0": 0x4F03F600, "sshr v0.4s, v1.4s, #3": 0x4F3D0420,
    "sxtl v0.8h, v1.8b": 0x0F08A420, "sqdmulh v0.4s, v1.4s, v2.s[1]": 0x4FA2C020, "addp v0.4s, v1.4s, v2.4s": 0x4EA2BC20,
    "bif v0.16b, v1.16b, v2.16b": 0x6EE21C20, "fadd s0, s1, s2": 0x1E222820, "fcvtzs v0.4s, v1.4s": 0x4EA1B820,
    "zip1 v0.4s, v1.4s, v2.4s": 0x4E823820, "saddl v0.8h, v1.8b, v2.8b": 0x0E220020,
}  # fmt: skip
LOADS = {
    "ldr q0, [x0]": 0x3DC00000, "ldr s0, [x0]": 0xBD400000, "ldp q0, q1, [x0]": 0xAD400400, "ldrb w2, [x0]": 0x39400002,
    "ldrsw x2, [x0]": 0xB9800002, "ld1 {v0.4s}, [x0]": 0x4C407800, "ld1r {v0.4s}, [x0]": 0x4D40C800,
    "ldr x2, [x0]": 0xF9400002, "ldur q0, [x0]": 0x3CC00000,
}  # fmt: skip
STORES = {
    "str q0, [x0]": 0x3D800000, "str s0, [x0]": 0xBD000000, "stp q0, q1, [x0]": 0xAD000400, "strb w2, [x0]": 0x39000002,
    "st1 {v0.4s}, [x0]": 0x4C007800, "str x2, [x0]": 0xF9000002, "stur q0, [x0]": 0x3C800000,
}  # fmt: skip


@pytest.fixture(scope="module")
def board() -> Board:
    if not shutil.which("qemu-aarch64") or not shutil.which("gcc") or not BOARDS["pi5"].executable.exists():
        pytest.skip("the emulated boards are not built: make test-arm builds them")
    return ensure()["pi5"]


def run(board: Board, *words: int) -> list[dict[str, Any]]:
    """What two calls of a function count."""
    code = b"".join(word.to_bytes(4, "little") for word in words)
    result = board.python(
        "-c", CALLER, code.hex(), plugin=f"{plugin()},region=later,{CACHES[board.cpu]}", env=environment()
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_known_loop_is_counted_exactly_and_the_same_every_time(board: Board) -> None:
    counts = [*run(board, *LOOP), *run(board, *LOOP)]
    for each in counts:
        process = each.pop("process")
        assert process > each["all"]
        assert each == {
            "all": 1 + 5 * 1000 + 1, "loads": 1000, "stores": 1000, "simd": 1000, "multiply_add": 1000, "branches": 1001,
            "load_bytes": 16 * 1000, "store_bytes": 32 * 1000, "l1_misses": 1, "l2_misses": 1,
        }  # fmt: skip


def test_instructions_are_sorted_into_their_classes(board: Board) -> None:
    vectors = (*MULTIPLY_ADDS.values(), *OTHERS.values())
    counts = run(board, *vectors, *LOADS.values(), *STORES.values(), RETURN)[0]
    assert counts["multiply_add"] == len(MULTIPLY_ADDS)
    assert counts["simd"] == len(vectors)
    assert counts["loads"] == len(LOADS)
    assert counts["stores"] == len(STORES)
    assert counts["branches"] == 1
    assert counts["all"] == len(vectors) + len(LOADS) + len(STORES) + 1


@pytest.mark.parametrize("word", [*MULTIPLY_ADDS, *OTHERS])
def test_one_instruction_alone_is_in_one_class(word: str) -> None:
    """The table of counter.c itself, read from its source: no word matches by accident."""
    import re

    from tests.arm.counting import SOURCE

    table = re.findall(r"\{ 0x(\w{8}), 0x(\w{8}) \}", SOURCE.read_text(encoding="utf-8"))
    code = (MULTIPLY_ADDS | OTHERS)[word]
    assert sum(code & int(mask, 16) == int(bits, 16) for mask, bits in table) == (word in MULTIPLY_ADDS)


def test_an_unknown_option_of_the_plugin_is_refused(board: Board) -> None:
    result = board.python("-c", "pass", plugin=f"{plugin()},l3=1", env=environment())
    assert result.returncode != 0
    assert "counter: expected region=later, l1=KIB:WAYS or l2=KIB:WAYS, got l3=1" in result.stderr
