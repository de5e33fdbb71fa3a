"""What quantisers emit, as ops that we have: DequantizeLinear, the op, QuantizeLinear; sums of products stay exact.

Sources: ONNX's operators, onnxruntime's ContribOperators.md.
"""

from __future__ import annotations

import numpy as np

from alula.host.onnx.steps import Build, Rule, Step
from alula.host.onnx.upgrade import upgrade
from alula.host.onnx.writer import Writer
from alula.runtime.errors import GraphError
from alula.runtime.graph import Array


def _real(write: Writer, index: int) -> str:
    """The real numbers of the codes at an input; scale and zero point follow it."""
    return write.add("DequantizeLinear", write.input(index), write.input(index + 1), write.step.input(index + 2))


def _coded(write: Writer, real: str, index: int) -> list[Step]:
    """The steps, the last of which makes codes; scale and zero point are the inputs from `index`. Without one: uint8."""
    return write.end("QuantizeLinear", real, write.input(index), write.step.input(index + 1))


def _around(op: str, *kept: str, operands: int = 1) -> Rule:
    """An op between codes, that takes these attributes over."""

    def rule(step: Step, opset: int, build: Build) -> list[Step]:
        write = Writer(step, build)
        attrs = {name: value for name, value in step.attrs.items() if name in kept}
        reals = [_real(write, 3 * index) for index in range(operands)]
        return _coded(write, write.add(op, *reals, **attrs), 3 * operands)

    return rule


def _channels_first(write: Writer, x: str, rank: int) -> str:
    """(N, *spatial, C) as (N, C, *spatial)."""
    return write.add("Transpose", x, perm=(0, rank - 1, *range(1, rank - 1)))


def _last(rank: int) -> tuple[int, ...]:
    """The permutation from (N, C, *spatial) to (N, *spatial, C)."""
    return (0, *range(2, rank), 1)


def _pooled(op: str) -> Rule:
    """A pooling of images, channels first or last."""

    def rule(step: Step, opset: int, build: Build) -> list[Step]:
        write = Writer(step, build)
        attrs = {name: value for name, value in step.attrs.items() if name != "channels_last"}
        x = _real(write, 0)
        if not step.attrs.get("channels_last", 0):
            return _coded(write, write.add(op, x, **attrs), 3)
        rank = build.rank(step.inputs[0], step.label)
        y = write.add(op, _channels_first(write, x, rank), **attrs)
        return _coded(write, write.add("Transpose", y, perm=_last(rank)), 3)

    return rule


def _concat(step: Step, opset: int, build: Build) -> list[Step]:
    """Of any number of operands; the result's scale and zero point come first."""
    write = Writer(step, build)
    reals = [_real(write, index) for index in range(2, len(step.inputs), 3)]
    return _coded(write, write.add("Concat", *reals, axis=step.attrs.get("axis", 0)), 0)


def _where(step: Step, opset: int, build: Build) -> list[Step]:
    write = Writer(step, build)
    return _coded(write, write.add("Where", write.input(0), _real(write, 1), _real(write, 4)), 7)


def _softmax(step: Step, opset: int, build: Build) -> list[Step]:
    """A Softmax of the opset that an attribute names."""
    write = Writer(step, build)
    real = _real(write, 0)
    build.shapes[real] = build.shapes.get(step.inputs[0], ())
    shares = build.fresh(f"{step.outputs[0]}.softmax")
    inner = Step("Softmax", [real], [shares], {"axis": step.attrs.get("axis", -1)}, step.name)
    write.steps += upgrade(inner, step.attrs.get("opset", 13), build)
    return _coded(write, shares, 3)


def _reduce_mean(step: Step, opset: int, build: Build) -> list[Step]:
    write = Writer(step, build)
    axes = write.integers(*step.attrs["axes"]) if step.attrs.get("axes") else ""
    return _coded(write, write.add("ReduceMean", _real(write, 0), axes, keepdims=step.attrs.get("keepdims", 1)), 3)


def _factor(write: Writer, *scales: str, over: str = "", times: float = 1.0) -> str:
    """The product of scales, over another one."""
    product = write.add("Mul", *scales)
    if times != 1:
        product = write.add("Mul", product, write.constant(times))
    return write.add("Div", product, over) if over else product


def _scaled(write: Writer, sums: str, factor: str, out: str = "") -> str:
    """Sums of int32 as real numbers."""
    return write.add("Mul", write.add("Cast", sums, to="float32"), factor, out=out)


def _recoded(write: Writer, sums: str, factor: str, zero: str) -> list[Step]:
    """Codes of sums: saturate(round(sum * factor) + zero), as onnxruntime rounds."""
    one = write.constant(1.0)
    return write.end("QuantizeLinear", _scaled(write, sums, factor), one, zero)


def _each_row(write: Writer, name: str) -> str:
    """A parameter of A: a list of several is one a row, and becomes a column."""
    shape = write.build.shapes.get(name, ())
    if len(shape) == 1 and shape[0] != 1:
        return write.add("Unsqueeze", name, write.integers(-1))
    return name


