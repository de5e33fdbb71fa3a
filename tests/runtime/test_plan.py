"""The memory plan: whatever the lifetimes, no two buffers that are alive at the same time share a byte."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from alula.runtime.graph import Node
from alula.runtime.ops.contract import NoAttrs
from alula.runtime.planning.arena import ALIGNMENT, lifetimes, plan_arena
from alula.runtime.planning.lowering import Instruction, Ref

NODE = Node("Relu", ("x",), ("y",), NoAttrs())


@dataclass(frozen=True)
class Program:
    """Instructions as (buffers by words, buffers by name, in-place pair), and the sizes of the buffers."""

    rows: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, str] | None], ...]
    sizes: dict[str, int]

    def instructions(self) -> list[Instruction]:
        """Fresh ones: laying out writes to them."""
        return [
            Instruction(None, [1, *(Ref(name, 4) for name in words), 2.5], NODE, list(named), pair)
            for words, named, pair in self.rows
        ]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Each instruction names some buffers and may ask to write one over another."""
    names = [f"b{i}" for i in range(draw(st.integers(1, 10)))]
    outside = ["input", "weight"]  # buffers that lie elsewhere
    chosen = st.lists(st.sampled_from(names + outside), max_size=3).map(tuple)
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        words, named = draw(chosen), draw(chosen)
        touched = sorted({*words, *named})
        pair: tuple[str, str] | None = None
        if len(touched) > 1 and draw(st.booleans()):
            output, source, *_ = draw(st.permutations(touched))
            pair = (output, source)
        rows.append((words, named, pair))
    sizes = {name: draw(st.sampled_from([1, 63, 64, 65, 128, 1000, 4096])) for name in names}
    return Program(tuple(rows), sizes)


def overlaps(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two half-open ranges share anything."""
    return a[0] < b[1] and b[0] < a[1]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(programs())
def test_no_two_live_buffers_overlap_unless_one_takes_over_from_the_other(program: Program) -> None:
    instructions = program.instructions()
    spans = lifetimes(instructions)
    layout = plan_arena(instructions, program.sizes)
    placed = sorted(layout.offsets)
    for i, a in enumerate(placed):
        for b in placed[i + 1 :]:
            ranges = [(layout.offsets[n], layout.offsets[n] + program.sizes[n]) for n in (a, b)]
            if not overlaps(*ranges):
                continue
            first, last = max(spans[a][0], spans[b][0]), min(spans[a][1], spans[b][1])
            if first > last:
                continue
            # both are alive at one instruction alone, which asked for it: there one begins and the other ends
            pair = program.rows[first][2]
            assert first == last and pair is not None and set(pair) == {a, b}
            assert spans[pair[0]][0] == first == spans[pair[1]][1]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(programs())
def test_every_named_buffer_lies_aligned_inside_the_arena(program: Program) -> None:
    layout = plan_arena(program.instructions(), program.sizes)
    named = {name for words, more, _ in program.rows for name in (*words, *more)}
    assert set(layout.offsets) == named & set(program.sizes)
    for name, offset in layout.offsets.items():
        assert offset % ALIGNMENT == 0
        assert offset >= 0 and offset + program.sizes[name] <= layout.nbytes


@settings(max_examples=200, deadline=None, derandomize=True)
@given(programs())
def test_the_arena_is_never_larger_than_all_buffers_side_by_side(program: Program) -> None:
    layout = plan_arena(program.instructions(), program.sizes)
    whole = sum(-(-program.sizes[name] // ALIGNMENT) * ALIGNMENT for name in layout.offsets)
    assert layout.nbytes <= whole


@settings(max_examples=200, deadline=None, derandomize=True)
@given(programs())
def test_laying_out_the_same_program_twice_gives_the_same_layout(program: Program) -> None:
    assert plan_arena(program.instructions(), program.sizes) == plan_arena(program.instructions(), program.sizes)


def test_an_output_takes_over_the_memory_of_an_input_that_dies() -> None:
    rows = ((("a",), (), None), (("a", "b"), (), ("b", "a")), (("b", "c"), (), ("c", "b")))
    layout = plan_arena(Program(rows, {}).instructions(), {"a": 100, "b": 100, "c": 50})
    assert layout.offsets == {"a": 0, "b": 0, "c": 0}
    assert layout.nbytes == 128


def test_an_input_that_is_read_later_keeps_its_memory() -> None:
    rows = ((("a",), (), None), (("a", "b"), (), ("b", "a")), (("a", "b"), (), None))
    layout = plan_arena(Program(rows, {}).instructions(), {"a": 64, "b": 64})
    assert layout.offsets["a"] != layout.offsets["b"]
