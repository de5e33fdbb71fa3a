"""Ops that become simpler ones when shapes are fixed: the same answer, and which ops run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime.errors import GraphError, ShapeError
from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import find
from alula.runtime.planning.reference import evaluate
from alula.runtime.planning.specialise import specialise
from alula.runtime.train import SGD, Trainer
from alula.runtime.train.losses import MSE
from tests.runtime.ops.oracle import inferred, onnxruntime_node


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


@pytest.mark.parametrize("k", [3, 258, 259])
@pytest.mark.parametrize("known", [False, True])
def test_a_product_of_any_codes_is_one_of_floats_while_these_hold_every_sum(k: int, known: bool) -> None:
    a, b = RNG.integers(250, 256, (2, 3, k)).astype(np.uint8), RNG.integers(250, 256, (k, 5)).astype(np.uint8)
    zeros = {"az": np.array(0, np.uint8), "bz": np.arange(5).astype(np.uint8)}
    inputs = {"a": a} if known else {"a": a, "b": b, "az": zeros["az"]}
    net = graph(
        "MatMulInteger", inputs, {**zeros, **({"b": b} if known else {})} if known else {"bz": zeros["bz"]}, "a b az bz"
    )
    assert ("MatMul" in ops_of(net)) == (k <= 258) and "ConvInteger" not in ops_of(net)
    assert np.array_equal(Model(net, threads=1)(*inputs.values()), evaluate(net, inputs)["y"])


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "attrs"),
    [
        ((2, 5, 6, 4), (6, 3, 3, 4), {"pads": (1, 0, 2, 1), "strides": (2, 1)}),
        ((1, 7, 5, 4), (6, 3, 3, 2), {"group": 2, "auto_pad": "SAME_UPPER"}), ((1, 9, 3), (4, 3, 3), {"dilations": (2,)}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ["x w z", "x w z wz"])
def test_a_convolution_of_codes_whose_zero_point_comes_late_stays_exact(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], attrs: dict[str, Any], order: str
) -> None:
    inputs = {"x": RNG.integers(0, 256, x_shape).astype(np.uint8), "z": np.array(77, np.uint8)}
    weight = RNG.integers(-64, 64, w_shape).astype(np.int8)
    known = {"w": weight, **({"wz": RNG.integers(-9, 9, w_shape[0]).astype(np.int8)} if "wz" in order else {})}
    net = graph("ConvInteger", inputs, known, order, **attrs)
    assert "Sub" in ops_of(net)
    assert np.array_equal(Model(net, threads=1)(*inputs.values()), evaluate(net, inputs)["y"])


EQUATIONS = [
    ("ij,jk->ik", (3, 4), (4, 5)), ("bij,kj->bik", (2, 3, 4), (5, 4)), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    ("bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4)), ("i,j->ij", (3,), (4,)), ("i,i", (3,), (3,)), ("ij->ji", (3, 4)), ("ij->", (3, 4)),
    ("b i j -> b j", (2, 3, 4)), ("...ij,...jk->...ik", (2, 3, 4), (1, 4, 5)),
    ("i...,i...->...", (3, 2, 4), (3, 1, 4)), ("ji,kj", (4, 3), (5, 4)),
    ("bij,bij->bj", (2, 3, 4), (2, 3, 4)), ("ij,jk,kl->il", (3, 4), (4, 5), (5, 2)), ("bnij,bmj->bi", (2, 1, 3, 4), (1, 6, 4)),
    ("bchw,cd->bdhw", (2, 3, 4, 5), (3, 6)), ("ab,ab->ab", (3, 4), (1, 4)), ("ab,cb->", (3, 1), (2, 1)), ("a,b,c->cab", (2,), (3,), (4,)),
    ("ii->i", (3, 3)), ("ij,jk->ik", (0, 4), (4, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "shapes"), [(first, rest) for first, *rest in EQUATIONS], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_an_einsum_runs_as_matrix_products(equation: str, shapes: list[tuple[int, ...]], dtype: str) -> None:
    inputs = {f"x{i}": RNG.integers(-9, 9, shape).astype(dtype) for i, shape in enumerate(shapes)}
    net = graph("Einsum", inputs, {}, " ".join(inputs), equation=equation)
    (want,) = (
        onnxruntime_node("Einsum", list(inputs.values()), {"equation": equation})
        if 0 not in shapes[0]
        else [np.zeros((0, 5), dtype)]
    )
    assert np.array_equal(evaluate(net, inputs)["y"], want)
    got = Model(net, threads=1)(*inputs.values())
    assert (got.dtype, got.shape) == (want.dtype, want.shape) and np.array_equal(got, want)
    assert ("Einsum" in ops_of(net)) == (equation == "ii->i" or 0 in shapes[0])


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("ij,jk->ik", [(3, 4)], "expected 2 inputs"), ("ij,jk->ik", [(3, 4), (5, 2)], "expected axes of one name to have one size"),
        ("ij->k", [(3, 4)], "expected an output of distinct axes"), ("ij->ii", [(3, 4)], "expected an output of distinct axes"),
        ("i->i", [(3, 4)], "expected 'i' to name all axes"), ("i;->i", [(3,)], "expected an equation of letters"),
    ],
)  # fmt: skip
def test_an_equation_that_says_nothing_is_refused(equation: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises((GraphError, ShapeError), match=message):
        inferred("Einsum", [np.zeros(shape, np.float32) for shape in shapes], {"equation": equation})


def test_an_einsum_is_trained_as_the_product_that_it_is() -> None:
    x, w = (RNG.normal(size=shape).astype(np.float32) for shape in ((6, 3, 4), (5, 4)))
    nets = [
        graph("Einsum", {"x": x}, {"w": w}, "x w", equation="bij,kj->bik"),
        graph("MatMul", {"x": x}, {"w": w.T.copy()}, "x w"),
    ]
    target = RNG.normal(size=(6, 3, 5)).astype(np.float32)
    after = []
    for net in nets:
        trainer = Trainer(net, SGD(0.1), MSE(), threads=1)
        trainer.step(x, target)
        after.append(trainer.values()["w"])
    np.testing.assert_allclose(after[0], after[1].T, rtol=1e-5, atol=1e-6)
    assert np.abs(after[0] - w).max() > 1e-3