def _qlinear_matmul(step: Step, opset: int, build: Build) -> list[Step]:
    """Codes of a product of codes."""
    write = Writer(step, build)
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (write.input(index) for index in range(8))
    sums = write.add("MatMulInteger", a, b, a_zero, b_zero)
    factor = _factor(write, _each_row(write, a_scale), b_scale, over=_each_row(write, y_scale))
    return _recoded(write, sums, factor, y_zero)


def _qgemm(step: Step, opset: int, build: Build) -> list[Step]:
    """alpha A B + C of codes, C of int32; without the result's scale the result is real."""
    write = Writer(step, build)
    a, a_scale, a_zero, b, b_scale, b_zero = (write.input(index) for index in range(6))
    if step.attrs.get("transA", 0):
        a = write.add("Transpose", a, perm=(1, 0))
    if step.attrs.get("transB", 0):
        b = _flipped(write, b)
    sums = write.add("MatMulInteger", a, b, a_zero, b_zero)
    if step.input(6):
        sums = write.add("Add", sums, step.input(6))
    times = float(step.attrs.get("alpha", 1.0))
    if step.input(7):
        zero = step.input(8) or write.constant(0, "uint8")
        return _recoded(write, sums, _factor(write, a_scale, b_scale, over=step.input(7), times=times), zero)
    _scaled(write, sums, _factor(write, a_scale, b_scale, times=times), out=step.outputs[0])
    return write.steps


def _flipped(write: Writer, b: str) -> str:
    """A matrix transposed; now if its values are known."""
    known = write.build.constants.get(b)
    if known is None or known.ndim != 2:
        return write.add("Transpose", b, perm=(1, 0))
    return write.build.constant(f"{b}.transposed", np.ascontiguousarray(known.T), known.dtype.name)


def _dynamic(write: Writer, x: str, outputs: tuple[str, str, str] = ("", "", "")) -> tuple[str, str, str]:
    """Codes of x, their scale and zero point, from the smallest and largest value of x and 0."""
    nothing = write.constant(0.0)
    low = write.add("Min", write.add("ReduceMin", x, keepdims=0), nothing)
    high = write.add("Max", write.add("ReduceMax", x, keepdims=0), nothing)
    step_size = write.add("Div", write.add("Sub", high, low), write.constant(255.0))
    is_flat = write.add("Equal", step_size, nothing)
    scale = write.add("Where", is_flat, write.constant(1.0), step_size, out=outputs[1])
    place = write.add("Round", write.add("Div", write.add("Sub", nothing, low), scale))
    zero = write.add("Cast", write.add("Clip", place, nothing, write.constant(255.0)), out=outputs[2], to="uint8")
    return write.add("QuantizeLinear", x, scale, zero, out=outputs[0]), scale, zero


def _dynamic_quantize(step: Step, opset: int, build: Build) -> list[Step]:
    """Codes, their scale, their zero point. source : the function body of ONNX DynamicQuantizeLinear-11"""
    write = Writer(step, build)
    y, scale, zero = (*step.outputs, "", "")[:3]
    _dynamic(write, write.input(0), (y, scale, zero))
    return write.steps


def _dynamic_matmul(step: Step, opset: int, build: Build) -> list[Step]:
    """A real A, coded here, times codes B, plus a bias: real."""
    write = Writer(step, build)
    a, scale, zero = _dynamic(write, write.input(0))
    sums = write.add("MatMulInteger", a, write.input(1), zero, step.input(3))
    return _with_bias(write, sums, _factor(write, scale, write.input(2)), step.input(4))


def _matmul_to_float(step: Step, opset: int, build: Build) -> list[Step]:
    """A product of codes plus a bias: real."""
    write = Writer(step, build)
    a, b, a_scale, b_scale = (write.input(index) for index in range(4))
    a_zero = step.input(4) and _each_row(write, step.input(4))
    sums = write.add("MatMulInteger", a, b, a_zero, step.input(5))
    return _with_bias(write, sums, _factor(write, _each_row(write, a_scale), b_scale), step.input(6))


def _with_bias(write: Writer, sums: str, factor: str, bias: str) -> list[Step]:
    """The steps, the last of which makes real numbers of sums; a bias is added if there is one."""
    y = write.step.outputs[0]
    real = _scaled(write, sums, factor, out="" if bias else y)
    if bias:
        write.add("Add", real, bias, out=y)
    return write.steps


def _gaps(build: Build, name: str) -> tuple[int, ...]:
    """Where (D,) or (D, 4 * H) get axes so as to broadcast to (D, C, 4 * H)."""
    return (1, 2) if len(build.shapes.get(name, ())) == 1 else (1,)


