"""Each op of onnxruntime's own domain that import takes, beside onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from alula.host.onnx.importer import import_onnx
from alula.host.onnx.microsoft import MICROSOFT
from alula.runtime.errors import GraphError
from alula.runtime.graph import Array
from alula.runtime.model import Model
from tests.host.onnx_models import model, onnxruntime_answers

U8, S8 = "uint8", "int8"
SCALE, ZERO = np.array(0.03, np.float32), np.array(120, np.uint8)
RNG = np.random.default_rng(0)


def real(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def codes(*shape: int, dtype: str = U8, low: int | None = None) -> Array:
    """No larger than 63 if signed: onnxruntime adds two products of u8 and s8 in 16 bits on AVX2 without VNNI."""
    low, high = (0, 256) if dtype == U8 else (-64, 64)
    return RNG.integers(low, high, shape).astype(dtype)


def numbers(*values: float) -> Array:
    return np.array(values, np.float32)


def zeros(*values: int, dtype: str = U8) -> Array:
    return np.array(values, dtype)


def binary(dtype: str = U8) -> list[Array | None]:
    return [codes(2, 3, 4, dtype=dtype), SCALE, ZERO.astype(dtype), codes(3, 1, dtype=dtype), numbers(0.02)[0], zeros(7, dtype=dtype)[0],
            numbers(0.07)[0], zeros(9, dtype=dtype)[0]]  # fmt: skip


def unary(*shape: int) -> list[Array | None]:
    return [codes(*shape), SCALE, ZERO, SCALE * 2, ZERO]


PROJECTED = [real(2, 5, 8), real(2, 5, 8), real(2, 5, 8)]
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)

# op, its inputs in order, attributes
CASES: list[tuple[str, list[Array | None], dict[str, Any]]] = [
    ("QLinearAdd", binary(), {}),
    ("QLinearAdd", binary(S8), {}),
    ("QLinearMul", binary(), {}),
    ("QLinearSigmoid", [codes(2, 5), SCALE, ZERO, numbers(1 / 256)[0], zeros(0)[0]], {}),
    ("QLinearLeakyRelu", unary(2, 5), {"alpha": 0.2}),
    ("QLinearSoftmax", [codes(2, 3, 4), SCALE, ZERO, numbers(1 / 256)[0], zeros(0)[0]], {"axis": -1, "opset": 13}),
    ("QLinearSoftmax", [codes(2, 3, 4), SCALE, ZERO, numbers(1 / 256)[0], zeros(0)[0]], {"axis": 1, "opset": 11}),
    ("QLinearAveragePool", unary(1, 3, 6, 8), {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [1, 0, 1, 2], "count_include_pad": 1}),
    ("QLinearAveragePool", unary(1, 6, 8, 3), {"kernel_shape": [2, 2], "channels_last": 1}),
    ("QLinearGlobalAveragePool", unary(2, 3, 6, 8), {"channels_last": 0}),
    ("QLinearGlobalAveragePool", unary(2, 6, 8, 3), {"channels_last": 1}),
    ("QLinearConcat", [SCALE * 2, ZERO, codes(2, 3), SCALE, ZERO, codes(2, 4), SCALE * 3, zeros(9)[0]], {"axis": 1}),
    ("QLinearWhere", [np.array([[True, False, True]]), codes(2, 3), SCALE, ZERO, codes(2, 1), SCALE * 3, zeros(9)[0], SCALE * 2, ZERO], {}),
    ("QGemm", [codes(3, 5), SCALE, ZERO, codes(4, 5, dtype=S8), numbers(0.01, 0.02, 0.03, 0.04), zeros(0, 0, 0, 0, dtype=S8),
               np.arange(4, dtype=np.int32) * 100, SCALE * 8, ZERO], {"transB": 1}),
    ("QGemm", [codes(5, 3), SCALE, ZERO, codes(5, 4, dtype=U8), SCALE, ZERO, None, None, None], {"transA": 1, "alpha": 0.5}),
    ("QuantizeLinear", [real(2, 3, 4), numbers(0.1, 0.2, 0.3), zeros(1, 2, 3)], {"axis": 1}),
    ("DequantizeLinear", [codes(2, 3, 4), numbers(0.1, 0.2, 0.3), zeros(1, 2, 3)], {"axis": 1}),
    ("MatMulIntegerToFloat", [codes(2, 3, 5), codes(5, 4, dtype=S8), SCALE, numbers(0.01, 0.02, 0.03, 0.04), ZERO,
                              zeros(0, 0, 0, 0, dtype=S8), real(4)], {}),
    ("DynamicQuantizeMatMul", [real(2, 3, 5), codes(5, 4, dtype=S8), numbers(0.02), zeros(0, dtype=S8), real(4)], {}),
    ("DynamicQuantizeMatMul", [real(2, 3, 5), codes(5, 4, dtype=S8), numbers(0.02)], {}),
    *(("MatMulNBits", [real(2, 3, 40), codes(6, -(-40 // block), block * bits // 8), real(6 * -(-40 // block)), zero],
       {"K": 40, "N": 6, "bits": bits, "block_size": block})
      for bits, block, zero in ((4, 16, None), (4, 32, codes(6)), (8, 32, None))),
    ("FusedMatMul", [real(2, 5, 3), real(2, 4, 5)], {"transA": 1, "transB": 1, "alpha": 0.25}),
    ("FusedMatMul", [real(3, 2, 5), real(2, 5, 4)], {"transBatchA": 1}),
    ("FusedConv", [real(1, 3, 6, 5), real(4, 3, 3, 3), real(4), real(1, 4, 4, 3)], {"activation": "Relu"}),
    ("FusedConv", [real(1, 3, 6, 5), real(4, 3, 3, 3), real(4)], {"activation": "LeakyRelu", "activation_params": [0.2]}),
    ("FusedConv", [real(1, 3, 6, 5), real(4, 3, 3, 3)], {"activation": "Clip", "activation_params": [-0.5, 2.0]}),
    ("FusedConv", [real(1, 3, 6, 5), real(4, 3, 3, 3)], {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]}),
    ("FusedGemm", [real(3, 5), real(5, 4), real(4)], {"activation": "LeakyRelu", "activation_alpha": 0.3, "alpha": 0.5}),
    ("Gelu", [real(3, 5)], {}),
    ("BiasGelu", [real(3, 5), real(5)], {}),
    ("FastGelu", [real(3, 5), real(5)], {}),
    ("FastGelu", [real(3, 5)], {}),
    ("QuickGelu", [real(3, 5)], {"alpha": 1.5}),
    ("SkipLayerNormalization", [real(2, 3, 8), real(2, 3, 8), real(8), real(8), real(8)], {"epsilon": 1e-3}),
    ("SkipLayerNormalization", [real(2, 3, 8), real(2, 3, 8), real(8)], {}),
    ("SkipSimplifiedLayerNormalization", [real(2, 3, 8), real(2, 3, 8), real(8), real(8)], {}),
    ("Attention", [real(2, 5, 6), real(6, 24), real(24)], {"num_heads": 2}),
    ("Attention", [real(2, 5, 6), real(6, 24), real(24), MASK], {"num_heads": 2, "scale": 0.3}),
    ("Attention", [real(2, 5, 6), real(6, 24), real(24)], {"num_heads": 2, "unidirectional": 1}),
    ("MultiHeadAttention", PROJECTED, {"num_heads": 2}),
    ("MultiHeadAttention", [*PROJECTED, real(24), MASK, real(2, 2, 5, 5)], {"num_heads": 2, "scale": 0.5}),
    ("MultiHeadAttention", [real(2, 5, 8), real(2, 2, 3, 4), real(2, 2, 3, 4)], {"num_heads": 2}),
]  # fmt: skip


def contributed(
    op: str, inputs: list[Array | None], attrs: dict[str, Any], n_outputs: int = 1
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """One node, its first input the model's, the others constants."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    given = {name: np.asarray(x) for name, x in zip(names, inputs, strict=True) if x is not None}
    fed = [name for name in given if name == next(n for n in names if given[n].ndim > 1)]
    outputs = ["y", *(f"y{i}" for i in range(1, n_outputs))]
    made = helper.make_node(op, names, outputs, domain="com.microsoft", name="node", **attrs)
    data = {name: given.pop(name) for name in fed}
    fixed = op == "QLinearConcat" or "transA" in attrs  # else the batch is free
    shapes = {name: [array.shape[0] if fixed else "n", *array.shape[1:]] for name, array in data.items()}
    proto = model([made], data, given, opset=17, shapes=shapes)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto, data


