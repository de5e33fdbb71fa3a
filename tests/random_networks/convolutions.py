"""Blocks of convolutions, plain and transposed, in one and two dimensions; also with weights that two nodes share."""

from __future__ import annotations

import math
from typing import Any

from tests.random_networks.draw import CHANNELS, MAX_ELEMENTS, Draw


def divisors(n: int) -> list[int]:
    """The numbers that divide n."""
    return [d for d in range(1, n + 1) if n % d == 0]


def _groups(draw: Draw, c: int) -> tuple[int, int]:
    """Groups and output channels for c input channels: dense, depthwise with a multiplier, or grouped."""
    kind = draw.rng.random()
    if kind < 0.5 or c == 1:
        return 1, draw.pick(CHANNELS)
    if kind < 0.75:
        return c, c * draw.pick((1, 1, 1, 2, 3) if c <= 16 else (1,))
    group = draw.pick(divisors(c))
    return group, group * draw.number(1, max(1, min(6, 48 // group)))


def _kernel(draw: Draw) -> tuple[list[int], list[int], list[int]]:
    """Kernel, strides and dilations that fit the image."""
    rank = len(draw.spatial)
    kernel = draw.numbers(rank, (1, 2, 3, 3, 3, 4, 5)) if draw.chance(0.5) else [draw.pick((1, 3, 3, 5))] * rank
    strides = draw.numbers(rank, (1, 1, 2, 3)) if draw.chance(0.5) else [draw.pick((1, 1, 2))] * rank
    dilations = draw.numbers(rank, (1, 1, 2, 3)) if draw.chance(0.25) else [1] * rank
    kernel = [min(k, n) for k, n in zip(kernel, draw.spatial)]
    dilations = [d if (k - 1) * d + 1 <= n else 1 for k, d, n in zip(kernel, dilations, draw.spatial)]
    return kernel, strides, dilations


def _pads(draw: Draw, kernel: list[int], dilations: list[int]) -> dict[str, Any]:
    kind, extent = draw.rng.random(), [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    if kind < 0.4:
        return {"pads": [e // 2 for e in extent] * 2}
    if kind < 0.65:
        return {"pads": [draw.number(0, e) for e in extent * 2]}
    if kind < 0.85 and max(dilations) == 1:  # onnxruntime has no SAME with dilations
        return {"auto_pad": draw.pick(("SAME_UPPER", "SAME_LOWER", "VALID"))}
    return {}


def conv(draw: Draw) -> bool:
    """One Conv."""
    c = draw.dims[1]
    group, c_out = _groups(draw, c)
    kernel, strides, dilations = _kernel(draw)
    attrs: dict[str, Any] = {"strides": strides, "group": group, **_pads(draw, kernel, dilations)}
    if max(dilations) > 1:
        attrs["dilations"] = dilations
    if draw.chance(0.5):
        attrs["kernel_shape"] = kernel
    inputs = [draw.weight("conv.w", (c_out, c // group, *kernel), c // group * math.prod(kernel))]
    if draw.chance(0.6):
        inputs.append(draw.vector("conv.b", c_out))
    draw.then("Conv", *inputs, **attrs)
    return True


def conv_transpose(draw: Draw) -> bool:
    """One ConvTranspose: kernels below, at and above the stride, output padding also beyond the pad at the end."""
    c, rank = draw.dims[1], len(draw.spatial)
    group, c_out = _groups(draw, c)
    strides = draw.numbers(rank, (1, 2, 2, 3)) if draw.chance(0.5) else [draw.pick((1, 2, 2, 3))] * rank
    as_stride = draw.chance(0.4)
    kernel = [s if as_stride else draw.pick((1, 2, 3, 3, 4, 5)) for s in strides]
    dilations = draw.numbers(rank, (1, 2)) if draw.chance(0.2) else [1] * rank
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    pads = [draw.number(0, e // 2) for e in extent * 2] if draw.chance(0.3 if as_stride else 0.6) else [0] * 2 * rank
    extra = [draw.number(0, s - 1) for s in strides] if draw.chance(0.4) else [0] * rank
    full = [(n - 1) * s + e + o for n, s, e, o in zip(draw.spatial, strides, extent, extra)]
    if any(n - b - e < 1 for n, b, e in zip(full, pads[:rank], pads[rank:])):
        pads = [0] * 2 * rank
    if draw.batch * c_out * math.prod(full) > MAX_ELEMENTS or max(full) > 30:
        return False
    attrs: dict[str, Any] = {"strides": strides, "group": group}
    if any(extra):
        attrs["output_padding"] = extra
    if max(dilations) > 1:
        attrs["dilations"] = dilations
    covered = all(k >= s for k, s in zip(kernel, strides))  # else onnxruntime's SAME is not ONNX's
    if draw.chance(0.15) and covered and max(dilations) == 1 and not any(extra):
        attrs["auto_pad"] = draw.pick(("SAME_UPPER", "SAME_LOWER", "VALID"))
    elif any(pads):
        attrs["pads"] = pads
    overlap = math.prod(max(k / s, 1) for k, s in zip(kernel, strides))
    inputs = [draw.weight("convt.w", (c, c_out // group, *kernel), c // group * overlap)]
    if draw.chance(0.6):
        inputs.append(draw.vector("convt.b", c_out))
    draw.then("ConvTranspose", *inputs, **attrs)
    return True


def shared_conv(draw: Draw) -> bool:
    """The same weight in two Conv nodes, one after the other or side by side; also the bias."""
    c, rank = draw.dims[1], len(draw.spatial)
    group = draw.pick(divisors(c)) if draw.chance(0.4) else 1
    kernel = [min(3, n) for n in draw.spatial]
    weight = draw.weight("shared.w", (c, c // group, *kernel), c // group * math.prod(kernel))
    inputs = [weight] + ([draw.vector("shared.b", c)] if draw.chance(0.6) else [])
    if draw.chance(0.5):
        draw.then("Conv", *inputs, auto_pad="SAME_UPPER", group=group)
        draw.then(draw.pick(("Relu", "Tanh")))
        draw.then("Conv", *inputs, auto_pad="SAME_UPPER", group=group)
        return True
    steps = draw.numbers(rank, (1, 1, 2)) if draw.chance(0.4) else [1] * rank
    total = [(k - 1) * d for k, d in zip(kernel, steps)]
    begin = [n // 2 for n in total]
    end = [n - b for n, b in zip(total, begin)]
    left = draw.node("Conv", [draw.x, *inputs], auto_pad="SAME_UPPER", group=group)
    right = draw.node("Conv", [draw.x, *inputs], pads=[*begin, *end], dilations=steps, group=group)
    draw.x = draw.node("Add", [left, draw.node("Tanh", [right])])
    return True


def shared_bias(draw: Draw) -> bool:
    """Two Conv nodes with weights of their own and one bias."""
    c, rank, c_out = draw.dims[1], len(draw.spatial), draw.pick(CHANNELS)
    bias, parts = draw.vector("shared.b", c_out), []
    for kernel in ([1] * rank, [min(3, n) for n in draw.spatial]):
        weight = draw.weight("conv.w", (c_out, c, *kernel), c * math.prod(kernel))
        parts.append(draw.node("Conv", [draw.x, weight, bias], auto_pad="SAME_LOWER"))
    draw.x = draw.node(draw.pick(("Add", "Sub", "Mul")), [parts[0], draw.node("Tanh", [parts[1]])])
    return True


BLOCKS = {conv: 8.0, conv_transpose: 3.0, shared_conv: 0.8, shared_bias: 0.4}
