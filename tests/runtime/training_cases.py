"""Cases of what only training runs: batch normalisation that learns, gradients, losses, optimiser steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from tests.runtime.activation_cases import slopes
from tests.runtime.kernel_case import Case, Input, Stage, f, scalar


def batch_normalisation(v: int) -> Iterator[Case]:
    """Statistics of the batch and gradients: channels that are no whole vectors, rows that are no whole strips.

    v : lanes of a vector
    """
    shapes = [(1, 1, 1, 3), (2, 3, 5, 1), (3, 2), (1, 7, 7, v), (2, 5, 7, v + 5), (2, 16, 17, 2 * v + 4), (1, 3, 2, 7 * v),
              (2, 33, 9, 4 * v + 6), (700, 5)]  # fmt: skip
    positive = {"low": 0.1, "high": 2}
    for shape in shapes:
        c, rows = shape[-1], 1
        for dim in shape[:-1]:
            rows *= dim
        x, vectors = f(*shape), (f(c, **positive), f(c), f(c), f(c, **positive))
        attrs = {"epsilon": 1e-3, "momentum": 0.8, "unbiased": c % 2}
        yield Case("BatchNormalizationTraining", (x, *vectors), attrs, n_outputs=5, terms=rows, slack=16)
        for tail in (
            (Stage("Relu"),), (Stage("Add", (f(*shape),)), Stage("Relu")), (Stage("Add", (f(*shape),)),),
            (Stage("Clip", (scalar(0), scalar(6))),), (Stage("Mul", (f(c),)), Stage("Tanh")), (Stage("Relu"), Stage("Add", (f(*shape),))),
        ):  # fmt: skip
            yield Case("BatchNormalizationTraining", (x, *vectors), {}, tail, n_outputs=5, terms=rows, slack=32)
        # by statistics that are known, or not
        for tail in ((), (Stage("Relu"),), (Stage("Mul", (f(c),)), Stage("Tanh"))):
            yield Case("BatchNormalization", (x, *vectors), {}, tail, terms=4, slack=16)
        known = tuple(replace(vector, known=True) for vector in vectors)
        yield Case("BatchNormalization", (x, *known), {}, (Stage("Relu"),), terms=4, slack=16)
        inputs = (f(*shape), x, f(c, **positive), f(c), f(c, **positive))
        yield Case("BatchNormalizationGrad", inputs, n_outputs=3, terms=rows, slack=16)
        for bounds in ({"low": 0.0}, {"low": -0.71, "high": 1.3}):
            yield Case("BatchNormalizationGrad", (*inputs, f(c)), bounds, n_outputs=3, terms=rows, slack=16)
        for tail in ((), (Stage("Relu"),), (Stage("Add", (f(*shape),)), Stage("Relu"))):
            yield Case("BatchNormalizationApply", (x, *vectors), {}, tail, terms=4, slack=16)


def gradients_of_activations(v: int) -> Iterator[Case]:
    """Slopes, and where they jump."""
    x = f(2, 3, 5, 7)
    yield from slopes(v)
    yield Case("ReluGrad", (f(3, 40), f(3, 40, special=True)), exact=True)
    for bounds in ((scalar(-1), scalar(2)), (None, scalar(2)), (scalar(0.5),)):
        yield Case("ClipGrad", (x, x, *bounds), exact=True)
        yield Case("Mul", (x, f(7)), fused=(Stage("ClipGrad", (x, *(b or scalar(-9) for b in bounds))),), exact=True)
    yield Case("ClipGrad", (x, x, f(), scalar(2)), exact=True, kernel=False)


def gradients_of_pools(v: int) -> Iterator[Case]:
    """Windows that overlap or do not, hang over the border or do not; channels that are no whole vectors."""
    for c in (1, 3, v - 1, v + 5, 4 * v + 1):
        for spatial, out, attrs in (
            ((7, 9), (4, 5), {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
            ((6, 5), (3, 3), {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1}),
            ((6, 11), (6, 11), {"kernel_shape": (2, 3), "dilations": (1, 2), "auto_pad": "SAME_UPPER"}),
            ((11,), (4,), {"kernel_shape": (4,), "strides": (3,), "pads": (1, 2)}),
        ):
            dy = f(2, *out, c)
            yield Case("MaxPoolGrad", (dy, f(2, *spatial, c, low=-0.5, high=0.5)), attrs, terms=9)
            for more in ({}, {"count_include_pad": 1}) if "pads" in attrs else ({},):
                yield Case("AveragePoolGrad", (dy,), {**attrs, **more, "input_shape": (2, *spatial, c)}, terms=9)


def gradients_of_movement() -> Iterator[Case]:
    """Slices with steps of either sign, look-ups with repeated and negative indices."""

    def known(*values: int) -> Input:
        return Input((len(values),), "int64", values, known=True)

    for starts, ends, axes, steps, cut in (
        ((1, 0), (9, -1), (1, 2), (1, 1), (3, 4, 5)), ((-1,), (-99,), (2,), (-2,), (3, 5, 3)), ((0,), (3,), (0,), (2,), (2, 5, 6)),
        ((0,), (9,), (1,), (1,), (3, 5, 6)), ((3,), (3,), (1,), (1,), (3, 0, 6)),
    ):  # fmt: skip
        inputs = (f(*cut), known(*starts), known(*ends), known(*axes), known(*steps))
        yield Case("SliceGrad", inputs, {"shape": (3, 5, 6)}, exact=True)
    for shape, axis, indices in (
        ((5, 3), 0, Input((2, 4), "int64", low=-5, high=5)), ((5, 37), 0, Input((64,), "int32", low=0, high=5)),
        ((2, 6, 3), 1, Input((4,), "int64", (5, -6, 5, 0), known=True)), ((3, 7), -1, Input((9,), "int64", low=0, high=7)),
        ((4, 3), 0, Input((0,), "int64")),
    ):  # fmt: skip
        rank = axis % len(shape)
        dy = (*shape[:rank], *indices.shape, *shape[rank + 1 :])
        yield Case("GatherGrad", (f(*dy), indices), {"shape": shape, "axis": axis}, terms=64)


def losses(v: int) -> Iterator[Case]:
    """Softmax with cross-entropy and its gradient; CTC."""
    for shape, smoothing, reduction in itertools.product(
        ((1, 10), (7, 1), (5, v + 1), (2, 3, 4, 21), (3, 4097)), (0.0, 0.1), ("mean", "sum")
    ):
        labels = Input(shape[:-1], "int64", low=0, high=shape[-1])
        attrs = {"label_smoothing": smoothing, "reduction": reduction, "ignore_index": 2}
        yield Case("CrossEntropy", (f(*shape), labels), attrs, n_outputs=2, terms=shape[-1], slack=8)
        log_prob = f(*shape, low=-9, high=0)
        yield Case("CrossEntropyGrad", (f(), log_prob, labels), attrs, slack=4)
        weights = f(shape[-1], low=0.2, high=2)
        yield Case("CrossEntropy", (f(*shape), labels, weights), attrs, n_outputs=2, terms=shape[-1], slack=8)
        yield Case("CrossEntropyGrad", (f(), log_prob, labels, weights), attrs, terms=shape[-1], slack=8)
    for (times, classes, length), reduction in itertools.product(
        ((1, 3, 1), (9, 5, 3), (40, v + 7, 12)), ("mean", "sum")
    ):
        labels = Input((4, length), "int64", low=1, high=classes)
        counts = (
            Input((4,), "int64", (times, times, max(times - 2, 1), times)),
            Input((4,), "int64", (0, 1, 1, length)),
        )
        inputs = (f(4, times, classes, low=-5, high=0), labels, *counts)
        yield Case("CTCLoss", inputs, {"reduction": reduction}, n_outputs=3, terms=times, slack=16)
    impossible = (f(1, 2, 3, low=-5, high=0), Input((1, 2), "int64", ((1, 1),)), *[Input((1,), "int64", (2,))] * 2)
    for zero in (0, 1):
        yield Case("CTCLoss", impossible, {"zero_infinity": zero}, n_outputs=3)
    ignored = Input((2,), "int64", (-100, -100))
    yield Case("CrossEntropy", (f(2, 5), ignored), n_outputs=2, slack=4)
    for (n, times, classes, length), reduction in itertools.product(
        ((1, 1, 2, 1), (3, 7, 5, 3), (4, 12, v + 3, 5)), ("mean", "sum")
    ):
        labels = Input((n, length), "int64", low=1, high=classes)
        times_of = Input((n,), "int64", tuple(max(times - i, 1) for i in range(n)))
        lengths = Input((n,), "int64", tuple((length - i) % (length + 1) for i in range(n)))
        inputs = (f(n, times, classes, low=-6, high=-0.1), labels, times_of, lengths)
        for attrs in ({"zero_infinity": 1}, {"zero_infinity": 0}):
            yield Case("CTCLoss", inputs, {"reduction": reduction, **attrs}, n_outputs=3, terms=4 * times, slack=8)


def updates() -> Iterator[Case]:
    """Optimiser steps over sizes with and without whole vectors."""
    small = {"low": 0.001, "high": 0.1}
    for shape in ((), (5,), (3, 3, 7, 9), (70_001,)):
        w, g, m, lr, scale = f(*shape), f(*shape), f(*shape), f(**small), f(low=0.5, high=2)
        for momentum, nesterov, decay in itertools.product((0.0, 0.9), (0, 1), (0.0, 5e-4)):
            if momentum or not nesterov:
                attrs = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
                inputs = (w, g, m if momentum else None, lr, scale)
                yield Case("SGDUpdate", inputs, attrs, n_outputs=1 + bool(momentum))
        for step, decoupled in itertools.product((1.0, 7.0, 5000.0), (0, 1)):
            inputs = (w, g, f(*shape), f(*shape, low=0, high=1), lr, scalar(step), scale)
            yield Case("AdamUpdate", inputs, {"decoupled": decoupled, "weight_decay": 0.01}, n_outputs=3, slack=4)
        yield Case("SignSGDUpdate", (w, g, None, lr, scale), {"weight_decay": 0.01})
        yield Case("SignSGDUpdate", (w, g, m, lr, scale), {"momentum": 0.9}, n_outputs=2)
        yield Case("LionUpdate", (w, g, m, lr, scale), {"weight_decay": 0.01}, n_outputs=2)
        yield Case("AverageUpdate", (w, g, f(low=0, high=1)))
        yield Case("AccumulateUpdate", (w, g, scalar(1)))
        yield Case("AccumulateUpdate", (f(*shape, special=True), g, scalar(0)), exact=True)
        yield Case("SquaredNorm", (w, f(4097), g), terms=100)


def training(v: int) -> Iterator[Case]:
    """All of them."""
    yield from batch_normalisation(v)
    yield from gradients_of_activations(v)
    yield from gradients_of_pools(v)
    yield from gradients_of_movement()
    yield from losses(v)
    yield from updates()
