"""Ops of ONNX that are written as others at import: sums of many tensors, functions, pools by other means.

What they become has kernels, epilogues and gradients already. Each rule has the form of those in upgrade.py.
"""

from __future__ import annotations

import math

from alula.host.onnx.steps import Build, Rule, Step
from alula.host.onnx.writer import Writer
from alula.runtime.errors import GraphError


class Chain(Writer):
    """A Writer whose numbers have the dtype of the step's first input, x."""

    def __init__(self, step: Step, build: Build) -> None:
        super().__init__(step, build)
        self.x = step.inputs[0]
        self.dtype = build.dtypes.get(self.x, "float32")

    def number(self, value: float) -> str:
        """A constant scalar of the input's dtype."""
        return self.constant(value, self.dtype)


def _sum(step: Step, opset: int, build: Build) -> list[Step]:
    """Sum and Mean of any number of tensors: one Add after the other."""
    chain = Chain(step, build)
    if len(step.inputs) == 1:
        return chain.end("Identity", chain.x)
    total = chain.x
    for name in step.inputs[1:-1]:
        total = chain.add("Add", total, name)
    if step.op == "Sum":
        return chain.end("Add", total, step.inputs[-1])
    return chain.end("Div", chain.add("Add", total, step.inputs[-1]), chain.number(len(step.inputs)))


def _selu(step: Step, opset: int, build: Build) -> list[Step]:
    """gamma * Elu(x). source: ONNX Selu-6, for the defaults"""
    chain = Chain(step, build)
    alpha = step.attrs.get("alpha", 1.67326319217681884765625)
    gamma = step.attrs.get("gamma", 1.05070102214813232421875)
    return chain.end("Mul", chain.add("Elu", chain.x, alpha=alpha), chain.number(gamma))


def _celu(step: Step, opset: int, build: Build) -> list[Step]:
    """alpha * Elu(x / alpha)."""
    chain, alpha = Chain(step, build), step.attrs.get("alpha", 1.0)
    if not alpha > 0:
        raise GraphError(f"{step.label}: expected alpha above 0, got {alpha}; correct the model")
    if alpha == 1:
        return chain.end("Elu", chain.x, alpha=1.0)
    scaled = chain.add("Div", chain.x, chain.number(alpha))
    return chain.end("Mul", chain.add("Elu", scaled, alpha=1.0), chain.number(alpha))


def _softsign(step: Step, opset: int, build: Build) -> list[Step]:
    """x / (1 + |x|)."""
    chain = Chain(step, build)
    return chain.end("Div", chain.x, chain.add("Add", chain.add("Abs", chain.x), chain.number(1)))


def _shrink(step: Step, opset: int, build: Build) -> list[Step]:
    """x + bias below -lambd, x - bias above lambd, 0 between; integers as float32, and truncated again."""
    chain = Chain(step, build)
    limit, bias = step.attrs.get("lambd", 0.5), step.attrs.get("bias", 0.0)
    kind, x = chain.dtype, chain.x
    if not kind.startswith("float"):
        chain.dtype, x = "float32", chain.add("Cast", x, to="float32")
    below, above = chain.add("Less", x, chain.number(-limit)), chain.add("Greater", x, chain.number(limit))
    up, down = chain.add("Add", x, chain.number(bias)), chain.add("Sub", x, chain.number(bias))
    rest = chain.add("Where", above, down, chain.number(0))
    if kind == chain.dtype:
        return chain.end("Where", below, up, rest)
    return chain.end("Cast", chain.add("Where", below, up, rest), to=kind)


def _hardmax(step: Step, opset: int, build: Build) -> list[Step]:
    """1 at the first maximum along an axis, else 0. Opsets before 13 flatten to two dimensions at the axis."""
    chain = Chain(step, build)
    x, axis = chain.x, step.attrs.get("axis", 1 if opset < 13 else -1)
    if opset < 13:
        x, axis = chain.add("Flatten", chain.x, axis=axis), -1
    depth = chain.add("Gather", chain.add("Shape", x), chain.constant(axis, "int64"), axis=0)
    values = chain.constant([0, 1], chain.dtype)
    best = chain.add("ArgMax", x, axis=axis, keepdims=0)
    if opset >= 13:
        return chain.end("OneHot", best, depth, values, axis=axis)
    return chain.end("Reshape", chain.add("OneHot", best, depth, values, axis=axis), chain.add("Shape", chain.x))


def _mean_variance(step: Step, opset: int, build: Build) -> list[Step]:
    """(x - mean) / (deviation + 1e-9). source: the function body of ONNX MeanVarianceNormalization-13"""
    chain = Chain(step, build)
    axes = chain.integers(*step.attrs.get("axes", (0, 2, 3)))
    centred = chain.add("Sub", chain.x, chain.add("ReduceMean", chain.x, axes, keepdims=1))
    variance = chain.add("ReduceMean", chain.add("Mul", centred, centred), axes, keepdims=1)
    return chain.end("Div", centred, chain.add("Add", chain.add("Sqrt", variance), chain.number(1e-9)))