def _dynamic_lstm(step: Step, opset: int, build: Build) -> list[Step]:
    """An LSTM of real numbers with the weights that the codes mean: onnxruntime also rounds its input and state to 8 bits."""
    write = Writer(step, build)
    weights = []
    for index, scale, zero in ((1, 8, 9), (2, 10, 11)):
        wide = write.add("Cast", write.input(index), to="float32")  # (D, C, 4 * H)
        per_direction = [
            write.add("Unsqueeze", write.add("Cast", name, to="float32"), write.integers(*_gaps(build, name)))
            for name in (write.input(zero), write.input(scale))
        ]
        real = write.add("Mul", write.add("Sub", wide, per_direction[0]), per_direction[1])
        weights.append(write.add("Transpose", real, perm=(0, 2, 1)))
    rest = [step.input(index) for index in range(3, 8)]
    write.steps.append(Step("LSTM", [step.inputs[0], *weights, *rest], step.outputs, step.attrs, step.name))
    while not write.steps[-1].inputs[-1]:
        write.steps[-1].inputs.pop()
    return write.steps


def _same(op: str) -> Rule:
    """onnxruntime's own form of an ONNX op of the same meaning."""

    def rule(step: Step, opset: int, build: Build) -> list[Step]:
        return upgrade(Step(op, step.inputs, step.outputs, step.attrs, step.name), 21, build)

    return rule


def _qlinear_conv(step: Step, opset: int, build: Build) -> list[Step]:
    """QLinearConv of images, channels first or last; weights are (C_OUT, C_IN, *kernel) in both."""
    write = Writer(step, build)
    if not step.attrs.pop("channels_last", 0):
        return _same("QLinearConv")(step, opset, build)
    rank = build.rank(step.inputs[0], step.label)
    y = write.add("QLinearConv", _channels_first(write, step.inputs[0], rank), *step.inputs[1:], **step.attrs)
    return write.end("Transpose", y, perm=_last(rank))


def _matmul_nbits(step: Step, opset: int, build: Build) -> list[Step]:
    """A product with weights of few bits, which share a scale and a zero point by blocks: the weights become numbers again."""
    write, attrs = Writer(step, build), step.attrs
    k, n, bits, block = (
        int(attrs.get(name, default)) for name, default in (("K", 0), ("N", 0), ("bits", 4), ("block_size", 0))
    )
    parts = [build.constants.get(step.input(index)) for index in (1, 2, 3)]
    packed, scale, zero = parts
    blocks = -(-k // block) if block else 0
    if (
        packed is None
        or scale is None
        or bits not in (2, 4, 8)
        or step.input(4)
        or packed.size * 8 != n * blocks * block * bits
    ):
        raise GraphError(
            f"{step.label}: expected constant weights of 2, 4 or 8 bits in whole blocks, in their order, got others; quantise otherwise"
        )
    codes = _unpacked(packed.reshape(n, -1), bits).reshape(n, blocks, block)
    if zero is None:
        zeros: Array = np.full((n, blocks), 1 << (bits - 1))
    else:
        zeros = _unpacked(zero.reshape(n, -1), bits)[:, :blocks] if zero.dtype == np.uint8 else zero.reshape(n, blocks)
    real = (codes - zeros[:, :, None].astype(np.float32)) * scale.reshape(n, blocks, 1).astype(np.float32)
    weight = build.constant(step.input(1), np.ascontiguousarray(real.reshape(n, -1)[:, :k].T), "float32")
    if not step.input(5):
        return write.end("MatMul", write.input(0), weight)
    return write.end("Add", write.add("MatMul", write.input(0), weight), step.input(5))


def _unpacked(rows: Array, bits: int) -> Array:
    """Codes of bytes, the lowest bits first: (N, codes)."""
    places = np.arange(0, 8, bits)
    return ((rows[:, :, None] >> places) & ((1 << bits) - 1)).reshape(len(rows), -1)


QUANTISED: dict[str, Rule] = {
    "DynamicQuantizeLinear": _dynamic_quantize,
    "QLinearMatMul": _qlinear_matmul,
}
QUANTISED_MICROSOFT: dict[str, Rule] = {
    "DequantizeLinear": _same("DequantizeLinear"),
    "DynamicQuantizeLSTM": _dynamic_lstm,
    "DynamicQuantizeMatMul": _dynamic_matmul,
    "MatMulIntegerToFloat": _matmul_to_float,
    "MatMulNBits": _matmul_nbits,
    "QGemm": _qgemm,
    "QLinearAdd": _around("Add", operands=2),
    "QLinearAveragePool": _pooled("AveragePool"),
    "QLinearConcat": _concat,
    "QLinearConv": _qlinear_conv,
    "QLinearGlobalAveragePool": _pooled("GlobalAveragePool"),
    "QLinearLeakyRelu": _around("LeakyRelu", "alpha"),
    "QLinearMul": _around("Mul", operands=2),
    "QLinearReduceMean": _reduce_mean,
    "QLinearSigmoid": _around("Sigmoid"),
    "QLinearSoftmax": _softmax,
    "QLinearWhere": _where,
    "QuantizeLinear": _same("QuantizeLinear"),
}
