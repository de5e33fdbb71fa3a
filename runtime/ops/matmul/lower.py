"""Gemm and MatMul: with constant weights a convolution of kernel 1, else a product of computed matrices."""

from __future__ import annotations

import math

import numpy as np

from alula.runtime.graph import Array, Node
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.conv.lower_gradient import emit_conv_weight_grad, emit_point_input_grad, readable
from alula.runtime.ops.conv.lower_product import (
    bias_ref,
    emit_conv,
    emit_epilogue,
    emit_transposed_panels,
    pack_bias,
    pack_panels,
)
from alula.runtime.ops.elementwise.lower import Epilogue, epilogue
from alula.runtime.ops.matmul import kernel as kernels
from alula.runtime.ops.window import Window
from alula.runtime.planning.lowering import Lowering, Ref, lowers, lowers_in_storage


@lowers("MatMul")
def lower_matmul(lowering: Lowering, node: Node) -> bool:
    """MatMul of any rank."""
    a, b = (lowering.spec(name) for name in node.inputs)
    if a.dtype != "float32" or len(a.dims) < 1 or len(b.dims) < 1 or 0 in a.dims or 0 in b.dims:
        return False
    if len(b.dims) == 2 and lowering.packable(node.inputs[1]) and len(a.dims) > 1:
        return _constant_product(lowering, node, math.prod(a.dims[:-1]), node.inputs[1])
    a_dims = a.dims if len(a.dims) > 1 else (1, *a.dims)
    b_dims = b.dims if len(b.dims) > 1 else (*b.dims, 1)
    return _computed_product(lowering, node, a_dims, b_dims, (b_dims[-1], 1))


@lowers("Gemm")
def lower_gemm(lowering: Lowering, node: Node) -> bool:
    """Gemm whose A is not transposed, and whose C is a constant row or absent."""
    attrs = node.attrs
    a, b = (lowering.spec(name) for name in node.inputs[:2])
    c = node.inputs[2] if len(node.inputs) > 2 else ""
    if a.dtype != "float32" or attrs.transA or 0 in a.dims or 0 in b.dims:
        return False
    n = b.dims[0] if attrs.transB else b.dims[1]
    row_bias = not c or (
        lowering.packable(c) and lowering.spec(c).size in (1, n) and lowering.spec(c).shape[-1:] in ((n,), (1,), ())
    )
    scaled = attrs.alpha != 1 or (c and attrs.beta != 1)
    if lowering.packable(node.inputs[1]) and row_bias and not (scaled and node.inputs[1] in lowering.variables):
        return _constant_product(lowering, node, a.dims[0], node.inputs[1], c)
    if c or attrs.alpha != 1:
        return False
    strides = (1, b.dims[1]) if attrs.transB else (b.dims[1], 1)
    return _computed_product(lowering, node, a.dims, (a.dims[1], n), strides)


@lowers_in_storage("Gemm")
def lower_gemm_in_storage(lowering: Lowering, node: Node) -> bool:
    """A^T B as the gradient of a variable that lies in panels: sums over rows, as a convolution of kernel 1 has them."""
    attrs, variable = node.attrs, lowering.variable_of(node.outputs[0])
    a, b = (lowering.spec(name) for name in node.inputs[:2])
    plain = attrs.transA and not attrs.transB and attrs.alpha == 1 and len(node.inputs) == 2 and not node.fused
    if variable is None or not plain or a.dtype != "float32" or 0 in a.dims + b.dims:
        return False
    x, grad_y = node.inputs  # the gradient of (K, N), or of a matrix that is read transposed
    if variable.packing == matrix_panels(lowering.tiles, transposed=True):
        x, grad_y = grad_y, x
    elif variable.packing != matrix_panels(lowering.tiles):
        return False
    m, (k, n) = a.dims[0], (lowering.spec(name).dims[1] for name in (x, grad_y))
    window = Window((1, 1), (1, 1), (1, 1), (0, 0), (0, 0), (1, m))
    target = lowering.storage(node.outputs[0])[0]
    emit_conv_weight_grad(lowering, lowering.ref(x), readable(lowering, grad_y), target, window, (1, 1, m, k), k, n, n)
    return True


def matrix_panels(tiles: Tiles, transposed: bool = False, factor: float = 1.0) -> Packing:
    """(K, N), or (N, K) transposed, as panels of (K, N) times the factor."""

    def make(weight: Array) -> Array:
        matrix = weight.T if transposed else weight
        return pack_panels(matrix if factor == 1 else matrix * np.float32(factor), tiles)

    return Packing("matrix", make, (int(transposed), factor))


