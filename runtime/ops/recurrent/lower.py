"""LSTM and GRU: the input's share of all gates in one matrix product, then a kernel over the time steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from alula.runtime.graph import Array, Node
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.conv.lower_product import bias_ref, emit_conv, pack_bias, pack_panels
from alula.runtime.ops.elementwise.lower import Epilogue
from alula.runtime.ops.recurrent import kernel as kernels
from alula.runtime.ops.recurrent.op import gate_functions
from alula.runtime.ops.window import Window
from alula.runtime.planning.lowering import Lowering, Ref, Word, lowers


@lowers("LSTM")
def lower_lstm(lowering: Lowering, node: Node) -> bool:
    """LSTM with constant weights, sigmoid and tanh, over sequences of equal length."""
    if not _is_plain(lowering, node, ("sigmoid", "tanh", "tanh")):
        return False
    _, _, r, b, _, _, first_c, p = _inputs(node, 8)
    directions, _, h = lowering.spec(r).dims
    bias: Ref | None = None
    if b:
        bias = lowering.packed(
            b, Packing("lstm", lambda v: pack_bias((v[:, : 4 * h] + v[:, 4 * h :]).reshape(-1), lowering.tiles))
        )
    panel = kernels.RV * lowering.tiles.width
    order = Packing("lstm", lambda v: np.concatenate([pack_recurrent(part, lowering.tiles) for part in v]))
    shared = _run_words(lowering, node, 4, bias, lambda block: 2 * block * h + block * -(-4 * h // panel) * panel)
    lowering.emit(
        kernels.f32_lstm, inplace=None, **shared,
        weight=lowering.packed(r, order),
        peepholes=lowering.ref(p) if p else lowering.zeros(12 * directions * h),
        first_c=_first(lowering, node, first_c), last_c=_last(lowering, node, 2), input_forget=int(bool(node.attrs.input_forget)),
    )  # fmt: skip
    return True


@lowers("GRU")
def lower_gru(lowering: Lowering, node: Node) -> bool:
    """GRU with constant weights, sigmoid and tanh, over sequences of equal length."""
    if not _is_plain(lowering, node, ("sigmoid", "tanh")):
        return False
    _, _, r, b, _, _ = _inputs(node, 6)
    directions, _, h = lowering.spec(r).dims
    bias: Ref | None = None
    inside = lowering.zeros(4 * directions * h)
    if b:
        bias = lowering.packed(b, Packing("gru", lambda v: pack_bias(_gru_bias(v, h), lowering.tiles)))
        inside = lowering.packed(b, Packing("gru inside", lambda v: np.ascontiguousarray(v[:, 5 * h :], np.float32)))
    panel = kernels.RV * lowering.tiles.width
    columns = (-(-2 * h // panel) + -(-h // panel)) * panel

    def pack(matrix: Array) -> Array:
        parts = [pack_recurrent(gates, lowering.tiles) for d in matrix for gates in (d[: 2 * h], d[2 * h :])]
        return np.concatenate(parts)

    lowering.emit(
        kernels.f32_gru, inplace=None, **_run_words(lowering, node, 3, bias, lambda block: 2 * block * h + block * columns),
        weight=lowering.packed(r, Packing("gru", pack)), bias=inside, linear_before_reset=int(bool(node.attrs.linear_before_reset)),
    )  # fmt: skip
    return True


def pack_recurrent(matrix: Array, tiles: Tiles) -> Array:
    """(GATES, H) as panels (ceil(GATES / RN), H, RN), flat, filled up with zeros."""
    width = kernels.RV * tiles.width
    padded = np.pad(matrix.astype(np.float32).T, ((0, 0), (0, -len(matrix) % width)))
    return np.ascontiguousarray(padded.reshape(len(padded), -1, width).transpose(1, 0, 2)).reshape(-1)


def _gru_bias(bias: Array, h: int) -> Array:
    """What can be added before the recurrence: all but the hidden gate's recurrent bias."""
    total = bias[:, : 3 * h].astype(np.float32)  # a copy
    total[:, : 2 * h] += bias[:, 3 * h : 5 * h]
    return total.reshape(-1)