def _lrn(step: Step, opset: int, build: Build) -> list[Step]:
    """x / (bias + alpha * mean of the squares of `size` channels around it) ^ beta: the mean is a pool over channels."""
    chain = Chain(step, build)
    size = step.attrs["size"]
    if size < 1:
        raise GraphError(f"{step.label}: expected a size of 1 or more, got {size}; correct the model")
    alpha, beta, bias = (step.attrs.get(k, v) for k, v in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    shape = chain.add("Shape", chain.x)
    squares = chain.add("Reshape", chain.add("Mul", chain.x, chain.x), chain.integers(0, _channels(step, build), -1, 1))
    lines = chain.add("Transpose", squares, perm=(0, 2, 1, 3))  # (N, pixels, C, 1)
    pads = ((size - 1) // 2, 0, size // 2, 0)
    mean = chain.add("AveragePool", lines, kernel_shape=(size, 1), pads=pads, count_include_pad=1)
    mean = chain.add("Reshape", chain.add("Transpose", mean, perm=(0, 2, 1, 3)), shape)
    scaled = chain.add("Add", chain.add("Mul", mean, chain.number(alpha)), chain.number(bias))
    return chain.end("Div", chain.x, chain.add("Pow", scaled, chain.number(beta)))


def _channels(step: Step, build: Build) -> int:
    shape = build.shapes.get(step.inputs[0], ())
    if len(shape) < 3 or shape[1] is None:
        raise GraphError(
            f"{step.label}: expected (N, C, *spatial) with known channels, got {list(shape) or 'an unknown shape'}; "
            "give the model's inputs their shapes"
        )
    return shape[1]


def _to_power(chain: Chain, x: str, power: float) -> str:
    """|x| ^ power."""
    if power == 2:
        return chain.add("Mul", x, x)
    size = chain.add("Abs", x)
    return size if power == 1 else chain.add("Pow", size, chain.number(power))


def _end_root(chain: Chain, x: str, power: float) -> list[Step]:
    """The root of what is not negative, as the last step."""
    if power == 1:
        return chain.end("Identity", x)
    return chain.end("Sqrt", x) if power == 2 else chain.end("Pow", x, chain.number(1 / power))


def _global_lp_pool(step: Step, opset: int, build: Build) -> list[Step]:
    """The norm of all pixels."""
    chain, power = Chain(step, build), step.attrs.get("p", 2)
    axes = chain.integers(*range(2, build.rank(chain.x, step.label)))
    return _end_root(chain, chain.add("ReduceSum", _to_power(chain, chain.x, power), axes, keepdims=1), power)


def _lp_pool(step: Step, opset: int, build: Build) -> list[Step]:
    """The norm of each window: its mean, padding included, times its size."""
    chain, power = Chain(step, build), step.attrs.pop("p", 2)
    kernel = step.attrs["kernel_shape"]
    attrs = {**step.attrs, "count_include_pad": 1}
    if attrs.pop("ceil_mode", 0) and attrs.get("auto_pad", "NOTSET") in ("NOTSET", "VALID"):
        attrs["pads"] = _whole_windows(step, build, kernel)
        attrs["auto_pad"] = "NOTSET"
    mean = chain.add("AveragePool", _to_power(chain, chain.x, power), **attrs)
    return _end_root(chain, chain.add("Mul", mean, chain.number(math.prod(kernel))), power)


def _whole_windows(step: Step, build: Build, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Pads under which no window hangs over the end, and none of those of ceil_mode is missing."""
    n = len(kernel)
    spatial = build.shapes.get(step.inputs[0], ())[2:]
    sizes = [size for size in spatial if size is not None]
    if len(sizes) != n:
        raise GraphError(
            f"{step.label}: expected a known height and width for ceil_mode, got {list(spatial)}; give the model's inputs "
            "their shapes"
        )
    strides, dilations = (step.attrs.get(k) or (1,) * n for k in ("strides", "dilations"))
    pads = step.attrs.get("pads") or (0,) * 2 * n
    ends = []
    for i, size in enumerate(sizes):
        extent = (kernel[i] - 1) * dilations[i] + 1
        count = -(-(size + pads[i] + pads[n + i] - extent) // strides[i]) + 1
        count -= (count - 1) * strides[i] >= size + pads[i]  # none starts after the image
        ends.append(max((count - 1) * strides[i] + extent - size - pads[i], 0))
    return (*pads[:n], *ends)


def _max_unpool(step: Step, opset: int, build: Build) -> list[Step]:
    """Zeros, but for the pixels that a MaxPool chose: those are put where its Indices say."""
    chain = Chain(step, build)
    kernel = step.attrs["kernel_shape"]
    n = len(kernel)
    strides, pads = step.attrs.get("strides") or (1,) * n, step.attrs.get("pads") or (0,) * 2 * n
    rest = (kernel[i] - strides[i] - pads[i] - pads[n + i] for i in range(n))
    scaled = chain.add("Mul", chain.add("Shape", chain.x), chain.integers(1, 1, *strides))
    full = chain.add("Add", scaled, chain.integers(0, 0, *rest))  # the size that was pooled, if the windows met its end
    flat = chain.integers(-1)
    zeros = chain.add("Expand", chain.number(0), chain.add("ReduceProd", full, keepdims=1))
    places, pixels = chain.add("Reshape", step.inputs[1], flat), chain.add("Reshape", chain.x, flat)
    placed = chain.add("ScatterElements", zeros, places, pixels, axis=0)
    if not step.input(2):
        return chain.end("Reshape", placed, full)
    image = chain.add("Reshape", placed, full)
    begins = chain.integers(*(0,) * (n + 2))  # the image stands in the corner of one of output_shape
    return chain.end("Pad", image, chain.add("Concat", begins, chain.add("Sub", step.input(2), full), axis=0))


def _scatter(step: Step, opset: int, build: Build) -> list[Step]:
    """The name that ScatterElements had before opset 11."""
    step.op = "ScatterElements"
    return [step]


DECOMPOSED: dict[str, Rule] = {
    "Celu": _celu,
    "GlobalLpPool": _global_lp_pool,
    "Hardmax": _hardmax,
    "LRN": _lrn,
    "LpPool": _lp_pool,
    "MaxUnpool": _max_unpool,
    "Mean": _sum,
    "MeanVarianceNormalization": _mean_variance,
    "Scatter": _scatter,
    "Selu": _selu,
    "Shrink": _shrink,
    "Softsign": _softsign,
    "Sum": _sum,
}
