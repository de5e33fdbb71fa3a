"""Batch normalisation in training, and its gradient: sums over strips of rows, joined, then applied."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.graph import Node
from alula.runtime.ops.elementwise.kernel import CODES, FULL
from alula.runtime.ops.elementwise.lower import Epilogue, epilogue
from alula.runtime.ops.normalization import kernel_batch_norm as forward
from alula.runtime.ops.normalization import kernel_gradient as kernels
from alula.runtime.ops.reduce.lower import strips_of
from alula.runtime.planning.lowering import FnRef, Lowering, Ref, Word, lowers


@lowers("BatchNormalizationTraining")
def lower_batch_norm_training(lowering: Lowering, node: Node) -> bool:
    """BatchNormalizationTraining with its epilogue; a sum with a tensor of the same shape and a clamp need no extra pass."""
    spec = lowering.spec(node.inputs[0])
    tail = epilogue(lowering, node, spec.dims)
    if spec.dtype != "float32" or spec.size == 0 or tail is None:
        return False
    c, attrs = spec.dims[-1], node.attrs
    rows = spec.size // c
    strips = strips_of(rows)
    x, scale, bias, running_mean, running_var = map(lowering.ref, node.inputs)
    new_mean, new_var, mean, inverse = (_given(lowering, node, i, c) for i in range(1, 5))
    moments, gain, squares = (lowering.scratch(4 * c * n) for n in (3 * strips, 1, 1))
    lowering.emit(forward.f32_batch_moments, x=x, moments=moments, rows=rows, c=c, strips=strips)
    fresh = 1.0 - attrs.momentum
    lowering.emit(
        forward.f32_batch_statistics, moments=moments, scale=scale, running_mean=running_mean, running_var=running_var,
        new_mean=new_mean, new_var=new_var, mean=mean, inverse=inverse, gain=gain, squares=squares, rows=rows, c=c,
        strips=strips, epsilon=float(attrs.epsilon), momentum=float(attrs.momentum), mean_gain=fresh,
        squares_gain=fresh / (max(rows - 1, 1) if attrs.unbiased else rows),
    )  # fmt: skip
    lowering.leave(("gain", node.inputs[1], node.outputs[4]), gain)
    emit_apply(lowering, x, lowering.ref(node.outputs[0]), mean, gain, bias, (rows, c), tail)
    return True


@lowers("BatchNormalization")
def lower_batch_norm(lowering: Lowering, node: Node) -> bool:
    """BatchNormalization with given statistics, and its epilogue."""
    spec, names = lowering.spec(node.inputs[0]), node.inputs[1:]
    tail = epilogue(lowering, node, spec.dims)
    if spec.dtype != "float32" or spec.size == 0 or tail is None or node.attrs.training_mode:
        return False
    c, epsilon = spec.dims[-1], node.attrs.epsilon
    x, y = lowering.ref(node.inputs[0]), lowering.ref(node.outputs[0])
    if all(map(lowering.known, names)):
        scale, bias, mean, var = (lowering.values[name].astype(np.float32) for name in names)
        gain = lowering.table(scale / np.sqrt(var + np.float32(epsilon)))
        mean_at, bias_at = lowering.table(mean), lowering.table(bias)
    else:
        scale_at, bias_at, mean_at, var_at = map(lowering.ref, names)
        gain, inverse = lowering.scratch(4 * c), lowering.scratch(4 * c)
        lowering.emit(
            forward.f32_batch_gain, var=var_at, scale=scale_at, inverse=inverse, gain=gain, c=c, epsilon=float(epsilon),
            inverted=0,
        )  # fmt: skip
    emit_apply(lowering, x, y, mean_at, gain, bias_at, (spec.size // c, c), tail)
    return True


@lowers("BatchNormalizationApply")
def lower_batch_norm_apply(lowering: Lowering, node: Node) -> bool:
    """BatchNormalizationApply, with its epilogue."""
    spec = lowering.spec(node.inputs[0])
    tail = epilogue(lowering, node, spec.dims)
    if spec.dtype != "float32" or spec.size == 0 or tail is None:
        return False
    c, (x, _, bias, mean, _) = spec.dims[-1], map(lowering.ref, node.inputs)
    gain = _gain(lowering, node.inputs[1], node.inputs[4], c)
    emit_apply(lowering, x, lowering.ref(node.outputs[0]), mean, gain, bias, (spec.size // c, c), tail)
    return True


def _gain(lowering: Lowering, scale: str, inverse: str, c: int) -> Ref:
    """scale / standard deviation, from the inverse of the latter; what the forward pass made if it is in the same run."""
    if (left := lowering.found(("gain", scale, inverse))) is not None:
        return left
    gain, given = lowering.scratch(4 * c), lowering.ref(inverse)
    lowering.emit(
        forward.f32_batch_gain,
        var=given,
        scale=lowering.ref(scale),
        inverse=given,
        gain=gain,
        c=c,
        epsilon=0.0,
        inverted=1,
    )
    return gain


def emit_apply(
    lowering: Lowering, x: Ref, y: Ref, mean: Ref, gain: Ref, bias: Ref, size: tuple[int, int], tail: Epilogue
) -> None:
    """y = (x - mean) * gain + bias over (rows, channels), then the epilogue; one stage of it may be the kernel's own."""
    rows, c = size
    low, high, residual = tail.low, tail.high, None
    stages, run = tail.stages, tail.kernel
    if stages and stages[2] == 1 and (low, high) == (-math.inf, math.inf):  # one stage that the kernel has itself
        code, mode, operand, p, q = stages[3:]
        if code in (CODES["add"], CODES["add_clip"]) and mode == FULL and isinstance(operand, Ref):
            residual, stages, run = operand, [], 0
            if code == CODES["add_clip"]:
                low, high = _bound(p), _bound(q)
    lowering.emit(
        forward.f32_batch_apply, x=x, other=0 if residual is None else residual, y=y, mean=mean, gain=gain,
        bias=bias, scratch=lowering.scratch(64 * lowering.n_threads), rows=rows, c=c,
        residual=int(residual is not None), clamp=int((low, high) != (-math.inf, math.inf)), low=low, high=high,
        epilogue=run if isinstance(run, FnRef) else 0, epilogue_stages=stages,
    )  # fmt: skip


