"""What ALULA_CHECK=1 finds: plans in which memory is used twice, updates that come too early, kernels that stray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alula.runtime.graph import Node, TensorSpec
from alula.runtime.kernels.tiles import for_cpu
from alula.runtime.ops.contract import NoAttrs
from alula.runtime.planning.arena import ArenaPlan
from alula.runtime.planning.checking import Watch, prove_arena, prove_updates, spaced
from alula.runtime.planning.lowering import Instruction, Lowering, Ref

NODE = Node("Relu", ("x",), ("y",), NoAttrs())
ROWS = [Instruction(None, [], NODE, buffers) for buffers in (["a"], ["a", "b"], ["b", "c"], ["c"])]
SIZES = {"a": 64, "b": 64, "c": 64}


def test_buffers_that_are_alive_together_may_not_share_memory() -> None:
    prove_arena(ROWS, SIZES, ArenaPlan({"a": 0, "b": 64, "c": 0}, 128))
    with pytest.raises(AssertionError, match="c lies on b"):
        prove_arena(ROWS, SIZES, ArenaPlan({"a": 0, "b": 64, "c": 100}, 192))


def test_an_output_may_take_over_the_memory_of_an_input_that_dies_with_it() -> None:
    rows = [ROWS[0], replace(ROWS[1], inplace=("b", "a")), *ROWS[2:]]
    prove_arena(rows, SIZES, ArenaPlan({"a": 0, "b": 0, "c": 64}, 128))
    with pytest.raises(AssertionError, match="b lies on a"):
        prove_arena([*rows, ROWS[0]], SIZES, ArenaPlan({"a": 0, "b": 0, "c": 64}, 128))


def _reading(name: str, output: str) -> Instruction:
    return Instruction(None, [Ref("w")], Node("Relu", (name,), (output,), NoAttrs(), output))


def test_an_update_before_the_last_reader_of_the_old_value_is_found() -> None:
    lowering = Lowering({}, {}, (), for_cpu("x86-64-v3"), 1, lambda key, make: key)
    lowering.aliases.update({"w|new": "w", "view": "w"})
    update, direct, by_view, after = (
        _reading(*names) for names in (("g", "w|new"), ("w", "a"), ("view", "b"), ("w|new", "c"))
    )
    updates = {"w|new": "w"}
    prove_updates([direct, by_view, update, after], lowering, updates)
    for order in ([direct, update, by_view], [by_view, update, direct], [after, update]):
        with pytest.raises(AssertionError, match="overwritten"):
            prove_updates(order, lowering, updates)


def test_what_a_kernel_writes_outside_of_its_buffers_is_found() -> None:
    layout = spaced(ROWS, SIZES, ArenaPlan(dict.fromkeys(SIZES, 0), 64))
    specs = {"y": TensorSpec((3, 5))}
    watch, memory = Watch(SIZES, layout), np.zeros(layout.nbytes, np.uint8)
    for place in (None, layout.offsets["b"] - 1, layout.offsets["b"] + SIZES["b"]):
        watch.poison(memory)
        assert np.isnan(watch.outputs(specs)["y"]).all()
        if place is None:
            watch.check(memory, specs)
            continue
        memory[place] = 0
        with pytest.raises(AssertionError, match=r"wrote outside of [abc]"):
            watch.check(memory, specs)
    watch.poison(memory)
    y = watch.outputs(specs)["y"]
    np.lib.stride_tricks.as_strided(y, (4, 5), y.strides)[3, 0] = 0
    with pytest.raises(AssertionError, match="wrote outside of y"):
        watch.check(memory, specs)
