"""Layers with weights and normalisations, as torch runs them in torch's layout (N, C, *spatial)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.torch_ops.window import pads_of, uneven

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
Attrs, Values = dict[str, Any], list[Any]


def conv(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """Conv; pads that differ at the two ends are laid around the image first."""
    x, rank = v[0], v[0].ndim - 2
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    begin, end = pads_of(a, x.shape[2:], v[1].shape[2:], strides, dilations)
    if begin != end:
        x, begin = F.pad(x, uneven(begin, end)), [0] * rank
    bias = v[2] if len(v) > 2 else None
    return CONV[rank](x, v[1], bias, strides, begin, dilations, a.get("group", 1))


def conv_transpose(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """ConvTranspose: the whole output without pads, then cut (or widened by zeros), then the bias."""
    x, weight, rank = v[0], v[1], v[0].ndim - 2
    strides, dilations = a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    extra = a.get("output_padding", [0] * rank)
    extent = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations)]
    full = [(n - 1) * s + e + o for n, s, e, o in zip(x.shape[2:], strides, extent, extra)]
    same = a.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER")
    wanted = a.get("output_shape", [n * s for n, s in zip(x.shape[2:], strides)] if same else None)
    pads = a.get("pads", [0] * 2 * rank)
    begin, end = list(pads[:rank]), list(pads[rank:])
    if wanted is not None:
        for i, (n, w) in enumerate(zip(full, wanted)):
            less, more = max(n - w, 0) // 2, -(-max(n - w, 0) // 2)
            begin[i] = less if a.get("auto_pad") == b"SAME_UPPER" else more
            end[i] = n - w - begin[i]
    y = TRANSPOSED[rank](x, weight, None, strides, 0, 0, a.get("group", 1), dilations)
    y = F.pad(y, uneven([-b for b in begin], [o - e for o, e in zip(extra, end)]))
    return y + v[2].reshape(-1, *[1] * rank) if len(v) > 2 else y


def batch_norm(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """BatchNormalization: with the batch's statistics while the module trains."""
    keep = a.get("momentum", 0.9)
    return F.batch_norm(v[0], v[3], v[4], v[1], v[2], module.training, 1 - keep, a.get("epsilon", 1e-5))


def gemm(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """Gemm; where it is a plain layer, torch's."""
    x = v[0].T if a.get("transA") else v[0]
    weight = v[1] if a.get("transB") else v[1].T
    bias = v[2] if len(v) > 2 else None
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    if alpha == 1 and (bias is None or (beta == 1 and bias.shape == weight.shape[:1])):
        return F.linear(x, weight, bias)
    y = alpha * (x @ weight.T)
    return y if bias is None else y + beta * bias


def layer_norm(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """LayerNormalization over the axes from `axis` on; scale and bias broadcast."""
    x = v[0]
    axes = tuple(range(a.get("axis", -1) % x.ndim, x.ndim))
    centred = x - x.mean(axes, keepdim=True)
    y = centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + a.get("epsilon", 1e-5)) * v[1]
    return y + v[2] if len(v) > 2 else y


def instance_norm(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """InstanceNormalization."""
    return F.instance_norm(v[0], None, None, v[1], v[2], True, 0.0, a.get("epsilon", 1e-5))


def group_norm(module: torch.nn.Module, a: Attrs, v: Values) -> Tensor:
    """GroupNormalization of opset 21: one scale a channel."""
    return F.group_norm(v[0], a["num_groups"], v[1], v[2], a.get("epsilon", 1e-5))


def gather(module: torch.nn.Module, a: Attrs, v: Values) -> Any:
    """Gather, along any axis; an embedding is one along the first."""
    axis = a.get("axis", 0) % v[0].ndim
    if not isinstance(v[0], Tensor):
        return v[0].take(v[1], axis)
    index = torch.as_tensor(v[1])
    index = torch.where(index < 0, index + v[0].shape[axis], index)
    shape = (*v[0].shape[:axis], *index.shape, *v[0].shape[axis + 1 :])
    return v[0].index_select(axis, index.reshape(-1)).reshape(shape)


RUN = {
    "Conv": conv, "ConvTranspose": conv_transpose, "BatchNormalization": batch_norm, "Gemm": gemm,
    "MatMul": lambda m, a, v: v[0] @ v[1], "LayerNormalization": layer_norm, "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm, "Gather": gather,
}  # fmt: skip
