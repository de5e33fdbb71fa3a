"""Blocks that change the size of an image: pools, resizing, pads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.random_networks.draw import MAX_ELEMENTS, SETTING, Draw


def pool(draw: Draw) -> bool:
    """MaxPool or AveragePool with odd windows, strides and pads."""
    rank, spatial = len(draw.spatial), draw.spatial
    kernel = [min(k, n) for k, n in zip(draw.numbers(rank, (1, 2, 2, 3, 3, 4, 5)), spatial)]
    attrs: dict[str, Any] = {"kernel_shape": kernel}
    if draw.chance(0.8):
        attrs["strides"] = draw.numbers(rank, (1, 2, 2, 3))
    op, dilations = draw.pick(("MaxPool", "AveragePool")), [1] * rank
    if draw.chance(0.2):
        dilations = [d if (k - 1) * d + 1 <= n else 1 for d, k, n in zip(draw.numbers(rank, (1, 2)), kernel, spatial)]
        attrs["dilations"] = dilations
    if draw.chance(0.5):
        attrs["pads"] = [draw.number(0, k - 1) for k in kernel * 2]
    elif draw.chance(0.25) and all(k >= s for k, s in zip(kernel, attrs.get("strides", kernel))):
        if max(dilations) == 1:
            attrs["auto_pad"] = draw.pick(("SAME_UPPER", "SAME_LOWER", "VALID"))
    if draw.chance(0.35) and "auto_pad" not in attrs:
        attrs["ceil_mode"] = 1
    if op == "AveragePool" and draw.chance(0.5):
        attrs["count_include_pad"] = 1
    before = draw.spatial
    draw.then(op, **attrs)
    if attrs.get("ceil_mode"):  # a window that would start behind the image is left out, which ONNX does not infer
        begin, strides = attrs.get("pads", [0] * rank), attrs.get("strides", [1] * rank)
        most = [-(-(n + b) // s) for n, b, s in zip(before, begin, strides)]
        draw.set_shape(draw.x, (*draw.dims[:2], *(min(n, m) for n, m in zip(draw.spatial, most))))
    return True


def resize(draw: Draw) -> bool:
    """Resize by scales or to sizes, nearest or linear."""
    mode, spatial = draw.pick(("nearest", "linear")), draw.spatial
    attrs: dict[str, Any] = {"mode": mode}
    modes = ("half_pixel", "asymmetric", "pytorch_half_pixel", *(["align_corners"] if mode == "linear" else []))
    attrs["coordinate_transformation_mode"] = draw.pick(modes)
    if mode == "nearest":
        attrs["nearest_mode"] = draw.pick(("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))
    scales = [draw.pick((2.0, 2.0, 1.0, 3.0, 1.5, 0.5)) for _ in spatial]
    sizes = [max(int(n * s), 1) for n, s in zip(spatial, scales)]
    if draw.size() / math.prod(spatial) * math.prod(sizes) > MAX_ELEMENTS or max(sizes) > 30:
        return False
    if any(int(n * s) < 1 for n, s in zip(spatial, scales)) or draw.chance(0.4):
        if draw.chance(0.5):
            attrs["axes"] = list(range(2, draw.rank))
            draw.then("Resize", "", "", draw.ints("sizes", sizes), **attrs)
        else:
            draw.then("Resize", "", "", draw.ints("sizes", [*draw.dims[:2], *sizes]), **attrs)
    else:
        draw.then("Resize", "", draw.add("scales", np.array([1, 1, *scales], np.float32), SETTING), **attrs)
    return True


def pad(draw: Draw) -> bool:
    """Pad by a constant, the border or a reflection; negative pads cut."""
    mode = draw.pick(("constant", "constant", "reflect", "edge"))
    begin, end = [0, 0], [0, 0]
    for n in draw.spatial:
        lowest = -1 if mode == "constant" and n > 3 and draw.chance(0.4) else 0
        highest = min(3, n - 1) if mode == "reflect" else 3
        begin.append(draw.number(lowest, highest))
        end.append(draw.number(lowest, highest))
    if mode == "constant" and draw.chance(0.2):
        begin[1], end[1] = draw.number(0, 2), draw.number(0, 2)
    inputs = [draw.ints("pads", begin + end)]
    if mode == "constant" and draw.chance(0.5):
        inputs.append(draw.scalar("value", draw.pick((0.0, 0.5, -1.0))))
    draw.then("Pad", *inputs, mode=mode)
    return True


def depth_and_space(draw: Draw) -> bool:
    """DepthToSpace or SpaceToDepth."""
    if len(draw.spatial) != 2:
        return False
    c, (h, w) = draw.dims[1], draw.spatial
    if c % 4 == 0 and max(h, w) <= 13 and draw.chance(0.6):
        draw.then("DepthToSpace", blocksize=2, mode=draw.pick(("DCR", "CRD")))
        return True
    if h % 2 or w % 2 or c > 12:
        return False
    draw.then("SpaceToDepth", blocksize=2)
    return True


BLOCKS = {pool: 3.0, resize: 1.5, pad: 1.5, depth_and_space: 0.6}
