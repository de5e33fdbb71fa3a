"""Epilogues hang on their producer where a kernel can run them, and nowhere else."""

from __future__ import annotations

import pytest

from alula.runtime.graph import Graph, TensorSpec
from alula.runtime.ops.epilogue import MAX_STAGES, operand_kind, split, unfuse
from alula.runtime.passes.fusion import fuse_epilogues, unfuse_epilogues
from alula.runtime.planning.reference import evaluate
from alula.runtime.planning.specialise import specialise
from tests.runtime.passes.networks import SIZES, Builder, difference, ops_of, random_inputs

IMAGE = TensorSpec(("batch", "height", "width", 4))


def _conv(b: Builder, x: str, c_in: int = 4, c_out: int = 4) -> str:
    return b.node("Conv", x, b.normal(c_out, 1, 1, c_in))


def _shape(graph: Graph) -> list[tuple[str, int]]:
    return [(node.op, len(node.fused)) for node in graph.nodes]


def test_an_epilogue_of_activations_hangs_on_its_convolution_in_order() -> None:
    b = Builder(x=IMAGE)
    y = b.node("Mul", b.node("Add", b.node("Relu", _conv(b, "x")), b.constant(2)), b.normal(4))
    graph = b.graph(y)
    fused = fuse_epilogues(graph)
    assert _shape(fused) == [("Conv", 3)]
    assert [stage.op for stage in fused.nodes[0].fused] == ["Relu", "Add", "Mul"]
    assert fused.nodes[0].outputs == (y,)
    assert difference(graph, fused, SIZES) == 0
    assert difference(graph, unfuse_epilogues(fused), SIZES) == 0


def test_a_residual_sum_hangs_on_the_branch_that_comes_last() -> None:
    b = Builder(x=IMAGE)
    x = b.node("Relu", _conv(b, "x"))
    y = _conv(b, b.node("Relu", _conv(b, x)))
    graph = b.graph(b.node("Relu", b.node("Add", x, y)))
    fused = fuse_epilogues(graph)
    assert _shape(fused) == [("Conv", 1), ("Conv", 1), ("Conv", 2)]
    assert difference(graph, fused, SIZES) == 0


def test_a_host_moves_behind_the_operand_of_its_epilogue() -> None:
    b = Builder(x=IMAGE)
    y = _conv(b, "x")
    other = b.node("MaxPool", "x", kernel_shape=(1, 1))
    graph = b.graph(b.node("Add", y, other))
    fused = fuse_epilogues(graph)
    assert _shape(fused) == [("MaxPool", 0), ("Conv", 1)]
    assert difference(graph, fused, SIZES) == 0


def test_two_convolutions_that_meet_share_one_epilogue() -> None:
    b = Builder(x=IMAGE)
    graph = b.graph(b.node("Relu", b.node("Add", _conv(b, "x"), _conv(b, "x"))))
    fused = fuse_epilogues(graph)
    assert sorted(_shape(fused)) == [("Conv", 0), ("Conv", 2)]
    assert difference(graph, fused, SIZES) == 0


def test_a_gate_does_not_pull_the_image_into_the_small_convolution() -> None:
    b = Builder(x=IMAGE)
    gate = b.node("Sigmoid", _conv(b, b.node("GlobalAveragePool", "x")))
    graph = b.graph(b.node("Relu", b.node("Mul", "x", gate)))
    fused = fuse_epilogues(graph)
    assert _shape(fused) == [("GlobalAveragePool", 0), ("Conv", 1), ("Mul", 1)]
    assert difference(graph, fused, SIZES) == 0


def test_a_result_that_is_read_twice_or_put_out_ends_the_epilogue() -> None:
    b = Builder(x=IMAGE)
    y = _conv(b, "x")
    z = b.node("Relu", y)
    graph = b.graph(z, b.node("Tanh", z))
    assert _shape(fuse_epilogues(graph)) == [("Conv", 1), ("Tanh", 0)]


