"""No tile spills a sum: the inner loops of the matrix and depthwise kernels write no vector to the stack, on any Pi.

A tile's sums live in registers through its inner loop, and each changes in every round. One that had no register would be
written to the stack in the loop: a store of a q register relative to sp, beside the multiply-adds. What the loop reads
from the stack but never writes is no sum but something that stays as it is, such as the bounds of a clamp; a few are
allowed. Winograd's transforms have no sums that live on: they are straight code, once per tile and vector of channels,
with more additions than half their multiply-adds. There one temporary may pass through the stack, but not a stage of the
transform, as 36 values in 32 registers would.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from alula.runtime.compiler import build, cache
from alula.runtime.compiler.elf import HEADER, SECTION
from alula.runtime.kernels import all_kernels

CPUS = ("cortex-a53", "cortex-a72", "cortex-a76")
TILED = ("f32_conv", "f32_matmul", "f32_winograd", "f32_depthwise_", "s8_conv")
TRANSFORMING = ("f32_winograd", "f32_winograd_weight_products")
EXECUTABLE, STACK = 4, 31  # SHF_EXECINSTR; the register number of sp
MULTIPLY_ADDS = 8  # in a loop that is a tile's
RELOADS = 20  # multiply-adds to one reload, at least
TRANSFORM_STORES = 1

Word = int
FMLA, BACK = 0x4E22CC20, 0x54FFFF01  # fmla v0.4s, v1.4s, v2.4s; b.ne, 8 instructions back
STORE, RELOAD = 0x3D8003E0, 0x3DC003E0  # str q0, [sp]; ldr q0, [sp]


@dataclass(frozen=True)
class Loop:
    """An inner loop. additions: fadd and fsub of vectors; stores, reloads: of vectors, to and from the stack"""

    first: int
    multiply_adds: int
    additions: int
    stores: int
    reloads: int

    @property
    def is_tile(self) -> bool:
        return self.multiply_adds >= MULTIPLY_ADDS

    @property
    def is_transform(self) -> bool:
        return self.additions > self.multiply_adds // 2


def code_of(data: bytes) -> Iterator[list[Word]]:
    """The instructions of each section of an object that holds code."""
    header = HEADER.unpack_from(data)
    for i in range(header[12]):
        _, _, flags, _, offset, size, *_ = SECTION.unpack_from(data, header[6] + i * header[11])
        if flags & EXECUTABLE and size:
            yield [word for (word,) in struct.iter_unpack("<I", data[offset : offset + size])]


def jump(word: Word) -> int | None:
    """How many instructions a branch inside a function goes; None if it is none. Arm ARM, C4.1.86."""
    if word >> 26 == 0b000101:  # b
        return _signed(word & 0x3FFFFFF, 26)
    if word >> 24 == 0b01010100 or word >> 25 & 0x3F == 0b011010:  # b.cond, cbz, cbnz
        return _signed(word >> 5 & 0x7FFFF, 19)
    if word >> 25 & 0x3F == 0b011011:  # tbz, tbnz
        return _signed(word >> 5 & 0x3FFF, 14)
    return None


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def is_multiply_add(word: Word) -> bool:
    """fmla, fmls, sdot, sadalp, smlal: by vector or by lane."""
    by_vector = word & 0xBF20FC00 == 0x0E20CC00 or word & 0xBFE0FC00 == 0x0E809400 or word & 0xBF3FFC00 == 0x0E206800
    by_lane = word & 0xBF80B400 == 0x0F801000 or word & 0xBFC0F400 == 0x0F80E000
    return by_vector or by_lane or word & 0xBF20FC00 == 0x0E208000


def is_addition(word: Word) -> bool:
    """fadd or fsub of vectors."""
    return word & 0xBF20FC00 == 0x0E20D400


def is_on_stack(word: Word, load: bool) -> bool:
    """A q register loaded from or stored to [sp, #...], alone or in a pair."""
    single = word & 0xFF800000 == 0x3D800000 or word & 0xFFA00C00 == 0x3C800000
    pair = word & 0xFE000000 == 0xAC000000
    return (single or pair) and word >> 5 & 31 == STACK and bool(word >> 22 & 1) == load


def is_store(word: Word) -> bool:
    return is_on_stack(word, load=False)


def is_reload(word: Word) -> bool:
    return is_on_stack(word, load=True)


def inner_loops(code: list[Word]) -> Iterator[Loop]:
    """Loops that hold no other one: from the target of a backward branch to the branch."""
    loops = sorted((i + hop, i + 1) for i, word in enumerate(code) if (hop := jump(word)) is not None and hop < 0)
    for at, (start, stop) in enumerate(loops):
        inside = any(later < stop and end <= stop and (later, end) != (start, stop) for later, end in loops[at + 1 :])
        shorter = any(s == start and e < stop for s, e in loops[max(at - 64, 0) : at])
        if not inside and not shorter:
            words = code[start:stop]
            yield Loop(
                start, *(sum(map(count, words)) for count in (is_multiply_add, is_addition, is_store, is_reload))
            )


def test_the_decoder_knows_what_it_looks_for() -> None:
    assert is_multiply_add(0x4E22CC20) and is_multiply_add(0x4F821020)  # fmla v0.4s, v1.4s, v2.4s; by v2.s[0]
    assert is_multiply_add(0x4EA2CC20) and is_multiply_add(0x4F825020)  # fmls
    assert is_multiply_add(0x4E829420) and is_multiply_add(0x4E206820)  # sdot v0.4s, v1.16b, v2.16b; sadalp
    assert is_addition(0x4E22D420) and is_addition(0x4EA2D420)  # fadd, fsub v0.4s, v1.4s, v2.4s
    assert not is_addition(0x4E22CC20) and not is_multiply_add(0x4E22D420)
    assert is_store(0x3D8003E0) and is_store(0xAD0087E0) and is_store(0x3C9F03E0)  # str q0; stp q0, q1; stur q0
    assert is_reload(0x3DC007E0) and is_reload(0xAD4087E0) and not is_store(0x3DC007E0)  # ldr q0; ldp q0, q1
    for word in (0x3DC00000, 0x3D800000, 0xF94003E0):  # ldr q0, [x0]; str q0, [x0]; ldr x0, [sp]
        assert not is_store(word) and not is_reload(word)


def test_a_made_up_loop_that_spills_is_found() -> None:
    work = [FMLA] * MULTIPLY_ADDS
    assert list(inner_loops([*work, BACK])) == [Loop(0, MULTIPLY_ADDS, 0, 0, 0)]
    assert list(inner_loops([*work, STORE, RELOAD, 0x54FFFEC1])) == [Loop(0, MULTIPLY_ADDS, 0, 1, 1)]
    assert list(inner_loops([RELOAD, *work, BACK, STORE])) == [Loop(1, MULTIPLY_ADDS, 0, 0, 0)]  # around the loop
    assert list(inner_loops([*work, BACK, STORE, 0x54FFFEC1])) == [Loop(0, MULTIPLY_ADDS, 0, 0, 0)]  # in an outer one


def test_a_compiled_function_with_too_many_sums_is_found_to_spill() -> None:
    """LLVM itself spills some of 40 sums; of 20 none."""
    (loop,) = (loop for loop in _compiled(20) if loop.is_tile)
    assert loop.stores == loop.reloads == 0
    (loop,) = (loop for loop in _compiled(40) if loop.is_tile)
    assert loop.stores + loop.reloads >= 8 and loop.stores and not loop.is_transform


def _compiled(sums: int) -> list[Loop]:
    """The loops of a function that adds products to `sums` vectors at once."""
    llvm = pytest.importorskip("llvmlite.binding")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    kind, names = "<4 x float>", range(sums)
    phis = "\n".join(f"  %s{i} = phi {kind} [ zeroinitializer, %entry ], [ %t{i}, %loop ]" for i in names)
    adds = "\n".join(f"  %t{i} = call {kind} @llvm.fma.v4f32({kind} %a, {kind} %b, {kind} %s{i})" for i in names)
    stores = "\n".join(
        f"  %q{i} = getelementptr {kind}, ptr %y, i64 {i}\n  store {kind} %t{i}, ptr %q{i}" for i in names
    )
    text = f"""
target triple = "aarch64-unknown-linux-gnu"
declare {kind} @llvm.fma.v4f32({kind}, {kind}, {kind})
define void @f(ptr %x, ptr %y, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ %n, %entry ], [ %left, %loop ]
  %p = phi ptr [ %x, %entry ], [ %next, %loop ]
{phis}
  %a = load {kind}, ptr %p
  %next = getelementptr {kind}, ptr %p, i64 2
  %p1 = getelementptr {kind}, ptr %p, i64 1
  %b = load {kind}, ptr %p1
{adds}
  %left = sub i64 %i, 1
  %more = icmp ne i64 %left, 0
  br i1 %more, label %loop, label %done
done:
{stores}
  ret void
}}
"""
    machine = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(cpu="cortex-a53", opt=3)
    return [loop for code in code_of(machine.emit_object(llvm.parse_assembly(text))) for loop in inner_loops(code)]


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="the compiler is not installed")
@pytest.mark.parametrize("cpu", CPUS)
def test_no_tile_spills_a_vector_register(cpu: str) -> None:
    build(cpu)
    tiled, worked, transforms = [k for k in all_kernels().values() if k.name.startswith(TILED)], 0, 0
    for kernel in tiled:
        data = (cache.cache_path(cpu) / cache.object_name(kernel, cpu)).read_bytes()
        loops = [loop for code in code_of(data) for loop in inner_loops(code) if loop.is_tile]
        of_transforms = [loop for loop in loops if kernel.name in TRANSFORMING and loop.is_transform]
        spilling = [
            loop
            for loop in loops
            if loop not in of_transforms and (loop.stores or loop.reloads * RELOADS > loop.multiply_adds)
        ]
        assert not spilling, f"{kernel.name} for {cpu}"
        assert all(loop.stores <= TRANSFORM_STORES for loop in of_transforms), (
            f"{kernel.name} for {cpu}: {of_transforms}"
        )
        worked, transforms = worked + len(loops), transforms + len(of_transforms)
    assert len(tiled) >= 10 and worked >= 20 and transforms >= 2  # the loops were found
