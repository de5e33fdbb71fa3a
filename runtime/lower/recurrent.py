"""LSTM and GRU: the input's part of all gates as one matrix product, then a kernel that runs through time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from alula.runtime.graph import Array, Node
from alula.runtime.kernels import recurrent as kernels
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.lower.conv import bias_ref, emit_conv, pack_bias, pack_panels
from alula.runtime.lower.steps import Epilogue
from alula.runtime.lowering import Lowering, Ref
from alula.runtime.ops.window import Window


def lower_lstm(lowering: Lowering, node: Node) -> bool:
    """LSTM with constant weights, sigmoid and tanh, over sequences of equal length."""
    if not _is_plain(lowering, node, ("sigmoid", "tanh", "tanh")):
        return False
    x, w, r, b, _, first_h, first_c, p = (*node.inputs, *[""] * 8)[:8]
    h, directions = lowering.spec(r).dims[-1], lowering.spec(r).dims[0]
    tiles = lowering.tiles
    gates = _emit_gates(lowering, x, w, b, 4 * h, "lstm", lambda bias: bias.reshape(directions, 2, 4 * h).sum(axis=1))
    columns, block, shared = _shared(lowering, node, 4)
    size = kernels.TABLE + block * (2 * h + -(-4 * h // columns) * columns)
    size += -size % 16
    zeros = lowering.zeros(4 * lowering.spec(x).size)
    lowering.emit(
        kernels.f32_lstm, gates=gates, peepholes=lowering.ref(p) if p else lowering.zeros(12 * directions * h),
        weight=lowering.packed(r, "lstm", lambda m: np.concatenate([pack_panels(d.T, _wide(tiles)) for d in m])),
        first_c=lowering.ref(first_c) if first_c else zeros, last_c=_state(lowering, node, 2), input_forget=int(node.attrs.input_forget),
        scratch=lowering.scratch(4 * size * lowering.n_threads), scratch_size=size, **shared,
    )  # fmt: skip
    return True
