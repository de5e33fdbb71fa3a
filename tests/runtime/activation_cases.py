"""The case table of functions of one tensor: attributes with which each runs, forward and as the slope of its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alula.runtime.ops.contract import REGISTRY
from tests.runtime.kernel_case import Case, Stage, f

FUNCTIONS: dict[str, list[dict[str, Any]]] = {
    **{op: [{}] for op in (
        "Relu", "HardSwish", "Sigmoid", "Tanh", "Softplus", "Erf", "Mish", "Sqrt", "Exp", "Log", "Reciprocal", "Floor", "Ceil",
        "Round", "Abs", "Neg", "Sign",
    )},
    "LeakyRelu": [{}, {"alpha": 0.3}],
    "ThresholdedRelu": [{}, {"alpha": 0.3}],
    "HardSigmoid": [{}, {"alpha": 0.3, "beta": 0.4}],
    "Elu": [{}, {"alpha": 1.7}],
    "Swish": [{}, {"alpha": 1.7}],
    "Gelu": [{}, {"approximate": "tanh"}],
}  # fmt: skip
EXACT = ("Relu", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Abs", "Neg", "Sign", "ThresholdedRelu")


def functions(v: int) -> Iterator[Case]:
    """Forward. v : lanes of a vector"""
    for op, (plain, *others) in FUNCTIONS.items():
        for shape in ((), (1,), (v - 1,), (v + 1,), (2, 3, 5, 7), (3, 4097), (0, 3)):
            yield Case(op, (f(*shape, special=shape == (2, 3, 5, 7)),), plain, exact=op in EXACT, slack=2)
        for attrs in others:
            yield Case(op, (f(3, 5),), attrs, exact=op in EXACT)


def slopes(v: int) -> Iterator[Case]:
    """The gradient times the slope, as a stage of an epilogue: by itself, and behind another node."""
    number = 0
    for op, choices in FUNCTIONS.items():
        for attrs in choices if REGISTRY[op].slope else ():
            for shape in ((), (1,), (v + 1,), (2, 3, 5, 7), (3, 4097)):
                yield Case(f"{op}Grad", (f(*shape), f(*shape)), attrs, slack=8)
            wide = f(2, 3, 5, 7 + number)
            fused = (Stage("Add", (wide,)), Stage(f"{op}Grad", (wide,), attrs))
            yield Case("Mul", (wide, f(7 + number)), fused=fused, slack=8)
            number += 1