def _constant_product(lowering: Lowering, node: Node, m: int, weight: str, bias: str = "") -> bool:
    """(m, K) @ a constant (K, N) + a constant row, with the epilogue of the node."""
    out = lowering.spec(node.outputs[0]).dims
    tail = epilogue(lowering, node, out)
    if tail is None:
        return False
    n, k = out[-1], lowering.spec(node.inputs[0]).dims[-1]
    transposed, factor = bool(getattr(node.attrs, "transB", 0)), getattr(node.attrs, "alpha", 1.0)
    # The order of the product whose gradient this may be
    lying = lowering.lying(weight, matrix_panels(lowering.tiles, not transposed))
    if lying and not bias and factor == 1 and emit_point_input_grad(lowering, node, m, lying, tail):
        return True
    packed = _transposed(lowering, node, weight, k, n)
    if packed is None:
        packed = lowering.packed(weight, matrix_panels(lowering.tiles, transposed, factor))
    biases = bias_ref(lowering, "", n)
    if bias:
        beta = node.attrs.beta

        def row(values: Array) -> Array:
            return pack_bias(np.broadcast_to(values.reshape(-1) * np.float32(beta), (n,)), lowering.tiles)

        biases = lowering.packed(bias, Packing("row", row, (n, beta)))
    window = Window((1, 1), (1, 1), (1, 1), (0, 0), (0, 0), (1, m))
    emit_conv(lowering, lowering.ref(node.inputs[0]), packed, biases, lowering.ref(node.outputs[0]), window, (1, 1, m, k), k, n,
              (m * n, m * n, n), tail)  # fmt: skip
    return True


def _transposed(lowering: Lowering, node: Node, weight: str, k: int, n: int) -> Ref | None:
    """Panels of (K, N) made in every run of a variable that lies in those of (N, K); None if it does not."""
    transposed = bool(getattr(node.attrs, "transB", 0))
    if getattr(node.attrs, "alpha", 1.0) != 1:
        return None
    wanted, source = (matrix_panels(lowering.tiles, each) for each in (transposed, not transposed))
    return lowering.derived(weight, str(wanted), source, lambda panels: emit_transposed_panels(lowering, panels, n, k))


def _computed_product(
    lowering: Lowering, node: Node, a_dims: tuple[int, ...], b_dims: tuple[int, ...], b_strides: tuple[int, int]
) -> bool:
    """Two matrices, or two stacks of them, broadcast over the leading axes."""
    out = lowering.spec(node.outputs[0]).dims
    tail = epilogue(lowering, node, out) if node.fused else Epilogue(-math.inf, math.inf, 0, [])
    if tail is None:
        return False
    tiles, threads = lowering.tiles, lowering.n_threads
    (m, k), n = a_dims[-2:], b_dims[-1]
    lead = np.broadcast_shapes(a_dims[:-2], b_dims[:-2])
    batches = math.prod(lead)
    size = 2 * tiles.rows + 8 + (k + tiles.rows) * tiles.columns
    size += -size % 16
    lowering.emit(
        kernels.f32_matmul, a=lowering.ref(node.inputs[0]), b=lowering.ref(node.inputs[1]), y=lowering.ref(node.outputs[0]),
        batches=_batch_table(lowering, lead, a_dims, b_dims, m * n), n_batches=batches, m=m, k=k, n=n, a_row=k,
        b_row=b_strides[0], b_column=b_strides[1], zeros=lowering.zeros(4 * tiles.columns), low=tail.low, high=tail.high,
        scratch=lowering.scratch(4 * size * threads), scratch_size=size,
    )  # fmt: skip
    if tail.stages:
        emit_epilogue(lowering, node.outputs[0], math.prod(out[:-1]), out[-1], tail)
    return True


def _batch_table(
    lowering: Lowering, lead: tuple[int, ...], a_dims: tuple[int, ...], b_dims: tuple[int, ...], out_size: int
) -> Ref:
    """(batches, 3) element offsets into A, B and Y."""

    def offsets(dims: tuple[int, ...]) -> Array:
        count = np.arange(math.prod(dims[:-2]), dtype=np.int64) * math.prod(dims[-2:])
        return np.broadcast_to(count.reshape(dims[:-2]), lead).reshape(-1)

    y = np.arange(math.prod(lead), dtype=np.int64) * out_size
    return lowering.table(np.stack([offsets(a_dims), offsets(b_dims), y], axis=1))
