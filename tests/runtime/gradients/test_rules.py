"""Every gradient rule against central differences of the op's own reference in float64, by references and by kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import REGISTRY, find
from alula.runtime.planning.autodiff import RULES, Tape, rule_of
from alula.runtime.planning.reference import evaluate

STEP, TOLERANCE = 1e-5, 2e-4
OFF_THE_KINKS = 0.0137  # the drawn numbers are all different, and none is where a slope jumps

# Nothing flows through these, or their results are no numbers that move
NO_GRADIENT = {
    "ArgMax", "ArgMin", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not", "Mod",
    "Shape", "Size", "ConstantOfShape", "Range", "OneHot", "EyeLike", "Det", "IsNaN", "IsInf", "BitwiseAnd", "BitwiseOr",
    "BitwiseXor", "BitwiseNot", "BitShift", "QuantizeLinear", "DequantizeLinear", "ConvInteger", "QLinearConv",
    "MatMulInteger",
    "Einsum",  # it is matrix products by then
    "Branch",  # training refuses it by name
    "NonZero", "NonMaxSuppression",
    "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss",  # training has its own loss
}  # fmt: skip
# Ops of the backward pass and of the update: what is made there is not differentiated again
BACKWARD = ("Grad", "Update", "SquaredNorm", "BatchNormalizationApply")


@dataclass(frozen=True)
class Case:
    """One node. `values` are inputs by index that are known; the other inputs are drawn with the given shapes."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[int, Any] = field(default_factory=dict)
    low: float = -2.0
    high: float = 2.0
    outputs: int = 1
    frozen: tuple[int, ...] = ()
    computed: int = 0  # 1: the values are not known when the program is planned

    @property
    def name(self) -> str:
        """For pytest."""
        shapes, attrs = ["x".join(map(str, s)) for s in self.shapes], map(str, self.attrs.values())
        return "-".join([self.op, *shapes, *attrs, *["computed"] * self.computed])


def _i(*values: int) -> Array:
    return np.array(values, np.int64)


