"""Gradients of LSTM, GRU and RNN: through their time steps (Werbos, Backpropagation through time, 1990).

The backward pass recomputes the time steps, as separate nodes. All of ONNX's options are supported; sequence lengths must
be known when the program is planned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array, Node
from alula.runtime.ops.recurrent.op import DIRECTIONS, GATES, gate_functions
from alula.runtime.planning.autodiff import Tape, rule

Function = tuple[str, float, float]
States = tuple[str, ...]
Step = Callable[[str, States], States]


@rule("LSTM", "GRU", "RNN")
def recurrent(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """Gradients of the input, the weights, the biases and the first states."""
    return tape.through(node, lambda: _Unrolled(tape, node).outputs(), gradients)


class _Unrolled:
    """One LSTM, GRU or RNN as the nodes of its steps."""

    def __init__(self, tape: Tape, node: Node) -> None:
        self.tape, self.node, self.attrs = tape, node, node.attrs
        self.is_lstm = node.op == "LSTM"
        self.gates = GATES[type(node.attrs)][0]
        self.inputs = (*node.inputs, *[""] * 8)[:8]
        self.x = self._on("Transpose", self.inputs[0], perm=(1, 0, 2)) if self.attrs.layout else self.inputs[0]
        self.t, self.n, self.c = tape.spec(self.x).dims
        self.h = tape.spec(self.inputs[2]).dims[-1]
        lengths = tape.value(self.inputs[4]) if self.inputs[4] else np.full(self.n, self.t)
        if lengths is None:
            raise GraphError(
                f"{node.label}: expected lengths of sequences that are known before the run, got an input; "
                "freeze what lies before it, or make sequence_lens a constant"
            )
        self.lengths: Array = lengths.astype(np.int64)

    def outputs(self) -> list[str]:
        """Y, the last h, and the last c of an LSTM."""
        results = [self._direction(d, reverse) for d, reverse in enumerate(DIRECTIONS[self.attrs.direction])]
        y = self._joined([self.tape.reshaped(y, (self.t, 1, self.n, self.h)) for y, _ in results], 1)
        ends = [
            self._joined([self.tape.reshaped(end, (1, self.n, self.h)) for end in part], 0)
            for part in zip(*(state for _, state in results), strict=True)
        ]
        if self.attrs.layout:
            return [
                self._on("Transpose", y, perm=(2, 0, 1, 3)),
                *(self._on("Transpose", end, perm=(1, 0, 2)) for end in ends),
            ]
        return [y, *ends]

    def _direction(self, d: int, reverse: bool) -> tuple[str, States]:
        """h at every time (T, N, H), and the last state."""
        before, step = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.node.op](d)
        wide = self.gates * self.h
        flat = self.tape.reshaped(self.x, (self.t * self.n, self.c))
        xs = self._product(flat, self._row(1, d, (wide, self.c)))
        xs = self._on("Add", xs, before) if before else xs
        times, batch = np.arange(self.t)[:, None], np.arange(self.n)
        order = np.where(times < self.lengths, self.lengths - 1 - times, times) if reverse else times + 0 * batch
        uneven = bool((self.lengths != self.t).any())
        if uneven or reverse:
            xs = self._taken(xs, order)
        parts = self._split(xs, self.t)
        state = tuple(self._first(5 + i, d) for i in range(2 if self.is_lstm else 1))
        ys = []
        for now, part in enumerate(parts):
            new = step(part, state)
            if uneven:
                alive = (now < self.lengths)[:, None].astype(np.float32)
                state = tuple(self._blend(alive, a, b) for a, b in zip(new, state, strict=True))
                ys.append(self._on("Mul", state[0], self.tape.constant(alive)))
            else:
                state = new
                ys.append(new[0])
        y = self._joined(ys, 0)
        if uneven or reverse:
            y = self._taken(y, order)  # the order is its own inverse
        return self.tape.reshaped(y, (self.t, self.n, self.h)), state

    def _rnn(self, d: int) -> tuple[str, Step]:
        (f,) = gate_functions(self.attrs)[d]
        recurrence = self._row(2, d, (self.h, self.h))
        before = ""
        if self.inputs[3]:
            x_part, h_part = self._split(self._row(3, d, (2, self.h)), 2)
            before = self._on("Add", x_part, h_part)

        def step(gates: str, state: States) -> States:
            return (self._apply(f, self._on("Add", gates, self._product(state[0], recurrence))),)

        return before, step

    def _lstm(self, d: int) -> tuple[str, Step]:
        f, g, out = gate_functions(self.attrs)[d]
        recurrence = self._row(2, d, (4 * self.h, self.h))
        before = ""
        if self.inputs[3]:
            x_part, h_part = self._split(self._row(3, d, (2, 4 * self.h)), 2)
            before = self._on("Add", x_part, h_part)
        peep = self._split(self._row(7, d, (3, self.h)), 3) if self.inputs[7] else []

        def step(gates: str, state: States) -> States:
            last, cell_before = state
            i, o, forget, c = self._split(self._on("Add", gates, self._product(last, recurrence)), 4, axis=1)
            if peep:
                i = self._on("Add", i, self._on("Mul", peep[0], cell_before))
                forget = self._on("Add", forget, self._on("Mul", peep[2], cell_before))
            i = self._apply(f, i)
            forget = self._on("Sub", self._number(1.0), i) if self.attrs.input_forget else self._apply(f, forget)
            cell = self._on("Add", self._on("Mul", forget, cell_before), self._on("Mul", i, self._apply(g, c)))
            if peep:
                o = self._on("Add", o, self._on("Mul", peep[1], cell))
            return self._on("Mul", self._apply(f, o), self._apply(out, cell, clipped=False)), cell

        return before, step

    def _gru(self, d: int) -> tuple[str, Step]:
        f, g = gate_functions(self.attrs)[d]
        r_z, r_r, r_h = self._split(self._row(2, d, (3 * self.h, self.h)), 3)
        before = inside = ""
        if self.inputs[3]:
            x_part, h_part = self._split(self._row(3, d, (2, 3 * self.h)), 2)
            z, r, inside = self._split(self.tape.reshaped(h_part, (1, 3 * self.h)), 3, axis=1)
            nothing = self.tape.constant(np.zeros((1, self.h), np.float32))
            before = self._on("Add", x_part, self._joined([z, r, nothing], 1))

        def step(gates: str, state: States) -> States:
            (last,) = state
            x_z, x_r, x_h = self._split(gates, 3, axis=1)
            z = self._apply(f, self._on("Add", x_z, self._product(last, r_z)))
            r = self._apply(f, self._on("Add", x_r, self._product(last, r_r)))
            if self.attrs.linear_before_reset:
                part = self._product(last, r_h)
                part = self._on("Mul", r, self._on("Add", part, inside) if inside else part)
            else:
                part = self._product(self._on("Mul", r, last), r_h)
                part = self._on("Add", part, inside) if inside else part
            new = self._apply(g, self._on("Add", x_h, part))
            rest = self._on("Sub", self._number(1.0), z)
            return (self._on("Add", self._on("Mul", rest, new), self._on("Mul", z, last)),)

        return before, step

    def _apply(self, function: Function, x: str, clipped: bool = True) -> str:
        """An activation, of an input that is clipped first."""
        name, alpha, beta = function
        if self.attrs.clip and clipped:
            x = self._on("Clip", x, self._number(-self.attrs.clip), self._number(self.attrs.clip))
        if name in ("sigmoid", "tanh", "relu", "softplus"):
            return self._on(name.capitalize(), x)
        if name == "leakyrelu":
            return self._on("LeakyRelu", x, alpha=alpha)
        if name == "elu":
            return self._on("Elu", x, alpha=alpha)
        if name == "hardsigmoid":
            return self._on("HardSigmoid", x, alpha=alpha, beta=beta)
        if name == "affine":
            return self._on("Add", self._on("Mul", x, self._number(alpha)), self._number(beta))
        if name == "scaledtanh":
            return self._on("Mul", self._on("Tanh", self._on("Mul", x, self._number(beta))), self._number(alpha))
        if name == "softsign":
            return self._on("Div", x, self._on("Add", self._on("Abs", x), self._number(1.0)))
        above = self._on("Greater", x, self._number(alpha))  # thresholdedrelu
        return self._on("Where", above, x, self._number(0.0))

    def _on(self, op: str, *inputs: str, **attrs: Any) -> str:
        return str(self.tape.node(op, list(inputs), **attrs))

    def _number(self, value: float) -> str:
        return self.tape.constant(value)

    def _product(self, rows: str, weights: str) -> str:
        """rows (N, K) by weights (M, K), transposed."""
        return self._on("Gemm", rows, weights, transB=1)

    def _row(self, index: int, d: int, dims: tuple[int, ...]) -> str:
        """Direction d of an input, in other dimensions."""
        count = self.tape.spec(self.inputs[index]).dims[0]
        return self.tape.reshaped(self._split(self.inputs[index], count)[d], dims)

    def _first(self, index: int, d: int) -> str:
        """The first state (N, H) of a direction; zeros if none is given."""
        name = self.inputs[index]
        if not name:
            return self.tape.constant(np.zeros((self.n, self.h), np.float32))
        transposed = self._on("Transpose", name, perm=(1, 0, 2)) if self.attrs.layout else name
        count = self.tape.spec(transposed).dims[0]
        return self.tape.reshaped(self._split(transposed, count)[d], (self.n, self.h))

    def _split(self, name: str, count: int, axis: int = 0) -> list[str]:
        if count == 1:
            return [name]
        size = self.tape.spec(name).dims[axis] // count
        sizes = self.tape.constant([size] * count, "int64")
        return list(self.tape.node("Split", [name, sizes], outputs=count, axis=axis))

    def _joined(self, names: Sequence[str], axis: int) -> str:
        return names[0] if len(names) == 1 else self._on("Concat", *names, axis=axis)

    def _taken(self, rows: str, order: Array) -> str:
        """Rows (T * N, ...) in another order of times, which may differ between sequences."""
        index = (order * self.n + np.arange(self.n)).reshape(-1)
        return self._on("Gather", rows, self.tape.constant(index, "int64"), axis=0)

    def _blend(self, alive: Array, new: str, old: str) -> str:
        kept = self._on("Mul", old, self.tape.constant(1 - alive))
        return self._on("Add", self._on("Mul", new, self.tape.constant(alive)), kept)
