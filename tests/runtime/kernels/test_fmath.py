"""Elementary functions against NumPy's in float64, over all magnitudes."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from alula.runtime.graph import Array, Graph, Node, TensorSpec
from alula.runtime.kernels import fmath
from alula.runtime.model import Model
from alula.runtime.ops.contract import find
from alula.runtime.ops.elementwise.op_activation import erf

TINY = float(np.finfo(np.float32).tiny)
SUBNORMAL = 2.0**-149  # the distance between numbers below TINY
# Function of fmath -> the op that runs it, its value in float64
FUNCTIONS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "exp": ("Exp", np.exp),
    "expm1": ("Elu", lambda x: np.where(x < 0, np.expm1(x), x)),
    "log": ("Log", np.log),
    "sigmoid": ("Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    "softplus": ("Softplus", lambda x: np.logaddexp(0, x)),
    "tanh": ("Tanh", np.tanh),
    "erf": ("Erf", erf),
}
CLAIMED = {
    name: float(bound) for bound, name in re.findall(r"(\d+e-7) for (\w+)", " ".join((fmath.__doc__ or "").split()))
}


def run(op: str, *arrays: Array) -> Array:
    """A node of that op over arrays."""
    names = tuple(f"x{i}" for i in range(len(arrays)))
    inputs = {name: TensorSpec.of(array) for name, array in zip(names, arrays, strict=True)}
    model = Model(Graph(op, inputs, ("y",), (Node(op, names, ("y",), find(op, "").make_attrs({}, "")),)), threads=1)
    result = model(*arrays)
    assert isinstance(result, np.ndarray)
    return result.astype(np.float64)


def relative_error(got: Array, wanted: Array, step: float = SUBNORMAL) -> float:
    """The largest where the result is a normal float32; elsewhere the error is at most `step`."""
    rounded = wanted.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_array_equal(got[np.isinf(rounded)], rounded[np.isinf(rounded)])
    small = np.abs(wanted) < TINY
    assert np.abs(got - wanted)[small].max(initial=0) <= step
    normal = np.isfinite(rounded) & ~small
    return float((np.abs(got - wanted)[normal] / np.abs(wanted)[normal]).max())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_stays_within_the_bound_over_all_magnitudes(name: str) -> None:
    op, function = FUNCTIONS[name]
    every = np.arange(0, 1 << 32, 40_009, dtype=np.uint64).astype(np.uint32).view(np.float32)  # each sign and exponent
    rng = np.random.default_rng(1)
    more = np.concatenate([rng.uniform(-20, 20, 100_000), rng.uniform(0.5, 2, 50_000), [np.inf, -np.inf, np.nan, 0]])
    x = np.concatenate([every[np.isfinite(every)], more.astype(np.float32)])
    with np.errstate(all="ignore"):
        error = relative_error(run(op, x), function(x.astype(np.float64)), TINY if name == "sigmoid" else SUBNORMAL)
    assert error <= CLAIMED[name]


def test_a_power_is_right_to_the_last_place() -> None:
    rng = np.random.default_rng(2)
    x = np.exp(rng.uniform(-100, 88, 200_000)).astype(np.float32)
    y = (rng.uniform(-100, 88, x.size) / np.log(x.astype(np.float64))).astype(np.float32)
    with np.errstate(all="ignore"):
        assert relative_error(run("Pow", x, y), np.power(x.astype(np.float64), y.astype(np.float64))) <= CLAIMED["pow"]


def test_powers_follow_the_rules_of_c_where_there_are_zeros_infinities_and_negative_bases() -> None:
    edges = [0.0, 1.0, 2.0, 3.0, 0.5, np.inf, 1e-40, 1e38, 8388607.0, 16777216.0, 1e-30]
    values = np.array([*edges, *(-e for e in edges), np.nan], np.float32)
    x, y = (np.ascontiguousarray(grid) for grid in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        wanted = np.power(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    got = run("Pow", x, y)
    np.testing.assert_allclose(got, wanted, rtol=2e-7, atol=SUBNORMAL)
    known = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got)[known], np.signbit(wanted)[known])


def test_every_bound_that_the_docstring_claims_is_tested() -> None:
    assert set(CLAIMED) == {*FUNCTIONS, "pow"}