P = (2, 3, 4)
_pairs = np.arange(16).reshape(2, 2, 4) % 2  # two places are written twice
PIC = (2, 5, 6, 4)
CASES = [
    *(Case(op, (P,)) for op in (
        *(name for name, op in REGISTRY.ours().items() if op.slope), "Erf", "Exp", "Abs", "Neg", "Sin", "Cos", "Identity", "Atan",
        "Asinh", "Sinh", "Cosh",
        "Floor", "Ceil", "Round", "Sign",
    )),
    Case("Gelu", (P,), {"approximate": "tanh"}),
    *(Case(op, (P,), low=-0.9, high=0.9) for op in ("Tan", "Asin", "Acos", "Atanh")), Case("Acosh", (P,), low=1.1),
    *(Case(op, (P,), low=0.3) for op in ("Sqrt", "Log", "Reciprocal")),
    Case("Clip", (P, (), ()), values={1: np.float32(-0.5), 2: np.float32(1.0)}),
    Case("PRelu", (P, (4,))),
    *(Case(op, (P, s)) for op in ("Add", "Sub", "Mul", "Min", "Max") for s in (P, (4,), (3, 1), ())),
    Case("Div", (P, P), low=0.5), Case("Div", (P, (4,)), low=0.5), Case("Pow", (P, P), low=0.5),
    Case("Pow", (P, ()), values={1: np.float32(2.0)}), Case("Pow", (P, ()), values={1: np.float32(1.5)}, low=0.5),
    Case("Where", ((), P, (4,)), values={0: np.arange(24).reshape(P) % 3 == 0}),
    Case("Dropout", (P,)),
    *(Case(op, (P, (2,)), {"keepdims": k}, {1: _i(0, 2)}, low=0.5) for k in (0, 1) for op in (
        "ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
        "ReduceProd", "ReduceMax", "ReduceMin",
    )),
    Case("ReduceMean", (P,)),
    *(Case(op, (P,), {"axis": axis}) for op in ("Softmax", "LogSoftmax") for axis in (-1, 1)),
    Case("MatMul", ((3, 4), (4, 5))), Case("MatMul", ((2, 3, 4), (4, 5))), Case("MatMul", ((2, 1, 3, 4), (3, 4, 5))),
    Case("MatMul", ((4,), (4, 5))), Case("MatMul", ((2, 3, 4), (4,))),
    *(Case("Gemm", ((4, 3) if ta else (3, 4), (5, 4) if tb else (4, 5), (5,)), {"transA": ta, "transB": tb, "alpha": 0.5, "beta": 2.0})
      for ta in (0, 1) for tb in (0, 1)),
    Case("Gemm", ((3, 4), (5, 4)), {"transB": 1}),
    Case("Conv", (PIC, (6, 3, 3, 4), (6,)), {"pads": (1, 1, 1, 1)}),
    Case("Conv", (PIC, (6, 3, 3, 4)), {"strides": (2, 2), "pads": (1, 0, 0, 1)}),
    Case("Conv", (PIC, (6, 1, 1, 4)), {"strides": (2, 2)}),
    Case("Conv", (PIC, (8, 3, 3, 2)), {"group": 2, "auto_pad": "SAME_UPPER"}),
    Case("Conv", (PIC, (4, 3, 3, 1), (4,)), {"group": 4, "pads": (1, 1, 1, 1), "strides": (2, 2)}),
    Case("Conv", ((2, 5, 6, 16), (16, 3, 3, 1)), {"group": 16, "pads": (1, 1, 1, 1)}),
    Case("Conv", ((1, 9, 9, 2), (3, 3, 3, 2)), {"dilations": (2, 2)}),
    Case("Conv", ((2, 7, 3), (5, 3, 3)), {"pads": (1, 1)}),
    Case("ConvTranspose", (PIC, (4, 3, 3, 5), (5,)), {"strides": (2, 2), "pads": (1, 1, 1, 1), "output_padding": (1, 1)}),
    Case("ConvTranspose", (PIC, (4, 2, 2, 3)), {"strides": (2, 2)}),
    Case("ConvTranspose", (PIC, (4, 2, 2, 3), (3,)), {"strides": (2, 2), "output_padding": (1, 1)}),
    Case("ConvTranspose", (PIC, (4, 3, 2, 2), (4,)), {"group": 2, "strides": (3, 2), "pads": (1, 0, 0, 0), "output_padding": (2, 1)}),
    Case("ConvTranspose", (PIC, (4, 2, 3, 1)), {"group": 4, "strides": (2, 2), "output_padding": (1, 0)}),
    Case("ConvTranspose", (PIC, (4, 3, 3, 2)), {"dilations": (2, 1), "output_padding": (1, 0)}),
    Case("ConvTranspose", ((2, 7, 4), (4, 3, 5), (5,)), {"strides": (2,), "output_shape": (17,)}),
    Case("MaxPool", (PIC,), {"kernel_shape": (2, 2), "strides": (2, 2)}),
    Case("MaxPool", (PIC,), {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    Case("AveragePool", (PIC,), {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    Case("AveragePool", (PIC,), {"kernel_shape": (2, 2), "count_include_pad": 1, "pads": (1, 1, 0, 0)}),
    Case("GlobalAveragePool", (PIC,)), Case("GlobalMaxPool", (PIC,)),
    Case("Reshape", (P, (2,)), values={1: _i(6, 4)}), Case("Flatten", (P,)),
    Case("Squeeze", ((2, 1, 3), (1,)), values={1: _i(1)}), Case("Unsqueeze", (P, (1,)), values={1: _i(1)}),
    Case("Transpose", (P,), {"perm": (2, 0, 1)}), Case("Expand", ((3, 1), (3,)), values={1: _i(2, 3, 4)}),
    Case("Tile", ((2, 3), (2,)), values={1: _i(2, 3)}),
    Case("Concat", (P, (2, 2, 4)), {"axis": 1}), Case("Split", (P,), {"axis": 2, "num_outputs": 2}, outputs=2),
    Case("Slice", (P, (2,), (2,), (2,), (2,)), values={1: _i(0, 3), 2: _i(2, 0), 3: _i(1, 2), 4: _i(1, -1)}),
    Case("Gather", (P, (3,)), {"axis": 1}, {1: _i(2, 0, 2)}),
    Case("Pad", (P, (6,)), values={1: _i(0, 1, 2, 1, 0, 0)}), Case("Pad", (P, (6,)), values={1: _i(0, -1, 2, 1, 0, -3)}),
    *(Case("Pad", (P, (6,)), {"mode": mode}, {1: _i(0, 2, 3, 1, 1, 2)}) for mode in ("edge", "wrap")),
    Case("Pad", (P, (6,)), {"mode": "reflect"}, {1: _i(0, -1, 2, 0, 1, 3)}),
    Case("Pad", (P, (4,), (), (2,)), {"mode": "edge"}, {1: _i(2, -1, 0, 1), 2: np.float32(0), 3: _i(2, -2)}),
    *(Case("GatherElements", (P, (2, 2, 4)), {"axis": 1}, {1: np.arange(16).reshape(2, 2, 4) % 5 - 2}, computed=c) for c in (0, 1)),
    *(Case("GatherND", (P, shape), {"batch_dims": b}, {1: np.arange(math.prod(shape)).reshape(shape) % 2}, computed=c)
      for c in (0, 1) for b, shape in ((0, (3, 2)), (1, (2, 3, 1)))),
    *(Case("ScatterElements", (P, (2, 2, 4), (2, 2, 4)), {"axis": 1, "reduction": how}, {1: index}, low=0.3, computed=c)
      for c in (0, 1) for how, index in (
        ("none", np.arange(16).reshape(2, 2, 4) % 3), ("add", _pairs), ("mul", _pairs), ("max", _pairs), ("min", _pairs))),
    *(Case("ScatterND", (P, (3, 2), (3, 4)), {"reduction": how}, {1: np.array([[0, 1], [1, 2], [1, 0]])})
      for how in ("none", "add", "max")),
    Case("TopK", (P, (1,)), {"axis": 1}, {1: _i(2)}, outputs=2), Case("TopK", (P, (1,)), {"axis": -1, "largest": 0}, {1: _i(3)}),
    *(Case("Compress", (P, (3,)), attrs, {1: np.array([True, False, True])}) for attrs in ({"axis": 1}, {})),
    Case("ReverseSequence", ((4, 3, 2), (3,)), values={1: _i(4, 1, 3)}),
    *(Case("CumSum", (P, ()), {"exclusive": e, "reverse": r}, {1: np.array(1)}) for e in (0, 1) for r in (0, 1)),
    Case("Trilu", (P,)), Case("Trilu", (P, ()), {"upper": 0}, {1: np.array(1)}),
    Case("DepthToSpace", ((1, 2, 3, 8),), {"blocksize": 2}), Case("SpaceToDepth", ((1, 4, 6, 2),), {"blocksize": 2, "mode": "CRD"}),
    Case("LayerNormalization", (P, (4,), (4,))), Case("LayerNormalization", (P, (3, 4)), {"axis": 1}),
    Case("RMSNormalization", (P, (4,))), Case("InstanceNormalization", (PIC, (4,), (4,))),
    Case("GroupNormalization", (PIC, (4,), (4,)), {"num_groups": 2}), Case("LpNormalization", (P,), {"axis": 1}),
    Case("LpNormalization", (P,), {"axis": -1, "p": 1}, low=0.3),
    Case("BatchNormalization", (PIC, (4,), (4,), (4,), (4,)), low=0.2, frozen=(3, 4)),
    Case("BatchNormalizationTraining", (PIC, (4,), (4,), (4,), (4,)), low=0.2, outputs=5, frozen=(3, 4)),
    Case("Resize", ((1, 3, 5, 2), (0,), (4,)), {"mode": "linear"}, {1: np.zeros(0, np.float32), 2: np.float32([1, 2, 1.6, 1])}),
    Case("Resize", ((1, 4, 4, 2), (0,), (4,)), {"mode": "cubic", "coordinate_transformation_mode": "align_corners"},
         {1: np.zeros(0, np.float32), 2: np.float32([1, 1.5, 0.5, 1])}),
    Case("Resize", ((1, 4, 3, 2), (0,), (4,)), {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
         {1: np.zeros(0, np.float32), 2: np.float32([1, 2, 2, 1])}),
    Case("Resize", ((1, 4, 6, 1), (8,), (4,)), {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"},
         {1: np.float32([0, -0.2, 0, 0, 1, 0.8, 1.3, 1]), 2: np.float32([1, 1, 1, 1])}),
    *(Case("GridSample", ((1, 3, 4, 2), (1, 2, 2, 2)), {"mode": mode, "padding_mode": padding, "align_corners": corners}, low=-1.5)
      for mode, padding, corners in (("linear", "zeros", 0), ("linear", "border", 1), ("cubic", "reflection", 0))),
    Case("GridSample", ((1, 2, 3, 3, 1), (1, 1, 2, 2, 3)), low=-1.5),
    *(Case("LSTM", ((4, 2, 3), (d, 16, 3), (d, 16, 4), *more), attrs, known, low=-1.0, outputs=3)
      for d, attrs, more, known in (
        (1, {"hidden_size": 4}, (), {}),
        (2, {"hidden_size": 4, "direction": "bidirectional"}, ((2, 32),), {}),
        (1, {"hidden_size": 4, "direction": "reverse"}, ((1, 32), (2,), (1, 2, 4), (1, 2, 4), (1, 12)), {4: _i(4, 2)}),
        (1, {"hidden_size": 4, "input_forget": 1, "clip": 0.9, "activations": ("HardSigmoid", "Softsign", "ScaledTanh"),
             "activation_alpha": (0.3, 1.2), "activation_beta": (0.4, 0.7)}, ((1, 32),), {}),
      )),
    Case("LSTM", ((2, 4, 3), (1, 16, 3), (1, 16, 4), (1, 32)), {"hidden_size": 4, "layout": 1}, low=-1.0, outputs=3),
    *(Case("GRU", ((4, 2, 3), (d, 12, 3), (d, 12, 4), *more), attrs, known, low=-1.0, outputs=2)
      for d, attrs, more, known in (
        (1, {"hidden_size": 4}, (), {}),
        (1, {"hidden_size": 4, "linear_before_reset": 1, "direction": "reverse"}, ((1, 24), (2,), (1, 2, 4)), {4: _i(3, 4)}),
        (2, {"hidden_size": 4, "direction": "bidirectional", "activations": ("Affine", "Elu") * 2,
             "activation_alpha": (0.3, 0.8, 0.3, 0.8), "activation_beta": (0.4, 0.4)}, ((2, 24),), {}),
        (1, {"hidden_size": 4, "linear_before_reset": 1}, ((1, 24),), {}),
      )),
    *(Case("RNN", ((4, 2, 3), (d, 4, 3), (d, 4, 4), *more), attrs, known, low=-1.0, outputs=2)
      for d, attrs, more, known in (
        (1, {"hidden_size": 4}, (), {}),
        (2, {"hidden_size": 4, "direction": "bidirectional", "clip": 0.8}, ((2, 8), (2,), (2, 2, 4)), {4: _i(3, 4)}),
      )),
    Case("CrossEntropy", ((5, 7), (5,)), {"label_smoothing": 0.1}, {1: _i(0, 6, 3, -100, 2)}, outputs=2),
    Case("CrossEntropy", ((5, 7), (5,), (7,)), {"label_smoothing": 0.2, "ignore_index": 3}, {1: _i(0, 6, 3, 5, 2)},
         outputs=2, low=0.2, frozen=(2,)),
    Case("CrossEntropy", ((2, 3, 7), (2, 3)), {"reduction": "sum"}, {1: _i(0, 6, 3, 1, 2, 2).reshape(2, 3)}, outputs=2),
    Case("CTCLoss", ((3, 7, 5), (3, 3), (3,), (3,)), {"blank": 0},
         {1: _i(1, 1, 2, 4, 3, 0, 2, 0, 0).reshape(3, 3), 2: _i(7, 6, 5), 3: _i(3, 2, 0)}, outputs=3),
    Case("CTCLoss", ((2, 6, 4), (2, 2), (2,), (2,)), {"blank": 3, "reduction": "sum"},
         {1: _i(1, 1, 2, 0).reshape(2, 2), 2: _i(6, 3), 3: _i(2, 2)}, outputs=3),
]  # fmt: skip


def _drawn(case: Case) -> tuple[list[Array], list[str]]:
    rng = np.random.default_rng(len(case.name))
    arrays = []
    for i, shape in enumerate(case.shapes):
        if i in case.values:
            arrays.append(np.array(case.values[i]))
            continue
        drawn = rng.permutation(np.linspace(case.low, case.high, max(int(np.prod(shape)), 1)) + OFF_THE_KINKS).reshape(
            shape
        )
        arrays.append(drawn.astype(np.float32))
    wanted = [f"x{i}" for i in range(len(arrays)) if i not in case.values and i not in case.frozen]
    return arrays, wanted


def _tape(case: Case, arrays: list[Array]) -> tuple[Tape, str, Array]:
    names = [f"x{i}" for i in range(len(arrays))]
    known = {} if case.computed else {f"x{i}": arrays[i] for i in case.values}
    tape = Tape([], {name: TensorSpec.of(array) for name, array in zip(names, arrays, strict=True)}, known)
    made = tape.node(case.op, names, outputs=case.outputs, name="y", **case.attrs)
    y = made if isinstance(made, str) else made[0]
    weights = np.random.default_rng(1).uniform(0.5, 1.5, tape.spec(y).dims).astype(np.float32)
    product = tape.node("Mul", [y, tape.constant(weights)])
    flat = tape.reshaped(product, (tape.spec(product).size,))
    return tape, tape.node("ReduceSum", [flat, tape.constant([0], "int64")], keepdims=0), weights


def _differences(case: Case, arrays: list[Array], weights: Array, index: int) -> Array:
    op = find(case.op, "y")
    attrs = op.make_attrs(dict(case.attrs), "y")
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]

    def loss() -> float:
        return float((np.asarray(op.reference(attrs, *wide)[0], np.float64) * weights).sum())

    slopes = np.zeros(wide[index].shape)
    for at in np.ndindex(slopes.shape):
        kept = wide[index][at]
        wide[index][at] = kept + STEP
        above = loss()
        wide[index][at] = kept - STEP
        slopes[at] = (above - loss()) / (2 * STEP)
        wide[index][at] = kept
    return slopes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_rule_gives_the_slopes_that_differences_show(case: Case) -> None:
    arrays, wanted = _drawn(case)
    tape, loss, weights = _tape(case, arrays)
    found = tape.gradients(loss, wanted)
    values = {f"x{i}": array for i, array in enumerate(arrays)}
    given = {name: values[name] for name in (values if case.computed else wanted)}
    constants = Arrays({**tape.made, **{name: values[name] for name in values if name not in given}})
    inputs = {name: tape.spec(name) for name in given}
    graph = Graph("rule", inputs, tuple(found.values()), tuple(tape.nodes), constants)
    for results in (evaluate(graph, given), Model(graph, threads=1).run(given)):
        for name in wanted:
            slopes = _differences(case, arrays, weights, int(name[1:]))
            error = np.abs(results[found[name]] - slopes).max(initial=0)
            assert error <= TOLERANCE * max(np.abs(slopes).max(initial=0), 1), (name, error)


def test_every_op_has_a_rule_or_is_known_to_have_none() -> None:
    ruled = {name for name, op in REGISTRY.ours().items() if RULES.find(op) is not None}
    forward = {name for name in REGISTRY.ours() if not any(part in name for part in BACKWARD)}
    assert forward - ruled == NO_GRADIENT & forward
    assert ruled <= forward
    assert {case.op for case in CASES} == ruled - {"Cast"}


def test_a_cast_casts_the_gradient_back() -> None:
    tape = Tape([], {"x": TensorSpec((3,), "float64")}, {})
    y = tape.node("Cast", ["x"], to="float32")
    loss = tape.node("ReduceSum", [y, tape.constant([0], "int64")], keepdims=0)
    gradient = tape.gradients(loss, ["x"])["x"]
    assert tape.spec(gradient) == TensorSpec((3,), "float64")


def test_an_op_without_a_gradient_is_named() -> None:
    node = Node("ArgMax", ("x",), ("y",), find("ArgMax", "y").make_attrs({}, "y"), "chosen")
    with pytest.raises(GraphError, match=r"chosen \(ArgMax\).*freeze"):
        rule_of(node)


def test_what_nothing_wants_is_not_built() -> None:
    tape, loss, _ = _tape(Case("MatMul", ((3, 4), (4, 5))), [np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)])
    before = len(tape.nodes)
    tape.gradients(loss, ["x1"])
    alone = len(tape.nodes) - before
    tape, loss, _ = _tape(Case("MatMul", ((3, 4), (4, 5))), [np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)])
    tape.gradients(loss, ["x0", "x1"])
    assert alone < len(tape.nodes) - before
