"""Every kernel against the NumPy reference of its op, on one thread and on two."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import REGISTRY, NoAttrs, find
from alula.runtime.planning.lowering import LOWERING
from alula.runtime.planning.program import Program
from alula.runtime.planning.reference import evaluate
from tests.runtime.kernel_case import Case
from tests.runtime.kernel_cases import CASES


def close(case: Case, got: Array, wanted: Array) -> None:
    """Equal but for float32's rounding of sums of the case's length."""
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    if case.exact or wanted.dtype.kind != "f":
        np.testing.assert_array_equal(got, wanted)
        return
    scale = float(np.abs(wanted).max(initial=1e-6, where=np.isfinite(wanted)))
    eps = float(np.finfo(wanted.dtype).eps) * case.slack
    np.testing.assert_allclose(got, wanted, rtol=4 * eps, atol=(4 + case.terms**0.5) * 2 * eps * scale)


def only_program(model: Model) -> Program:
    """The program of a model that ran once."""
    segments = model._segments._kept.values() if model._segments else ()
    (program,) = [*model._programs.values(), *(segment.program for segment in segments)]
    return program


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_a_kernel_agrees_with_the_reference(case: Case) -> None:
    graph, feeds = case.build()
    wanted = evaluate(graph, feeds)
    for threads in (1, 2):
        model = Model(graph, threads=threads)
        got = model.run(feeds)
        for name in graph.outputs:
            close(case, got[name], wanted[name])
        program = only_program(model)
        has_kernel = case.kernel and LOWERING.find(find(case.op, "case")) is not None
        assert (not program.reference_nodes) == has_kernel
        # memory that holds something else makes no difference: nothing is read before it is written
        program.arena._memory[:] = 255
        again = model.run(feeds)
        for name in graph.outputs:
            np.testing.assert_array_equal(again[name], got[name])


def test_the_table_has_a_case_for_every_op_that_has_a_kernel() -> None:
    lowered = {name for name, op in REGISTRY.ours().items() if LOWERING.find(op) is not None}
    assert lowered <= {case.op for case in CASES if case.kernel}


def test_case_labels_are_unique() -> None:
    labels = [case.label for case in CASES]
    assert sorted({label for label in labels if labels.count(label) > 1}) == []


def test_inputs_need_no_alignment() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((24, 3, 3, 16)).astype(np.float32)
    attrs = find("Conv", "").make_attrs({"pads": (1, 1, 1, 1)}, "")
    nodes = (Node("Conv", ("x", "w"), ("c",), attrs), Node("Add", ("c", "z"), ("y",), NoAttrs()))
    specs = {"x": TensorSpec((1, 9, 10, 16)), "z": TensorSpec((1, 9, 10, 24))}
    graph = Graph("unaligned", specs, ("y",), nodes, Arrays(w=weight))
    feeds = {}
    for name, spec in specs.items():
        raw = rng.standard_normal(spec.size + 1).astype(np.float32)
        feeds[name] = raw[1:].reshape(spec.dims)  # 4 bytes past wherever NumPy begins
    np.testing.assert_allclose(Model(graph)(**feeds), evaluate(graph, feeds)["y"], atol=2e-4)


def test_a_chain_that_reads_its_input_again_does_not_overwrite_it() -> None:
    x = np.linspace(-3, 3, 60, dtype=np.float32).reshape(3, 20)
    stages = (Node("Mul", ("y|body", "a"), ("s0",), NoAttrs()), Node("Add", ("s0", "a"), ("y",), NoAttrs()))
    nodes = (Node("Exp", ("x",), ("a",), NoAttrs()), Node("Sigmoid", ("a",), ("y",), NoAttrs(), fused=stages))
    graph = Graph("again", {"x": TensorSpec.of(x)}, ("y",), nodes)
    np.testing.assert_allclose(Model(graph)(x), evaluate(graph, {"x": x})["y"], rtol=1e-6)