@pytest.mark.parametrize(("op", "inputs", "attrs"), CASES, ids=[f"{op}-{i}" for i, (op, _, _) in enumerate(CASES)])
def test_an_op_of_onnxruntime_gives_its_answer(op: str, inputs: list[Array | None], attrs: dict[str, Any]) -> None:
    proto, data = contributed(op, inputs, attrs)
    (want,) = onnxruntime_answers(proto, data)
    got = Model(import_onnx(proto).graph, threads=1)(*data.values())
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if want.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4 * float(np.abs(want).max()))
    else:
        gap = np.abs(got.astype(int) - want)
        assert gap.max() <= 1 and (gap > 0).mean() <= 0.05  # a rare tie of the rounding


@pytest.mark.parametrize("last", [0, 1])
def test_a_convolution_of_codes_takes_channels_first_or_last(last: int) -> None:
    x, w, scale = codes(2, 3, 6, 5), codes(4, 3, 3, 2, dtype=S8), numbers(0.01, 0.02, 0.03, 0.04)
    inputs: list[Array | None] = [
        np.moveaxis(x, 1, -1) if last else x,
        SCALE,
        ZERO,
        w,
        scale,
        zeros(0, dtype=S8)[0],
        SCALE * 9,
        ZERO,
    ]
    proto, data = contributed("QLinearConv", inputs, {"channels_last": last})
    got = Model(import_onnx(proto).graph, threads=1)(*data.values())
    own = helper.make_node(
        "QLinearConv", proto.graph.node[0].input, ["y"]
    )  # onnxruntime has no kernel for its own on every CPU
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    (want,) = onnxruntime_answers(model([own], {"x0": x}, constants, opset=17), {"x0": x})
    gap = np.abs(got.astype(int) - (np.moveaxis(want, 1, -1) if last else want))
    assert gap.max() <= 1 and (gap > 0).mean() <= 0.05