@lowers("BatchNormalizationGrad")
def lower_batch_norm_grad(lowering: Lowering, node: Node) -> bool:
    """BatchNormalizationGrad: grad_scale and grad_bias, then grad_x if needed, in the memory of grad_y if nothing reads that later."""
    spec = lowering.spec(node.inputs[0])
    if node.fused or spec.dtype != "float32" or spec.size == 0:
        return False
    c, attrs = spec.dims[-1], node.attrs
    rows = spec.size // c
    strips = strips_of(rows)
    grad_y, x, scale, mean, inverse = map(lowering.ref, node.inputs[:5])
    grad_scale, grad_bias = (_given(lowering, node, i, c) for i in (1, 2))
    sums, factors = lowering.scratch(8 * c * strips), lowering.scratch(12 * c)
    gain, bias = mean, mean
    if attrs.clamped:
        gain, bias = _gain(lowering, node.inputs[2], node.inputs[4], c), lowering.ref(node.inputs[5])
    clamp, low, high = int(attrs.clamped), float(attrs.low), float(attrs.high)
    lowering.emit(
        kernels.f32_batch_grad_sums, grad_y=grad_y, x=x, mean=mean, gain=gain, bias=bias, sums=sums, rows=rows, c=c, strips=strips,
        clamp=clamp, low=low, high=high,
    )  # fmt: skip
    lowering.emit(
        kernels.f32_batch_grad_join, sums=sums, scale=scale, inverse=inverse, grad_scale=grad_scale, grad_bias=grad_bias, factors=factors,
        rows=rows, c=c, strips=strips,
    )  # fmt: skip
    if node.outputs[0]:
        lowering.emit(
            kernels.f32_batch_grad_apply, grad_y=grad_y, x=x, mean=mean, bias=bias, factors=factors, grad_x=lowering.ref(node.outputs[0]),
            rows=rows, c=c, clamp=clamp, low=low, high=high, inplace=(node.outputs[0], node.inputs[0]),
        )  # fmt: skip
    return True


def _given(lowering: Lowering, node: Node, index: int, c: int) -> Ref:
    """The address of an output of c elements, or of scratch if nothing reads it."""
    name = node.outputs[index] if index < len(node.outputs) else ""
    return lowering.ref(name) if name else lowering.scratch(4 * c)


def _bound(word: Word) -> float:
    assert isinstance(word, float)
    return word
