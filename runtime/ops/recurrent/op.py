"""LSTM, GRU and RNN over sequences, with ONNX's options.

x is (T, N, C), or (N, T, C) with layout 1; D directions, H hidden units. Gates are stacked in ONNX's order: LSTM
i o f c, GRU z r h, RNN has one. Weights are (D, GATES * H, C) for the input and (D, GATES * H, H) for the recurrence, biases
(D, 2 * GATES * H), input part first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from alula.runtime.errors import ShapeError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.ops import checks
from alula.runtime.ops.contract import Op, Specs, Values, register
from alula.runtime.ops.traits import BIAS, WEIGHT, Operand, always

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}  # is each reversed in time?

Activation = Callable[[Array, float, float], Array]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -80, 80))))  # clipped where float32's exp would overflow


# by name in lower case: the function of (x, alpha, beta), and the defaults of the parameters that it takes
ACTIVATIONS: dict[str, tuple[Activation, tuple[float, ...]]] = {
    "relu": (lambda x, a, b: np.maximum(x, 0), ()),
    "tanh": (lambda x, a, b: np.tanh(x), ()),
    "sigmoid": (lambda x, a, b: _sigmoid(x), ()),
    "softsign": (lambda x, a, b: x / (1 + np.abs(x)), ()),
    "softplus": (lambda x, a, b: np.logaddexp(x, x.dtype.type(0)), ()),
    "leakyrelu": (lambda x, a, b: np.where(x < 0, a * x, x), (0.01,)),
    "elu": (lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x), (1.0,)),
    "thresholdedrelu": (lambda x, a, b: np.where(x > a, x, 0), (1.0,)),
    "affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), (1.0, 1.0)),
    "hardsigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), (0.2, 0.5)),
}


@frozen
class LSTMAttrs:
    """ONNX's attributes; `clip` 0 means none, `activations` empty means Sigmoid, Tanh, Tanh."""

    activation_alpha: tuple[float, ...] = ()
    activation_beta: tuple[float, ...] = ()
    activations: tuple[str, ...] = ()
    clip: float = 0.0
    direction: str = "forward"
    hidden_size: int = 0
    input_forget: int = 0
    layout: int = 0


@frozen
class GRUAttrs:
    """ONNX's attributes; `clip` 0 means none, `activations` empty means Sigmoid, Tanh."""

    activation_alpha: tuple[float, ...] = ()
    activation_beta: tuple[float, ...] = ()
    activations: tuple[str, ...] = ()
    clip: float = 0.0
    direction: str = "forward"
    hidden_size: int = 0
    layout: int = 0
    linear_before_reset: int = 0


@frozen
class RNNAttrs:
    """ONNX's attributes; `clip` 0 means none, `activations` empty means Tanh."""

    activation_alpha: tuple[float, ...] = ()
    activation_beta: tuple[float, ...] = ()
    activations: tuple[str, ...] = ()
    clip: float = 0.0
    direction: str = "forward"
    hidden_size: int = 0
    layout: int = 0


Attrs = LSTMAttrs | GRUAttrs | RNNAttrs
# how many gates, and what is applied to them by default
GATES: dict[type, tuple[int, tuple[str, ...]]] = {
    LSTMAttrs: (4, ("Sigmoid", "Tanh", "Tanh")),
    GRUAttrs: (3, ("Sigmoid", "Tanh")),
    RNNAttrs: (1, ("Tanh",)),
}


def gate_functions(attrs: Attrs) -> list[list[tuple[str, float, float]]]:
    """Each direction's activations: name in lower case, alpha, beta.

    raise : ShapeError on an unknown activation or a wrong number of them
    """
    default = GATES[type(attrs)][1]
    if attrs.direction not in DIRECTIONS:
        raise ShapeError(
            f"expected direction to be one of {', '.join(DIRECTIONS)}, got {attrs.direction!r}; check the model"
        )
    count = len(DIRECTIONS[attrs.direction])
    names = attrs.activations or default * count
    if len(names) != len(default) * count:
        raise ShapeError(f"expected {len(default) * count} activations, got {len(names)}; check the model")
    alphas, betas = iter(attrs.activation_alpha), iter(attrs.activation_beta)
    functions = [_parameters(name, alphas, betas) for name in names]
    return [functions[d * len(default) : (d + 1) * len(default)] for d in range(count)]


def _parameters(name: str, alphas: Iterator[float], betas: Iterator[float]) -> tuple[str, float, float]:
    """An activation takes from the lists of alphas and betas only if it has such a parameter."""
    if name.lower() not in ACTIVATIONS:
        raise ShapeError(f"expected an activation among {', '.join(ACTIVATIONS)}, got {name!r}; check the model")
    _, defaults = ACTIVATIONS[name.lower()]
    alpha = next(alphas, defaults[0]) if defaults else 0.0
    beta = next(betas, defaults[1]) if len(defaults) > 1 else 0.0
    return name.lower(), alpha, beta