def test_every_op_that_import_takes_is_tried() -> None:
    elsewhere = {"DynamicQuantizeLSTM", "QLinearConv", "QLinearReduceMean", "SimplifiedLayerNormalization"}
    assert {op for op, _, _ in CASES} | elsewhere == set(MICROSOFT)


def test_the_sum_before_a_normalisation_is_an_output_too() -> None:
    inputs: list[Array | None] = [real(2, 3, 8), real(2, 3, 8), real(8), real(8), real(8)]
    proto, data = contributed("SkipLayerNormalization", inputs, {})
    proto.graph.node[0].output[:] = ["y", "", "", "total"]
    proto.graph.output.append(onnx.ValueInfoProto(name="total"))
    got = Model(import_onnx(proto).graph, threads=1)(*data.values())
    for ours, theirs in zip(got, onnxruntime_answers(proto, data), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_mean_of_codes_is_theirs_rounded() -> None:
    x = codes(2, 3, 4)  # onnxruntime declares the op, but has no kernel for it
    inputs: list[Array | None] = [x, SCALE, ZERO, SCALE * 2, zeros(3)[0]]
    proto, data = contributed("QLinearReduceMean", inputs, {"axes": [1], "keepdims": 0})
    got = Model(import_onnx(proto).graph, threads=1)(*data.values())
    mean = (x.astype(np.float64) - 120).mean(axis=1) / 2
    assert np.abs(got - np.clip(mean + 3, 0, 255)).max() <= 0.5 + 1e-4


def test_a_normalisation_by_the_root_mean_square_stands_in_onnxs_own_domain() -> None:
    made = helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["y"], epsilon=1e-5, axis=-1)
    proto = model([made], {"x": real(2, 8)}, {"g": real(8)}, opset=17)
    x = real(2, 8)
    (want,) = onnxruntime_answers(proto, {"x": x})
    np.testing.assert_allclose(Model(import_onnx(proto).graph, threads=1)(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "message"),
    [
        ("Attention", [real(2, 5, 6), real(6, 24), real(24), np.array([3, 5], np.int32)], {"num_heads": 2}, "expected a mask"),
        ("FusedConv", [real(1, 3, 6, 5), real(4, 3, 3, 3)], {"activation": "Sqrt"}, "expected an activation"),
        ("SkipLayerNormalization", [real(2, 3, 8), None, real(8)], {}, "expected input 1, got none"),
        ("BeamSearch", [real(2, 3)], {}, "expected an op of ONNX itself"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_here_is_refused_in_one_line(
    op: str, inputs: list[Array | None], attrs: dict[str, Any], message: str
) -> None:
    proto, _ = contributed(op, inputs, attrs)
    with pytest.raises(GraphError, match=message) as error:
        import_onnx(proto)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
