"""Layer, instance, group, root-mean-square and p-norm normalisation."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.ops.normalization import kernel as kernels
from alula.runtime.ops.reduce.kernel import f32_layer_norm
from alula.runtime.planning.lowering import Lowering, Ref, lowers

STRIP_BYTES = 1 << 15  # pixels that are read twice while they are in the cache
MAX_STRIPS = 256


@lowers("InstanceNormalization", "GroupNormalization")
def lower_image_norm(lowering: Lowering, node: Node) -> bool:
    """InstanceNormalization, and GroupNormalization: the statistics in strips, joined, then applied."""
    spec = lowering.spec(node.inputs[0])
    if node.fused or spec.dtype != "float32" or spec.size == 0:
        return False
    n, c, pixels = spec.dims[0], spec.dims[-1], math.prod(spec.dims[1:-1])
    strips = max(1, min(pixels, MAX_STRIPS, math.ceil(4 * pixels * c / STRIP_BYTES)))
    x, scale, bias = (lowering.ref(name) for name in node.inputs)
    moments, means, gains = (
        lowering.scratch(8 * n * strips * c),
        lowering.scratch(4 * n * c),
        lowering.scratch(4 * n * c),
    )
    lowering.emit(kernels.f32_moments, x=x, moments=moments, n=n, pixels=pixels, c=c, strips=strips)
    lowering.emit(
        kernels.f32_join_moments, moments=moments, scale=scale, means=means, gains=gains, n=n, pixels=pixels, c=c, strips=strips,
        groups=getattr(node.attrs, "num_groups", c), epsilon=float(node.attrs.epsilon),
    )  # fmt: skip
    lowering.emit(
        kernels.f32_normalise, x=x, mean=means, gain=gains, bias=bias, y=lowering.ref(node.outputs[0]), rows=n * pixels, c=c,
        image_rows=pixels, inplace=(node.outputs[0], node.inputs[0]),
    )  # fmt: skip
    return True


@lowers("RMSNormalization")
def lower_rms_norm(lowering: Lowering, node: Node) -> bool:
    """RMSNormalization over the last axes, scaled by element."""
    spec = lowering.spec(node.inputs[0])
    scale = lowering.spec(node.inputs[1])
    n = math.prod(spec.dims[node.attrs.axis % len(spec.dims) :])
    if node.fused or spec.dtype != "float32" or scale.dtype != "float32" or spec.size == 0 or scale.size != n:
        return False
    lowering.emit(
        kernels.f32_rms_norm, x=lowering.ref(node.inputs[0]), scale=lowering.ref(node.inputs[1]), y=lowering.ref(node.outputs[0]),
        rows=spec.size // n, n=n, epsilon=float(node.attrs.epsilon), inplace=(node.outputs[0], node.inputs[0]),
    )  # fmt: skip
    return True


@lowers("LpNormalization")
def lower_lp_norm(lowering: Lowering, node: Node) -> bool:
    """LpNormalization along any axis."""
    spec = lowering.spec(node.inputs[0])
    axis = node.attrs.axis % len(spec.dims)
    if node.fused or spec.dtype != "float32" or spec.size == 0:
        return False
    lowering.emit(
        kernels.f32_lp_norm, x=lowering.ref(node.inputs[0]), y=lowering.ref(node.outputs[0]),
        scratch=lowering.scratch(4 * kernels.BLOCK * lowering.n_threads), outer=math.prod(spec.dims[:axis]), n=spec.dims[axis],
        inner=math.prod(spec.dims[axis + 1 :]), p=node.attrs.p, inplace=(node.outputs[0], node.inputs[0]),
    )  # fmt: skip
    return True


@lowers("LayerNormalization")
def lower_layer_norm(lowering: Lowering, node: Node) -> bool:
    """LayerNormalization over the last axes, with its optional outputs."""
    spec = lowering.spec(node.inputs[0])
    axis = node.attrs.axis % len(spec.dims)
    n = math.prod(spec.dims[axis:])
    if node.fused or spec.dtype != "float32" or spec.size == 0:
        return False
    scale, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else ""
    if lowering.spec(scale).size != n or (bias and lowering.spec(bias).size != n):
        return False
    extra = [name for name in node.outputs[1:] if name]
    if extra and len(extra) != 2:
        return False
    keep: list[Ref | int] = [lowering.ref(name) for name in extra] or [0, 0]
    shift = lowering.ref(bias) if bias else lowering.table(np.zeros(n, np.float32))
    lowering.emit(
        f32_layer_norm, x=lowering.ref(node.inputs[0]), scale=lowering.ref(scale), bias=shift, y=lowering.ref(node.outputs[0]),
        means=keep[0], inverses=keep[1], rows=spec.size // n, n=n, epsilon=float(node.attrs.epsilon), keep=int(bool(extra)),
        inplace=(node.outputs[0], node.inputs[0]),
    )  # fmt: skip
    return True