def _infer(attrs: Attrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x = checks.given(specs, 0, "X")
    is_lstm = isinstance(attrs, LSTMAttrs)
    gates = GATES[type(attrs)][0]
    d = len(gate_functions(attrs))
    checks.one_of("the input", x, checks.FLOATS)
    if len(x.dims) != 3:
        order = "(N, T, C)" if attrs.layout else "(T, N, C)"
        raise ShapeError(f"expected input {order}, got {checks.show(x.dims)}; reshape it")
    t, n, c = (x.dims[1], x.dims[0], x.dims[2]) if attrs.layout else x.dims
    recurrence = checks.given(specs, 2, "R")
    h = recurrence.dims[-1] if recurrence.dims else 0
    if h < 1 or attrs.hidden_size not in (0, h):
        raise ShapeError(
            f"expected R of {attrs.hidden_size} hidden units, got {checks.show(recurrence.dims)}; check the model"
        )
    state = (n, d, h) if attrs.layout else (d, n, h)
    wanted = {
        1: ("W", (d, gates * h, c)),
        2: ("R", (d, gates * h, h)),
        3: ("B", (d, 2 * gates * h)),
        5: ("initial_h", state),
        6: ("initial_c", state),
        7: ("P", (d, 3 * h)),
    }
    for i, (name, shape) in wanted.items():
        spec = checks.given(specs, i, name) if i < 3 else checks.optional(specs, i)
        checks.same_dtype(x, **{name: spec})
        if spec is not None and spec.dims != shape:
            raise ShapeError(f"expected {name} {checks.show(shape)}, got {checks.show(spec.dims)}; check the model")
    checks.vector("sequence_lens", checks.optional(specs, 4), n, "one length per sequence")
    lengths = checks.known(values, 4)
    if lengths is not None and (lengths.min() < 0 or lengths.max() > t):
        raise ShapeError(f"expected sequence_lens from 0 to {t}, got {lengths.tolist()}; check the model")
    y = checks.tensor((n, t, d, h) if attrs.layout else (t, d, n, h), x.dtype)
    last = TensorSpec(state, x.dtype)
    return (y, last, last) if is_lstm else (y, last)


Step = Callable[[Array, tuple[Array, ...]], tuple[Array, ...]]


def _scan(
    xs: Array, lengths: Array, reverse: bool, state: tuple[Array, ...], step: Step
) -> tuple[Array, tuple[Array, ...]]:
    """Run `step` over the sequences, each for its own length, from its own end if reversed.

    xs     : (T, N, GATES * H), what the gates get from the input
    state  : arrays (N, H), h first
    return : h at every time, zeros after a sequence's end (T, N, H), and the last state
    """
    t, n = xs.shape[:2]
    times = np.arange(t)[:, None]
    order = np.where(times < lengths, lengths - 1 - times, times) if reverse else np.broadcast_to(times, (t, n))
    batch = np.arange(n)
    ys = np.zeros((t, n, state[0].shape[1]), xs.dtype)
    for now in range(t):
        alive = (now < lengths)[:, None]
        new = step(xs[order[now], batch], state)
        state = tuple(np.where(alive, after, before) for after, before in zip(new, state, strict=True))
        ys[order[now], batch] = np.where(alive, state[0], 0)
    return ys, state


def _run(
    attrs: Attrs,
    make_step: Callable[[int], tuple[Array, Step]],
    x: Array,
    weight: Array,
    h: int,
    sequence_lens: Array | None,
    states: Sequence[Array | None],
) -> tuple[Array, ...]:
    """All ops: lay out, run each direction, lay out again."""
    dtype = np.result_type(x, np.float32)
    xs = (x.transpose(1, 0, 2) if attrs.layout else x).astype(dtype, copy=False)  # (T, N, C)
    t, n, _ = xs.shape
    lengths = np.full(n, t) if sequence_lens is None else sequence_lens.astype(np.int64)
    ys, ends = [], []
    for d, reverse in enumerate(DIRECTIONS[attrs.direction]):
        bias, step = make_step(d)
        first = tuple(
            np.zeros((n, h), dtype) if s is None else (s[:, d] if attrs.layout else s[d]).astype(dtype) for s in states
        )
        y, end = _scan(xs @ weight[d].T.astype(dtype) + bias, lengths, reverse, first, step)
        ys.append(y)
        ends.append(end)
    outputs = [np.stack(ys, axis=1), *(np.stack(part) for part in zip(*ends, strict=True))]
    if attrs.layout:
        outputs = [outputs[0].transpose(2, 0, 1, 3), *(o.transpose(1, 0, 2) for o in outputs[1:])]
    return tuple(np.ascontiguousarray(o, dtype=x.dtype) for o in outputs)


def _apply(attrs: Attrs, function: tuple[str, float, float], x: Array) -> Array:
    """An activation of an input that is clipped first."""
    name, alpha, beta = function
    clipped = np.clip(x, -attrs.clip, attrs.clip) if attrs.clip else x
    return ACTIVATIONS[name][0](clipped, alpha, beta)


def lstm(
    attrs: LSTMAttrs,
    x: Array,
    weight: Array,
    recurrence: Array,
    bias: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
    initial_c: Array | None = None,
    peepholes: Array | None = None,
) -> tuple[Array, ...]:
    """Long short-term memory, with peepholes (D, 3 * H) in the order i o f.

    return : Y (T, D, N, H), the last h and the last c (D, N, H); with layout 1 N comes first
    source : ONNX LSTM-14
    """
    h = recurrence.shape[-1]
    dtype = np.result_type(x, np.float32)
    functions = gate_functions(attrs)

    def make_step(d: int) -> tuple[Array, Step]:
        f, g, out = functions[d]
        r = recurrence[d].T.astype(dtype)
        peep = np.zeros((3, h), dtype) if peepholes is None else peepholes[d].reshape(3, h).astype(dtype)
        peep_i, peep_o, peep_f = peep
        b = np.zeros((2, 4 * h), dtype) if bias is None else bias[d].reshape(2, 4 * h).astype(dtype)

        def step(gates: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
            h_before, c_before = state
            i, o, forget, c = np.split(gates + h_before @ r, 4, axis=1)
            i = _apply(attrs, f, i + peep_i * c_before)
            forget = 1 - i if attrs.input_forget else _apply(attrs, f, forget + peep_f * c_before)
            cell = forget * c_before + i * _apply(attrs, g, c)
            o = _apply(attrs, f, o + peep_o * cell)
            return o * ACTIVATIONS[out[0]][0](cell, *out[1:]), cell

        return b.sum(axis=0), step

    return _run(attrs, make_step, x, weight, h, sequence_lens, (initial_h, initial_c))


def gru(
    attrs: GRUAttrs,
    x: Array,
    weight: Array,
    recurrence: Array,
    bias: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
) -> tuple[Array, ...]:
    """Gated recurrent unit; `linear_before_reset` multiplies by the recurrence before the reset gate, as cuDNN does.

    return : Y (T, D, N, H) and the last h (D, N, H); with layout 1 N comes first
    source : ONNX GRU-14
    """
    h = recurrence.shape[-1]
    dtype = np.result_type(x, np.float32)
    functions = gate_functions(attrs)

    def make_step(d: int) -> tuple[Array, Step]:
        f, g = functions[d]
        r_zr, r_h = np.split(recurrence[d].T.astype(dtype), [2 * h], axis=1)
        b_x, b_r = np.zeros((2, 3 * h), dtype) if bias is None else bias[d].reshape(2, 3 * h).astype(dtype)
        # the hidden gate's recurrent bias belongs inside the reset gate's product
        b_inside = b_r[2 * h :]
        before = b_x + np.concatenate([b_r[: 2 * h], np.zeros(h, dtype)])

        def step(gates: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
            (last,) = state
            zr = _apply(attrs, f, gates[:, : 2 * h] + last @ r_zr)
            z, r = zr[:, :h], zr[:, h:]
            if attrs.linear_before_reset:
                new = gates[:, 2 * h :] + r * (last @ r_h + b_inside)
            else:
                new = gates[:, 2 * h :] + (r * last) @ r_h + b_inside
            return ((1 - z) * _apply(attrs, g, new) + z * last,)

        return before, step

    return _run(attrs, make_step, x, weight, h, sequence_lens, (initial_h,))


def rnn(
    attrs: RNNAttrs,
    x: Array,
    weight: Array,
    recurrence: Array,
    bias: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
) -> tuple[Array, ...]:
    """The plain recurrence h = f(x W' + h R' + b).

    return : Y (T, D, N, H) and the last h (D, N, H); with layout 1 N comes first
    source : ONNX RNN-14
    """
    h = recurrence.shape[-1]
    dtype = np.result_type(x, np.float32)
    functions = gate_functions(attrs)

    def make_step(d: int) -> tuple[Array, Step]:
        (f,) = functions[d]
        r = recurrence[d].T.astype(dtype)
        b = np.zeros((2, h), dtype) if bias is None else bias[d].reshape(2, h).astype(dtype)

        def step(gates: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
            return (_apply(attrs, f, gates + state[0] @ r),)

        return b.sum(axis=0), step

    return _run(attrs, make_step, x, weight, h, sequence_lens, (initial_h,))


def _macs(attrs: Attrs, specs: Specs, outputs: Sequence[TensorSpec]) -> int:
    t, n = checks.given(specs, 0, "X").dims[:2]
    return t * n * (checks.given(specs, 1, "W").size + checks.given(specs, 2, "R").size)


LEARNED = {1: Operand(WEIGHT, outputs=1), 2: Operand(WEIGHT, outputs=1), 3: Operand(BIAS)}

register(
    Op(
        "LSTM", _infer, lstm, LSTMAttrs, (3, 8), _macs, static_inputs=(4,), operands={**LEARNED, 7: Operand(WEIGHT)}, rank=always(3),
        optional_first=True,
    ),
    Op("GRU", _infer, gru, GRUAttrs, (3, 6), _macs, static_inputs=(4,), operands=LEARNED, rank=always(3), optional_first=True),
    Op("RNN", _infer, rnn, RNNAttrs, (3, 6), _macs, static_inputs=(4,), operands=LEARNED, rank=always(3)),
)  # fmt: skip
