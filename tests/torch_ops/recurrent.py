"""LSTM and GRU, step by step, with ONNX's order of gates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Attrs, Values = dict[str, Any], list[Any]


def _given(v: Values, index: int) -> Tensor | None:
    return v[index] if len(v) > index else None


def _directions(a: Attrs) -> tuple[bool, ...]:
    return {b"forward": (False,), b"reverse": (True,), b"bidirectional": (False, True)}[a.get("direction", b"forward")]


def _scan(a: Attrs, v: Values, gates: int, step: Any, states: int) -> tuple[Tensor, ...]:
    """Both ops: each direction over the sequence (T, N, C)."""
    x, hidden = (v[0].transpose(0, 1) if a.get("layout") else v[0]), v[2].shape[-1]
    ys, ends = [], []
    for d, backwards in enumerate(_directions(a)):
        bias = v[3][d] if _given(v, 3) is not None else x.new_zeros(2 * gates * hidden)
        state = []
        for index in range(5, 5 + states):
            first = _given(v, index)
            state.append(
                x.new_zeros(x.shape[1], hidden) if first is None else first[:, d] if a.get("layout") else first[d]
            )
        outs = []
        for at in range(x.shape[0])[:: -1 if backwards else 1]:
            state = step(x[at], state, v[1][d], v[2][d], bias[: gates * hidden], bias[gates * hidden :])
            outs.append(state[0])
        ys.append(torch.stack(outs[::-1] if backwards else outs))
        ends.append(state)
    y = torch.stack(ys, 1)  # (T, D, N, H)
    last = [torch.stack([end[i] for end in ends]) for i in range(states)]
    if a.get("layout"):
        return (y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in last))
    return (y, *last)


def lstm(module: torch.nn.Module, a: Attrs, v: Values) -> tuple[Tensor, ...]:
    """LSTM: gates i o f c."""

    def step(x: Tensor, state: list[Tensor], w: Tensor, r: Tensor, b_x: Tensor, b_r: Tensor) -> list[Tensor]:
        i, o, f, c = (x @ w.T + state[0] @ r.T + b_x + b_r).chunk(4, -1)
        cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(c)
        return [torch.sigmoid(o) * torch.tanh(cell), cell]

    return _scan(a, v, 4, step, 2)


def gru(module: torch.nn.Module, a: Attrs, v: Values) -> tuple[Tensor, ...]:
    """GRU: gates z r h."""

    def step(x: Tensor, state: list[Tensor], w: Tensor, r: Tensor, b_x: Tensor, b_r: Tensor) -> list[Tensor]:
        h = state[0]
        w_z, w_r, w_h = (x @ w.T + b_x).chunk(3, -1)
        r_zr, r_h = r[: 2 * h.shape[-1]], r[2 * h.shape[-1] :]
        b_zr, b_h = b_r[: 2 * h.shape[-1]], b_r[2 * h.shape[-1] :]
        z_h, r_ = (h @ r_zr.T + b_zr).chunk(2, -1)
        z, reset = torch.sigmoid(w_z + z_h), torch.sigmoid(w_r + r_)
        if a.get("linear_before_reset"):
            new = torch.tanh(w_h + reset * (h @ r_h.T + b_h))
        else:
            new = torch.tanh(w_h + (reset * h) @ r_h.T + b_h)
        return [(1 - z) * new + z * h]

    return _scan(a, v, 3, step, 1)


RUN = {"LSTM": lstm, "GRU": gru}
