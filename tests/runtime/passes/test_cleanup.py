"""Constants are computed, idle nodes go, and what the probes say of shapes is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alula.runtime.graph import Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.passes.constant_folding import fold_constants
from alula.runtime.passes.dead_code import drop_dead_code
from alula.runtime.passes.no_ops import drop_no_ops
from alula.runtime.passes.shapes import Shapes
from alula.runtime.planning.reference import evaluate
from tests.runtime.passes.networks import SIZES, Builder, difference, image, ops_of


def test_constants_are_computed_through_several_nodes() -> None:
    b = Builder(x=image())
    bias = b.node("Add", b.node("Reshape", b.normal(4), b.ints(1, 4, 1, 1)), b.constant(1))
    graph = b.graph(b.node("Add", "x", bias))
    folded = fold_constants(graph)
    assert ops_of(folded) == ["Add"]
    assert difference(graph, folded, SIZES) == 0


def test_a_constant_that_would_grow_large_is_left_for_later() -> None:
    b = Builder(x=TensorSpec((1,)))
    graph = b.graph(b.node("Add", "x", b.node("Expand", b.constant([1.0]), b.ints(1000, 1000))))
    assert fold_constants(graph).nodes == graph.nodes


def test_nodes_and_constants_that_nothing_needs_are_dropped() -> None:
    b = Builder(x=image())
    b.node("Add", b.node("Relu", "x"), b.normal(4, 1, 1))
    kept = b.node("Tanh", "x")
    dropped = drop_dead_code(b.graph(kept))
    assert ops_of(dropped) == ["Tanh"]
    assert len(dropped.constants) == 0


def test_idle_nodes_vanish_and_outputs_keep_their_names() -> None:
    b = Builder(x=image())
    y = b.node("Identity", b.node("Dropout", b.node("Relu", "x")))
    y = b.node("Cast", b.node("Mul", b.node("Add", y, b.constant(0)), b.constant([1])), to="float32")
    y = b.node("Transpose", b.node("Pad", y, b.ints(0, 0, 0, 0, 0, 0, 0, 0)), perm=(0, 1, 2, 3))
    graph = b.graph(b.node("Identity", y))
    clean = drop_no_ops(graph)
    assert [(node.op, node.outputs) for node in clean.nodes] == [("Relu", graph.outputs)]


def test_a_dropout_stays_where_its_mask_is_an_output() -> None:
    b = Builder(x=image())
    y = b.node("Dropout", b.node("Relu", b.conv("x", 4, 6, 3)))
    graph = b.graph(b.node("Tanh", y))
    nodes = [replace(node, outputs=(*node.outputs, "mask")) if node.op == "Dropout" else node for node in graph.nodes]
    graph = replace(graph, nodes=tuple(nodes), outputs=(*graph.outputs, "mask"))
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 8), np.float32)
    wanted, found = evaluate(graph, {"x": x}), Model(optimise(graph)).run({"x": x})
    assert (
        found["mask"].dtype == bool
        and found["mask"].all()
        and found["mask"].shape == wanted["mask"].shape == (2, 6, 7, 6)
    )
    np.testing.assert_allclose(found[graph.outputs[0]], wanted[graph.outputs[0]], atol=1e-5)


def test_what_only_looks_idle_stays() -> None:
    b = Builder(x=image(), n=TensorSpec(("batch",), "int64"))
    wide = b.node("Add", b.node("Relu", "n"), b.constant([[0], [0]], "int64"))  # changes the shape
    swapped = b.node("Sub", b.constant(0), "x")
    moved = b.node("Pad", "x", b.ints(0, 0, 1, 0, 0, 0, -1, 0))
    graph = b.graph(wide, swapped, moved, b.node("Identity", "x"))
    assert drop_no_ops(graph).nodes == graph.nodes


def test_sizes_that_agree_in_both_probes_have_one_name() -> None:
    b = Builder(x=image())
    down = b.conv("x", 4, 6, 3, strides=(2, 2), pads=(1, 1, 1, 1))
    other = b.conv("x", 4, 6, 1, strides=(2, 2))
    up = b.node("Resize", down, "", b.constant([1, 1, 2, 2]))
    flat = b.node("Reshape", down, b.node("Concat", b.ints(0), b.ints(6), b.ints(-1), axis=0))
    total = b.node("Gather", b.node("Shape", flat), b.ints(2, 1))
    shapes = Shapes(b.graph(down, other, up, flat, total))
    assert shapes.shape(down) == shapes.shape(other)
    assert shapes.shape(down) != shapes.shape("x")
    batch, channels, height, _ = shapes.shape(up) or ()
    assert (batch, channels) == ("batch", 6)
    assert height != "height"  # an odd height does not come back
    value, shape = shapes.value(total), shapes.shape(flat)
    assert value is not None
    assert shape is not None
    assert value == (shape[2], 6)


def test_an_op_that_refuses_the_probes_is_guessed() -> None:
    b = Builder(x=TensorSpec(("batch", 4, "height", "width")), y=TensorSpec(("batch", 4, 1, "width")))
    line = b.node("Reshape", "x", b.ints(0, 4, 1, 30))  # true for some sizes only
    both = b.node("Concat", "x", "y", axis=1)
    end = b.node("Relu", b.conv(both, 8, 3))
    shapes = Shapes(b.graph(line, both, end))
    assert shapes.shape(line) == ("batch", 4, 1, 30)
    assert shapes.shape(both) == ("batch", 8, 1, "width")
    assert shapes.shape(end) == ("batch", 3, 1, "width")


def test_folding_needs_no_inputs_and_keeps_dtypes() -> None:
    b = Builder(x=TensorSpec((3,), "int64"))
    y = b.node("Add", "x", b.node("Cast", b.constant([2.0, 3.0, 4.5]), to="int64"))
    folded = fold_constants(b.graph(y))
    (node,) = folded.nodes
    assert isinstance(node, Node)
    np.testing.assert_array_equal(folded.constants[node.inputs[1]], [2, 3, 4])
    assert folded.constants[node.inputs[1]].dtype == np.int64