def _inputs(node: Node, count: int) -> tuple[str, ...]:
    return (*node.inputs, *[""] * count)[:count]


def _is_plain(lowering: Lowering, node: Node, activations: tuple[str, ...]) -> bool:
    """Whether the kernels compute this node."""
    x, w, r, b, lengths = _inputs(node, 5)
    spec, attrs = lowering.spec(x), node.attrs
    default = [[(name, 0.0, 0.0) for name in activations]] * lowering.spec(r).dims[0]
    times = spec.dims[1] if attrs.layout else spec.dims[0]
    given = lowering.value(lengths) if lengths else None
    return (
        spec.dtype == "float32" and spec.size > 0 and not node.fused and not attrs.clip and gate_functions(attrs) == default
        and all(not name or lowering.known(name) for name in (w, r, b))
        and (not lengths or (given is not None and bool(np.all(given == times))))
    )  # fmt: skip


def _run_words(
    lowering: Lowering, node: Node, gates: int, bias: Ref | None, scratch_of: Callable[[int], int]
) -> dict[str, Word | list[Word]]:
    """Emit the input's product; the words that both kernels take.

    scratch_of : (sequences of a block) -> elements that a thread needs for it
    """
    x, w, r, _, _, first_h = _inputs(node, 6)
    spec, tiles, threads = lowering.spec(x), lowering.tiles, lowering.n_threads
    directions, _, h = lowering.spec(r).dims
    by_sequence = bool(node.attrs.layout)
    t, n = (spec.dims[1], spec.dims[0]) if by_sequence else spec.dims[:2]
    rows, c, columns = t * n, spec.dims[2], directions * gates * h
    products = lowering.scratch(4 * rows * columns)
    weight = lowering.packed(w, Packing("recurrent", lambda v: pack_panels(v.reshape(columns, c).T, tiles)))
    point = Window((1, 1), (1, 1), (1, 1), (0, 0), (0, 0), (1, rows))
    emit_conv(lowering, lowering.ref(x), weight, bias or bias_ref(lowering, "", columns), products, point, (1, 1, rows, c), c, columns,
              (rows * columns, rows * columns, columns), Epilogue(-math.inf, math.inf, 0, []))  # fmt: skip
    block = max(1, min(tiles.rows * tiles.vectors // kernels.RV, -(-n * directions // threads)))
    size = kernels.TABLE + scratch_of(block)
    size += -size % 16
    keep_y = bool(node.outputs[0])
    return {
        "gates": products, "first_h": _first(lowering, node, first_h), "last_h": _last(lowering, node, 1),
        "y": lowering.ref(node.outputs[0]) if keep_y else 0, "keep_y": int(keep_y),
        "scratch": lowering.scratch(4 * size * threads), "scratch_size": size, "t": t, "n": n, "h": h, "directions": directions,
        "reversed_first": int(node.attrs.direction == "reverse"), "block": block,
        "gates_t": columns if by_sequence else n * columns, "gates_n": t * columns if by_sequence else columns,
        "y_t": directions * h if by_sequence else directions * n * h, "y_n": t * directions * h if by_sequence else h,
        "y_d": h if by_sequence else n * h,
        "state_n": directions * h if by_sequence else h, "state_d": h if by_sequence else n * h,
    }  # fmt: skip


def _state_bytes(lowering: Lowering, node: Node) -> int:
    spec = lowering.spec(node.inputs[0])
    directions, _, h = lowering.spec(node.inputs[2]).dims
    return 4 * directions * spec.dims[0 if node.attrs.layout else 1] * h


def _first(lowering: Lowering, node: Node, name: str) -> Ref:
    """The address of an initial state, zeros if it is absent."""
    return lowering.ref(name) if name else lowering.zeros(_state_bytes(lowering, node))


def _last(lowering: Lowering, node: Node, index: int) -> Ref:
    """Where a last state goes; scratch if nothing reads it."""
    wanted = index < len(node.outputs) and node.outputs[index]
    return lowering.ref(node.outputs[index]) if wanted else lowering.scratch(_state_bytes(lowering, node))
