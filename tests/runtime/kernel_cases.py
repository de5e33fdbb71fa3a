"""The case table: every op that has a kernel, with attributes, shapes and dtypes that straddle the kernels' tiles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from alula.runtime.compiler.packs import choose
from alula.runtime.kernels.tiles import for_cpu
from tests.runtime.activation_cases import functions
from tests.runtime.conv_gradient_cases import conv_gradients
from tests.runtime.integer_cases import integer_convolutions
from tests.runtime.kernel_case import Case, Input, Stage, f, i, scalar, w
from tests.runtime.training_cases import training

TILES = for_cpu(choose().cpu)
V, NR, MR = TILES.width, TILES.columns, TILES.rows  # lanes of a vector; channels and pixels of a tile

BROADCASTS = [
    ((3, 5), (3, 5)), ((2, 3, 4, 5), (5,)), ((2, 3, 4, 5), (2, 1, 1, 5)), ((2, 3, 4, 5), (2, 1, 4, 1)),
    ((2, 3, 4, 5), (2, 3, 4, 1)), ((3, 1), (1, 4)), ((4,), (3, 1)), ((), (3,)), ((), ()), ((2, 1, 4, 1), (1, 3, 1, 5)),
    ((2, 3, 4, 5), (3, 4, 5)), ((2, 3, 4, 5), (3, 1, 5)), ((1, 700, 3), (3,)), ((2, 4097), (4097,)), ((0, 3), (3,)),
    ((2, 6, 7, 7), (2, 1, 7, 7)), ((2, 3, 1, 5), (2, 3, 4, 5)), ((1, 1), (2, 2)),
]  # fmt: skip


def activations() -> Iterator[Case]:
    """Functions of one tensor."""
    yield from functions(V)
    yield Case("Relu", (Input((3, 5), "int32"),), exact=True, kernel=False)
    for bounds in (
        (scalar(-1), scalar(2)),
        (None, scalar(2)),
        (scalar(0),),
        (f(), f()),
        (None, f()),
        (scalar(-1), f()),
    ):
        yield Case("Clip", (f(3, 5, special=True), *bounds), exact=True)
    for slope in (w(7), f(7), w(), w(1, 1, 7), f(5, 1), w(3, 5, 7)):
        yield Case("PRelu", (f(3, 5, 7, special=True), slope), exact=True)


def arithmetic() -> Iterator[Case]:
    """Functions of two tensors that broadcast, of computed and known ones."""
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max"):
        for a, b in BROADCASTS:
            yield Case(op, (f(*a), f(*b)), exact=True)
            yield Case(op, (f(*b, special=True), w(*a, special=True)), exact=True)
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max"):
        yield Case(op, (f(2, 3), scalar(0.3)), exact=True)
        yield Case(op, (scalar(0.3), f(2, 3)), exact=True)
    yield Case("Add", (Input((3, 5), "int64"), Input((5,), "int64")), exact=True, kernel=False)
    for op in ("Min", "Max"):
        yield Case(op, (f(3, 5),), exact=True)
        yield Case(op, (f(3, 5, special=True), f(5), f(3, 1, special=True)), exact=True)
    for a, b in BROADCASTS:
        yield Case("Pow", (f(*a, low=0), f(*b)))
        yield Case("Pow", (f(*a), Input(b, "float32", known=True, low=-3, high=3)))
    for exponent in (0.0, 0.5, 1.0, 2.0, 3.0, -1.0, -2.0, 2.5, np.nan):
        yield Case("Pow", (f(4, 5, low=0), scalar(exponent)))
    yield Case("Pow", (f(4, 5), Input((5,), "int64", (0, 1, 2, -3, 5), known=True)))
    yield Case("Pow", (scalar(2.0), f(4, 5, special=True)))


def tests() -> Iterator[Case]:
    """Comparisons, logic, choice, casts."""
    for op, (a, b) in itertools.product(("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"), BROADCASTS):
        yield Case(op, (f(*a, special=True), f(*b, special=True, low=-1, high=1)), exact=True)
        for dtype in ("int32", "int64"):
            yield Case(op, (Input(b, dtype), Input(a, dtype, known=True)), exact=True)
    for op, (a, b) in itertools.product(("And", "Or", "Xor", "Equal"), BROADCASTS):
        yield Case(op, (Input(a, "bool"), Input(b, "bool")), exact=True)
    yield Case("Equal", (Input((3, 5), "uint8"), Input((5,), "uint8")), exact=True, kernel=False)
    for shape in ((), (V + 1,), (3, 4097), (0,)):
        yield Case("Not", (Input(shape, "bool"),), exact=True)
    for value in (0, (1,)):
        yield Case("Branch", (Input(dtype="bool", value=value),), exact=True, n_outputs=2)
    shapes = [((3, 5), (3, 5), (3, 5)), ((3, 1), (5,), ()), ((), (3, 5), (5,)), ((5,), (3, 1), (3, 5)), ((2, 1, 4, 1), (1, 3, 1, 5), (5,)),
              ((1, 4097), (2, 4097), ()), ((2, 1, 5, 5), (2, 3, 5, 5), ()), ((5,), (), ()), ((), (), ()), ((0, 3), (3,), ())]  # fmt: skip
    for (c, a, b), dtype in itertools.product(shapes, ("float32", "int64", "int32", "uint8", "bool", "float16")):
        yield Case("Where", (Input(c, "bool"), Input(a, dtype), Input(b, dtype, known=True)), exact=True)
    dtypes = ("float32", "int32", "int64", "uint8", "int8", "bool")
    for source, to in (
        *itertools.product(dtypes, dtypes),
        ("float32", "float16"),
        ("float16", "float32"),
        ("float16", "float16"),
    ):
        for shape in ((), (V + 1,), (3, 4097), (0, 2)):
            low = (
                0 if to == "uint8" and source.startswith("float") else -120
            )  # a negative float as uint8 is undefined in C
            yield Case("Cast", (Input(shape, source, low=low, high=120),), {"to": to}, exact=True)
    yield Case("Cast", (Input((4, 5), "int64", low=-(2**40), high=2**40),), {"to": "int32"}, exact=True)
    yield Case("Cast", (f(4, 5, special=True, low=-1e-3, high=1e-3),), {"to": "float16"}, exact=True)
    yield Case("Cast", (f(4, 5, low=-7e4, high=7e4),), {"to": "float16"}, exact=True)
    yield Case("Cast", (Input((4, 5), "float16", special=True, low=-1e-4, high=1e-4),), {"to": "float32"}, exact=True)
    yield Case("Cast", (f(4, 5),), {"to": "float64"}, exact=True, kernel=False)


def movement() -> Iterator[Case]:
    """Ops that move elements."""

    def case(op: str, *inputs: Input | None, n: int = 1, kernel: bool = True, **attrs: Any) -> Case:
        return Case(op, inputs, attrs, n_outputs=n, exact=True, kernel=kernel)

    for dtype in ("float32", "uint8", "float16", "int64", "bool"):
        x = Input((2, 3, 17, 5), dtype)
        yield case("Transpose", x)
        yield case("Transpose", x, perm=(0, 3, 1, 2))
        yield case("Transpose", x, perm=(0, 2, 1, 3))
        for shape in ((2, 35, 29), (3, 2, 37), (2, 3, 50), (2, 50, 3)):  # squares of vectors with a rest, pairs and triples
            yield case("Transpose", Input(shape, dtype), perm=(0, 2, 1))
        yield case("Slice", x, i(0, 1), i(9, -1), i(1, 2))
        yield case("Concat", x, Input((2, 3, 4, 5), dtype), axis=2)
        yield case("Concat", *(Input((7, size), dtype) for size in (8, 19, 300)), axis=1)
        yield case("Split", x, i(4, 13), n=2, axis=2)
        yield case("Expand", Input((3, 1, 5), dtype), i(2, 3, 4, 1))
        yield case("Tile", x, i(1, 2, 1, 3))
        yield case("Pad", x, i(0, 1, -2, 0, 0, 2, 3, 1))
        yield case("Reshape", x, i(6, -1))
        for mode in ("reflect", "edge", "wrap"):
            yield case("Pad", x, i(0, 1, -2, 0, 0, 2, 3, 1), mode=mode)
        for axis, kind in itertools.product((0, 1, 3, -2), ("int32", "int64")):
            yield case("Gather", x, Input((2, 3), kind, low=-2, high=2), axis=axis)
    for perm in itertools.permutations(range(3)):
        yield case("Transpose", f(15, 16, 17), perm=perm)
    yield case("Transpose", f(2, 1, 7), perm=(1, 0, 2))
    yield case("Transpose", f(0, 3), perm=(1, 0))
    yield case("Slice", f(9, 8), i(-1, 7), i(-100, 0), i(0, 1), i(-2, -3))
    yield case("Slice", f(9, 8), i(3), i(3))
    yield case("Concat", f(3, 2), f(3, 0), f(3, 1), axis=-1)
    yield case("Concat", f(3), axis=0)
    yield case("Split", f(7, 3), n=3, num_outputs=3)
    yield case("Expand", f(3, 1), i(1))
    yield case("Expand", f(), i(2, 3))
    yield case("Pad", f(3, 4), i(1, 2), scalar(7.5), i(-1))
    yield case("Pad", f(3, 4), i(0, 0, 0, 0), mode="reflect")
    yield case("Pad", f(1, 30, 40, 3), i(3, 2, 1, 4), None, i(1, 2), mode="reflect")
    for op, mode in itertools.product(("DepthToSpace", "SpaceToDepth"), ("DCR", "CRD")):
        yield case(op, f(2, 4, 6, 12), blocksize=2, mode=mode)
    yield case("Gather", f(5, 3), Input((), "int64", -2, known=True))
    yield case("Gather", f(5, 3), Input((2,), "int32", (4, -5), known=True))
    yield case("Gather", f(5, 3), Input((4,), "int64", (99, -99, 1, -1)))  # out of range: clamped
    yield case("Gather", f(300, 64), Input((3, 50), "int64", low=0, high=300))
    yield case("Gather", f(5, 3), Input((0,), "int64"))
    for dtype in ("float32", "uint8", "int64"):
        x, columns = Input((3, 4, 2), dtype), Input((3, 1, 2), "int64", (((0, -1),), ((3, 1),), ((-4, 2),)), known=True)
        yield case("GatherElements", x, columns, axis=1)
        yield case("ScatterElements", x, columns, Input((3, 1, 2), dtype), axis=1)
        for places in (
            ((0, 3, 1), (2, 0, -1)),
            ((1, 2), (1, 2)),
            ((2,), (-3,), (2,)),
        ):  # the last of two to one place counts
            index, rest = Input((len(places), len(places[0])), "int64", places, known=True), x.shape[len(places[0]) :]
            yield case("GatherND", x, index)
            yield case("ScatterND", x, index, Input((len(places), *rest), dtype))
    yield case("GatherND", f(3, 4, 5), Input((3, 2, 1), "int64", ((0, 1), (2, -1), (3, 3)), known=True), batch_dims=1)
    for kind, dtype in (("int64", "float32"), ("int32", "int32")):
        for axis, shape in ((1, (3, 7, 5)), (-1, (3, 4, 2)), (0, (9, 4, 5)), (1, (3, 0, 5))):
            yield case("GatherElements", Input((3, 4, 5), dtype), Input(shape, kind, low=-6, high=6), axis=axis)
    yield case("GatherElements", f(3, 4), Input((2, 4), "int64", low=-4, high=4), axis=1, kernel=False)
    yield case("GatherElements", Input((3, 4), "uint8"), Input((3, 4), "int64", low=-4, high=4), axis=1, kernel=False)
    for largest, k in itertools.product((0, 1), (0, 1, 2, 7, 30, 31)):
        x = f(3, 31, low=-1, high=1, special=k > 1)
        yield case("TopK", x, i(k), n=2, largest=largest)
    yield case("TopK", f(2, 3000), i(300), n=2)
    yield case("TopK", f(2, 40, 1), i(3), axis=1)
    yield case("TopK", f(4, 5), i(3), n=2, axis=0, kernel=False)
    yield case("TopK", Input((2, 9), "int64"), i(3), n=2, kernel=False)
    yield case("Reshape", f(2, 3), i(0, 0, 1))
    yield case("Flatten", f(2, 3, 4), axis=2)
    yield case("Squeeze", f(2, 1, 3), i(1))
    yield case("Unsqueeze", f(2, 3), i(0, -1))
    yield case("Identity", f(2, 3))
    yield case("Dropout", f(2, 3))


def reductions() -> Iterator[Case]:
    """Folds, softmax, normalisations, the index of an extreme."""
    folds = (
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceProd",
    )
    shapes = [((3, 5), (1,)), ((3, 5), (0,)), ((2, 3, 4, 5), (1, 2)), ((2, 3, 4, 5), (-1,)), ((2, 7, 257), (1,)),
              ((4, 33), (0, 1)), ((5,), (0,))]  # fmt: skip
    for op, (shape, axes) in itertools.product(folds, shapes):
        x = f(*shape, low=0.5, high=1.5) if op == "ReduceProd" else f(*shape)
        yield Case(op, (x, i(*axes)), terms=int(np.prod(shape)), slack=8)
        yield Case(op, (x, i(*axes)), {"keepdims": 0}, terms=int(np.prod(shape)), slack=8)
    for shape in ((9, 31, 1), (300, V + 5), (4, 9, 30, 5 * V + 3)):  # strips of rows, as gradients of biases want them
        for op in ("ReduceSum", "ReduceMean"):
            yield Case(op, (f(*shape), i(*range(len(shape) - 1))), {"keepdims": 0}, terms=1000, slack=4)
    for op in folds:
        yield Case(op, (f(2, 3, 4),), terms=24)
        yield Case(op, (f(2, 3, 4), i(0, 2)), terms=8, slack=4, kernel=False)
    for op in ("ReduceMax", "ReduceMin"):
        for axis in (0, 1):
            yield Case(op, (f(6, V + 1, special=True), i(axis)), exact=True)
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        for shape in ((2, 3, 5, 7), (1, 1, 1, 3), (2, 9, 33), (1, 7, 7, 1)):
            yield Case(op, (f(*shape),), terms=49)
    for op, select in itertools.product(("ArgMax", "ArgMin"), (0, 1)):
        for shape, axis in (
            ((3, 5), 1),
            ((3, 5), 0),
            ((2, 9, 257), 1),
            ((2, 3, 4), -1),
            ((2, 1, 4), 1),
            ((70,), 0),
            ((4, 0, 3), 0),
        ):
            x = f(*shape, low=-0.5, high=0.5)
            yield Case(op, (x,), {"axis": axis, "select_last_index": select}, exact=True)
            yield Case(
                op, (replace(x, special=True),), {"axis": axis, "select_last_index": select, "keepdims": 0}, exact=True
            )
        yield Case(
            op, (Input((3, 40), "float32", low=0, high=0.3),), {"axis": 1, "select_last_index": select}, exact=True
        )
    for op, shape in itertools.product(("Softmax", "LogSoftmax"), ((3, 5), (2, 3, V + 1), (1, 1), (7,), (5, 4097))):
        yield Case(op, (f(*shape),), slack=4)
    yield Case("Softmax", (f(2, 5, 1, 1),), {"axis": 1})
    yield Case("Softmax", (f(2, 5, 3, 4),), {"axis": 1})
    yield Case("LogSoftmax", (f(5, 7),), {"axis": 0})
    for shape, axis in (((3, 5), -1), ((2, 3, V + 1), -1), ((2, 3, 4), 1), ((1, 700), -1)):
        size = shape[axis:] if axis != 1 else shape[1:]
        for bias in ((w(*size),), (f(*size),), ()):
            yield Case("LayerNormalization", (f(*shape), w(*size), *bias), {"axis": axis}, terms=700, slack=4)
    yield Case("LayerNormalization", (f(4, 9), w(9), w(9)), n_outputs=3, terms=9, slack=4)
    for op, more in (("InstanceNormalization", {}), ("GroupNormalization", {"num_groups": 2})):
        yield Case(op, (f(2, 5, 7, 6), w(6), w(6)), more, terms=35, slack=8)
    yield Case("RMSNormalization", (f(3, 9), w(9)), terms=9, slack=8)
    yield Case("LpNormalization", (f(3, 9),), terms=9, slack=8)
    positive = [w(6, low=0.1, high=1) for _ in range(4)]
    yield Case("BatchNormalization", (f(2, 5, 7, 6), *positive), slack=8)


def quantisation() -> Iterator[Case]:
    """Codes of 8 bits."""
    for dtype, shape in itertools.product(("uint8", "int8"), ((3, 5), (2, 3, 4097), (1, V - 1), (0, 4), ())):
        x, codes = f(*shape, special=bool(shape)), Input(shape, dtype, low=-200, high=256 if dtype == "uint8" else 128)
        for known in (True, False):
            scale, zero = Input((), "float32", 0.0625, known), Input((), dtype, 3, known)
            yield Case("QuantizeLinear", (x, scale, zero), exact=True)
            yield Case("DequantizeLinear", (codes, scale, zero), exact=True)
    for dtype, axis in itertools.product(("uint8", "int8"), (0, 1, -1)):
        n = (3, 4, 5)[axis]
        scale, zero = w(n, low=0.01, high=0.1), Input((n,), dtype, low=0, high=9, known=True)
        yield Case("QuantizeLinear", (f(3, 4, 5), scale, zero), {"axis": axis}, exact=True)
        yield Case(
            "QuantizeLinear", (f(3, 4, 5), f(n, low=0.01, high=0.1)), {"axis": axis, "output_dtype": dtype}, exact=True
        )
        yield Case(
            "DequantizeLinear", (Input((3, 4, 5), dtype, low=-128, high=127), scale, zero), {"axis": axis}, exact=True
        )
        yield Case("DequantizeLinear", (Input((3, 4, 5), dtype, low=-128, high=127), scale), {"axis": axis}, exact=True)
    yield Case("QuantizeLinear", (f(3, 5), w(3, 1)), {"axis": 1, "block_size": 5}, exact=True, kernel=False)


def convolutions() -> Iterator[Case]:
    """Conv and ConvTranspose: direct, Winograd, depthwise, grouped, 1-D, transposed."""

    def conv(
        x: tuple[int, ...],
        weight: tuple[int, ...],
        bias: bool = True,
        slack: float = 1.0,
        fused: tuple[Stage, ...] = (),
        **attrs: Any,
    ) -> Case:
        inputs = (f(*x), w(*weight), *([w(weight[0])] if bias else []))
        return Case("Conv", inputs, attrs, fused, terms=int(np.prod(weight[1:])), slack=slack)

    for c_out in sorted({1, V - 1, V, V + 1, NR - 1, NR, NR + 1, 2 * NR + 3}):
        yield conv((1, 3, 5, 7), (c_out, 1, 1, 7))
        yield conv((2, 5, 4, 3), (c_out, 3, 3, 3), pads=(1, 1, 1, 1))
    for pixels in sorted({1, MR - 1, MR, MR + 1, 2 * MR + 1}):
        yield conv((1, 1, pixels, 6), (9, 1, 1, 6), bias=False)
        yield conv((1, pixels, 1, 6), (NR + 1, 3, 1, 6), pads=(1, 0, 1, 0))
    for c_in in (1, 2, V, V + 3, 70):
        yield conv((1, 6, 9, c_in), (5, 3, 2, c_in), strides=(2, 1), pads=(1, 0, 2, 1))
    yield conv((2, 9, 7, 4), (6, 3, 3, 4), dilations=(2, 3), pads=(2, 3, 2, 3))
    yield conv((1, 12, 11, 8), (10, 5, 3, 8), auto_pad="SAME_UPPER", strides=(2, 2))
    yield conv((1, 12, 11, 8), (10, 2, 2, 8), auto_pad="SAME_LOWER")
    yield conv((2, 7, 5, 8), (12, 3, 3, 2), group=4, pads=(1, 1, 1, 1))
    yield conv((1, 7, 5, 2 * V), (4 * V, 1, 1, V), group=2)
    yield conv((2, 17, 6), (9, 3, 6), pads=(1, 1), strides=(2,))
    yield conv((1, 40, 5), (7, 4, 5), dilations=(3,))
    yield conv((1, 4, 4, 300), (33, 1, 1, 300))
    yield conv((1, 2, 2, 3), (4, 3, 3, 3), pads=(4, 4, 4, 4))  # windows that lie in the padding altogether
    for c in sorted({V // 2, V - 1, V, V + 1, 2 * V, 3 * V + 5}):  # depthwise
        yield conv((1, 6, 7, c), (c, 3, 3, 1), group=c, pads=(1, 1, 1, 1))
        yield conv((2, 9, 8, c), (c, 5, 5, 1), group=c, pads=(2, 2, 2, 2), strides=(2, 2))
    for k, h, width in [(3, 1, 1), (3, 2, 5), (3, 5, 3), (3, 13, 96), (5, 3, 2), (5, 7, 6), (5, 10, 85)]:
        for strides in [(1, 1), (2, 1), (1, 2), (2, 2)]:
            pads = (k // 2,) * 4 if width > 2 else (k // 2, k // 2, k - 1, k - 1)
            clip = (Stage("Clip", (scalar(0), scalar(6))),) if strides[0] == 1 else (Stage("Mul", (w(V),)),)
            yield conv((2, h, width, V), (V, k, k, 1), group=V, strides=strides, pads=pads, fused=clip)
    yield conv((1, 8, 8, 2 * V + 1), (2 * V + 1, 3, 3, 1), group=2 * V + 1, strides=(2, 2), pads=(0, 0, 1, 1))
    yield conv((1, 8, 9, V), (V, 5, 5, 1), group=V, strides=(2, 2), pads=(1, 1, 2, 2))
    yield conv((1, 8, 9, V), (V, 3, 3, 1), group=V, pads=(4, 4, 4, 4))
    yield conv((1, 9, 10, 4 * V), (4 * V, 5, 5, 1), group=4 * V, bias=False)
    yield conv((1, 9, 11, V), (V, 3, 3, 1), group=V, dilations=(2, 2))
    yield conv((1, 9, 11, 3), (3, 3, 3, 1), group=3)
    yield conv((1, 1, 33, V), (V, 1, 7, 1), group=V, pads=(0, 3, 0, 3), strides=(1, 2))
    yield conv((1, 30, V), (V, 3, 1), group=V)
    yield conv((1, 5, 5, 4), (8, 3, 3, 1), group=4)  # more filters than channels
    winograd = [
        (1, 1, V, V),
        (2, 3, V, V),
        (4, 4, V, 2 * V),
        (5, 7, V + 1, V + 3),
        (13, 9, 2 * V, NR + 1),
        (31, 30, V, V),
        (8, 8, 64, 64),
    ]
    for h, width, c_in, c_out in winograd:  # F(2, 3) or F(4, 3)
        yield conv((2, h, width, c_in), (c_out, 3, 3, c_in), slack=20, pads=(1, 1, 1, 1))
    yield conv((1, 14, 15, 2 * V), (2 * V, 3, 3, 2 * V), slack=20)
    yield conv((1, 14, 15, 2 * V), (2 * V, 3, 3, 2 * V), slack=20, pads=(0, 1, 2, 1))
    residual = f(2, 8, 8, V + 1)
    epilogue = Stage("Relu"), Stage("Mul", (w(V + 1),)), Stage("Add", (f(2, 1, 1, V + 1),))
    tails = [
        (Stage("Relu"),), (Stage("Clip", (scalar(0), scalar(6))),), (Stage("Sigmoid"), Stage("Mul", (scalar(3),))),
        (Stage("Add", (residual,)), Stage("Relu")), (Stage("HardSwish"),), epilogue, (Stage("PRelu", (w(V + 1),)),),
        (Stage("Sub", (residual,), right=True), Stage("Exp")), (Stage("Relu"), Stage("Relu")),
        (Stage("Div", (f(),)), Stage("Max", (residual,))),
    ]  # fmt: skip
    for tail in tails:
        yield conv((2, 8, 8, 3), (V + 1, 1, 1, 3), fused=tail, slack=20)
        yield conv((2, 8, 8, V), (V + 1, 3, 3, V), fused=tail, slack=100, pads=(1, 1, 1, 1))
        yield conv((2, 8, 8, V + 1), (V + 1, 3, 3, 1), fused=tail, slack=20, group=V + 1, pads=(1, 1, 1, 1))
        yield conv((2, 8, 8, 2 * (V + 1)), (V + 1, 1, 1, 2), fused=tail, slack=20, group=V + 1)

    def transpose(
        x: tuple[int, ...], weight: tuple[int, ...], kernel: bool = True, fused: tuple[Stage, ...] = (), **attrs: Any
    ) -> Case:
        inputs = (f(*x), w(*weight), w(weight[-1] * attrs.get("group", 1)))
        return Case("ConvTranspose", inputs, attrs, fused, terms=int(np.prod(weight[:-1])), kernel=kernel, slack=2)

    for c_out in (1, V, NR + 1):
        yield transpose((2, 5, 4, 6), (6, 2, 2, c_out), strides=(2, 2))
        yield transpose((1, 5, 4, 6), (6, 3, 3, c_out), strides=(2, 2), pads=(1, 1, 1, 1), output_padding=(1, 1))
    for c_out in (1, V - 1, V + 1):  # what no window reaches: rows and columns at the end
        for more in (
            {"output_padding": (1, 0)},
            {"output_padding": (1, 1)},
            {"output_shape": (11, 8)},
            {"output_shape": (9, 7)},
        ):
            yield transpose((2, 5, 4, 6), (6, 2, 2, c_out), strides=(2, 2), **more)
        yield transpose((1, 3, 4, 6), (6, 2, 1, c_out), strides=(3, 3), auto_pad="SAME_UPPER")
        yield transpose((1, 3, 4, 6), (6, 1, 1, c_out), dilations=(2, 2), output_padding=(1, 1), kernel=False)
        yield transpose((1, 3, 4, 6), (6, 1, 1, c_out), output_shape=(4, 4))
    yield transpose((1, 5, 4, 6), (6, 3, 4, 7), pads=(1, 0, 0, 2))
    yield transpose((1, 5, 4, 6), (6, 2, 3, 7), strides=(3, 1))
    yield transpose((1, 9, 6), (6, 4, 5), strides=(2,), pads=(1, 1))
    yield transpose((1, 5, 4, 6), (6, 2, 2, 5), strides=(2, 2), fused=(Stage("Relu"), Stage("Mul", (w(5),))))


def products() -> Iterator[Case]:
    """MatMul and Gemm."""
    for m, k, n in (
        (1, 1, 1),
        (MR - 1, 7, NR - 1),
        (MR, 8, NR),
        (MR + 1, 9, NR + 1),
        (1, 300, 10),
        (33, 5, 2 * NR + 1),
    ):
        yield Case("MatMul", (f(m, k), w(k, n)), terms=k)
        yield Case("MatMul", (f(m, k), f(k, n)), terms=k)
        yield Case("MatMul", (w(m, k), f(k, n)), terms=k)
        yield Case("Gemm", (f(m, k), w(k, n), w(n)), terms=k, slack=2)
        yield Case("Gemm", (f(m, k), w(n, k), w(n)), {"transB": 1, "alpha": 0.5, "beta": 2.0}, terms=k, slack=2)
        yield Case("Gemm", (f(m, k), f(n, k)), {"transB": 1}, terms=k)
    stacks = [((2, 3, 5, 7), (2, 3, 7, 4)), ((2, 3, 5, 7), (7, 4)), ((3, 5, 7), (2, 1, 7, 4)), ((7,), (7, 4)), ((5, 7), (7,)),
              ((7,), (7,)), ((2, 5, 7), (7,))]  # fmt: skip
    for a, b in stacks:
        yield Case("MatMul", (f(*a), f(*b)), terms=7)
        yield Case("MatMul", (f(*a), w(*b)), terms=7)
    clip = Stage("Clip", (scalar(-1), scalar(1)))
    for tail in ((Stage("Relu"),), (Stage("Add", (w(V + 1),)), Stage("Gelu")), (Stage("Add", (f(6, V + 1),)), clip)):
        yield Case("Gemm", (f(6, 9), w(9, V + 1), w(V + 1)), fused=tail, terms=9, slack=4)
        yield Case("MatMul", (f(6, 9), f(9, V + 1)), fused=tail, terms=9, slack=4)
    yield Case("Gemm", (f(3, 4), w(4, 5), w()), terms=4)
    yield Case("Gemm", (f(3, 4), w(4, 5), w(1)), terms=4)


def windows() -> Iterator[Case]:
    """Pools, resizing, recurrence."""
    for op, c in itertools.product(("MaxPool", "AveragePool"), (1, V - 1, V + 1, 2 * V)):
        yield Case(op, (f(2, 7, 9, c),), {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}, terms=9)
        yield Case(op, (f(1, 6, 5, c),), {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1}, terms=9)
        yield Case(
            op, (f(1, 6, 11, c),), {"kernel_shape": (2, 3), "dilations": (1, 2), "auto_pad": "SAME_UPPER"}, terms=9
        )
        yield Case(op, (f(1, 11, c),), {"kernel_shape": (4,), "strides": (3,), "pads": (1, 2)}, terms=9)
    yield Case(
        "AveragePool", (f(1, 7, 9, 5),), {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "count_include_pad": 1}, terms=9
    )
    yield Case("MaxPool", (f(2, 5, 9, 5, special=True),), {"kernel_shape": (3, 3)}, exact=True)
    for mode in ("nearest", "linear", "cubic"):
        for size in ((2, 10, 14, 5), (2, 3, 4, 5), (2, 7, 11, 5)):
            for how in ("half_pixel", "asymmetric", "align_corners"):
                attrs = {"mode": mode, "coordinate_transformation_mode": how}
                yield Case("Resize", (f(2, 5, 7, 5), None, None, i(*size)), attrs, terms=16, slack=8)
    for op, gates in (("LSTM", 4), ("GRU", 3)):
        for direction, d in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            inputs = (
                f(5, 2, 3),
                w(d, gates * 4, 3, low=-1, high=1),
                w(d, gates * 4, 4, low=-1, high=1),
                w(d, 8 * gates),
            )
            yield Case(op, inputs, {"hidden_size": 4, "direction": direction}, n_outputs=2, terms=35, slack=16)


def epilogues() -> Iterator[Case]:
    """Element-wise nodes fused to one another."""
    x = (2, 3, 5, 7)
    yield Case("Relu", (f(*x),), fused=(Stage("Add", (f(*x),)), Stage("Mul", (f(7),)), Stage("Tanh")), slack=2)
    yield Case(
        "Add",
        (f(*x), f(7)),
        fused=(Stage("Sigmoid"), Stage("Mul", (f(2, 1, 1, 7),)), Stage("Sub", (scalar(1),), right=True)),
        slack=2,
    )
    yield Case(
        "Mul",
        (f(*x), scalar(0.5)),
        fused=(Stage("Add", (scalar(3),)), Stage("Mul", (scalar(2),)), Stage("Sqrt")),
        slack=4,
    )
    yield Case(
        "Sub", (f(2, 1, 5, 1), f(1, 3, 1, 7)), fused=(Stage("Abs"), Stage("Add", (scalar(1),)), Stage("Log")), slack=4
    )
    yield Case("Exp", (f(3, 4097),), fused=(Stage("Add", (f(3, 4097),)), Stage("Div", (w(4097, low=1),))), slack=4)
    yield Case("Clip", (f(*x), f(), f()), fused=(Stage("Neg"), Stage("PRelu", (w(7),))))
    yield Case("Pow", (f(*x, low=0.1), f(7)), fused=(Stage("Add", (f(*x),)),), slack=4)
    for scale in (1.5, -0.75, 0):  # HardSwish, then x * scale + shift, are one stage
        affine = (Stage("Mul", (scalar(scale),)), Stage("Add", (scalar(0.25),)))
        yield Case("HardSwish", (f(*x),), fused=affine, slack=4)
        yield Case("HardSwish", (f(3, 4097),), fused=(*affine, Stage("Add", (w(4097),)), Stage("Relu")), slack=4)
    for shape in (x, (7,), (2, 1, 1, 7), ()):  # so are a sum and its clamp
        clamps = Stage("Clip", (scalar(-1), scalar(2))), Stage("Relu")
        for clamp in clamps:
            yield Case("Add", (f(*x), f(*shape)), fused=(clamp,), exact=True)
            yield Case("Neg", (f(*x),), fused=(Stage("Add", (f(*shape),)), clamp), exact=True)


CASES = [
    case
    for family in (
        activations,
        arithmetic,
        tests,
        movement,
        reductions,
        quantisation,
        lambda: integer_convolutions(TILES.s8),
        convolutions,
        products,
        windows,
        epilogues,
        lambda: training(V),
        lambda: conv_gradients(TILES),
    )
    for case in family()
]
