"""Ops that become simpler ones when shapes are fixed: the same answer, and which ops run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import find
from alula.runtime.planning.reference import evaluate
from alula.runtime.planning.specialise import specialise


def graph(op: str, inputs: dict[str, Array], constants: dict[str, Array], order: str, **attrs: Any) -> Graph:
    """One node and a Neg or Identity before and after it, so that its output's name is an inner one."""
    made = Node(
        op,
        tuple("" if name == "-" else name for name in order.split()),
        ("h",),
        find(op, op).make_attrs(attrs, op),
        "node",
    )
    last = Node("Identity", ("h",), ("y",), find("Identity", op).make_attrs({}, op))
    return Graph("net", {name: TensorSpec.of(x) for name, x in inputs.items()}, ("y",), (made, last), Arrays(constants))


def ops_of(net: Graph) -> set[str]:
    return {node.op for node in specialise(net, dict(net.inputs)).nodes}


RNG = np.random.default_rng(5)
CODES = {"a": RNG.integers(0, 256, (2, 3, 5)).astype(np.uint8), "b": RNG.integers(-127, 128, (5, 4)).astype(np.int8)}
ZEROS = {
    "az": np.array(100, np.uint8),
    "bz": RNG.integers(-9, 9, 4).astype(np.int8) * 0,
    "one": np.array([7], np.uint8),
}


@pytest.mark.parametrize("order", ["a b", "a b az", "a b az bz", "a b - bz", "a b one bz"])
@pytest.mark.parametrize("late", [False, True])
def test_a_product_of_codes_runs_as_a_convolution_and_stays_exact(order: str, late: bool) -> None:
    known = {name: ZEROS[name] for name in order.split() if name in ZEROS and not (late and name in ("az", "one"))}
    inputs = {"a": CODES["a"], **{name: ZEROS[name] for name in order.split() if name in ZEROS and name not in known}}
    net = graph("MatMulInteger", inputs, {"b": CODES["b"], **known}, order)
    assert "ConvInteger" in ops_of(net) and "MatMulInteger" not in ops_of(net)
    assert np.array_equal(Model(net, threads=1)(*inputs.values()), evaluate(net, inputs)["y"])