def test_a_square_hangs_on_its_producer() -> None:
    b = Builder(x=IMAGE)
    y = _conv(b, "x")
    graph = b.graph(b.node("Mul", y, y))
    fused = fuse_epilogues(graph)
    assert _shape(fused) == [("Conv", 1)]
    assert difference(graph, fused, SIZES) == 0


def test_an_epilogue_has_an_end() -> None:
    b = Builder(x=IMAGE)
    y = _conv(b, "x")
    for _ in range(MAX_STAGES + 3):
        y = b.node("Tanh", y)
    graph = b.graph(y)
    fused = fuse_epilogues(graph)
    assert _shape(fused) == [("Conv", MAX_STAGES), ("Tanh", 2)]
    assert difference(graph, fused, SIZES) == 0


def test_other_dtypes_and_comparisons_are_left_alone() -> None:
    b = Builder(x=TensorSpec(("batch", 3), "int64"), y=TensorSpec(("batch", 3)))
    graph = b.graph(
        b.node("Add", b.node("Mul", "x", "x"), "x"), b.node("Not", b.node("Less", b.node("Relu", "y"), "y"))
    )
    assert fuse_epilogues(graph).nodes == graph.nodes


@pytest.mark.parametrize(
    ("host", "operand", "kind"),
    [
        ((2, 5, 6, 4), (), "scalar"),
        ((2, 5, 6, 4), (1, 1), "scalar"),
        ((2, 5, 6, 4), (4,), "channel"),
        ((2, 5, 6, 4), (1, 1, 1, 4), "channel"),
        ((2, 5, 6, 4), (2, 1, 1, 4), "image"),
        ((2, 5, 6, 4), (2, 5, 6, 4), "element"),
        ((2, 5, 6, 4), (2, 5, 6, 1), None),
        ((2, 5, 6, 4), (6, 4), None),
        ((2, 5, 6, 4), (1, 2, 5, 6, 4), None),
        ((2, 1, 1, 4), (2, 5, 6, 4), None),
        ((2, 1), (4,), None),
        (("n", "h", "w", 4), ("n", "a", "b", 4), "element"),
        (("n", 1, 1, 4), ("n", "h", "w", 4), None),
    ],
)
def test_the_kinds_of_operands(host: tuple[int, ...], operand: tuple[int, ...], kind: str | None) -> None:
    assert operand_kind(host, operand) == kind


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_epilogue_can_be_cut_anywhere(at: int) -> None:
    b = Builder(x=IMAGE, r=IMAGE)
    y = b.node("Mul", b.node("Add", b.node("Relu", _conv(b, "x")), "r"), b.normal(4))
    graph = b.graph(y)
    (node,) = fuse_epilogues(graph).nodes
    for parts in (split(node, at), unfuse(node)):
        assert difference(graph, graph.with_nodes(parts), SIZES) == 0
    head, tail = split(node, at)
    assert (len(head.fused), len(tail.fused)) == (at, 2 - at)


def test_an_epilogue_is_cut_when_the_sizes_show_that_a_stage_widens_it() -> None:
    b = Builder(x=IMAGE, r=TensorSpec(("batch", "rows", "columns", 4)))
    y = b.node("Tanh", b.node("Add", b.node("Relu", _conv(b, "x")), "r"))
    fused = fuse_epilogues(b.graph(y))
    assert _shape(fused) == [("Conv", 3)]
    sizes = {"batch": 2, "height": 1, "width": 1, "rows": 3, "columns": 5}
    inputs = random_inputs(fused, sizes)
    network = specialise(fused, {name: TensorSpec.of(value) for name, value in inputs.items()})
    assert [(node.op, len(node.fused)) for node in network.nodes] == [("Conv", 1), ("Add", 1)]
    wanted = evaluate(fused, inputs)[y]
    got = evaluate(fused.with_nodes(network.nodes), inputs)[y]
    assert network.specs[y] == TensorSpec.of(wanted)
    assert (got == wanted).all()


def test_fusing_hides_no_op() -> None:
    b = Builder(x=IMAGE)
    graph = b.graph(b.node("Relu", b.node("Add", _conv(b, "x"), b.constant(1))))
    assert ops_of(fuse_epilogues(graph)) == ops_of(graph)
