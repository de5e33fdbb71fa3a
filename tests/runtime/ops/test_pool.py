"""Pools against onnxruntime, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime.errors import DTypeError, ShapeError
from tests.runtime.ops.oracle import channels_first, channels_last, close, inferred, onnxruntime_node, ours

CASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "2x2": ((2, 8, 6, 3), {"kernel_shape": (2, 2), "strides": (2, 2)}),
    "overlapping": ((1, 9, 8, 5), {"kernel_shape": (3, 3), "strides": (2, 1), "pads": (1, 1, 1, 1)}),
    "uneven pads": ((1, 9, 8, 5), {"kernel_shape": (3, 4), "strides": (2, 3), "pads": (0, 2, 1, 3)}),
    "ceil": ((1, 8, 9, 2), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}),
    "ceil, padded": ((1, 6, 9, 2), {"kernel_shape": (3, 2), "strides": (2, 3), "pads": (1, 1, 1, 1), "ceil_mode": 1}),
    "dilated": ((1, 9, 11, 3), {"kernel_shape": (3, 2), "dilations": (2, 3), "pads": (1, 1, 1, 1)}),
    "same upper": ((1, 7, 8, 3), {"kernel_shape": (3, 2), "strides": (2, 2), "auto_pad": "SAME_UPPER"}),
    "same lower": ((1, 7, 8, 3), {"kernel_shape": (3, 2), "strides": (2, 2), "auto_pad": "SAME_LOWER"}),
    "valid": ((1, 7, 8, 3), {"kernel_shape": (3, 2), "strides": (2, 2), "auto_pad": "VALID"}),
    "1-D": ((2, 15, 3), {"kernel_shape": (4,), "strides": (3,), "pads": (2, 1)}),
    "3-D": ((1, 5, 6, 7, 2), {"kernel_shape": (2, 3, 2), "strides": (2, 2, 1), "pads": (1, 1, 0, 0, 1, 1)}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("storage_order", [0, 1])
def test_max_pool_and_its_indices_are_onnxruntimes(name: str, storage_order: int) -> None:
    shape, attrs = CASES[name]
    x = np.random.default_rng(6).standard_normal(shape, np.float32)
    attrs = {**attrs, "storage_order": storage_order}
    got = ours("MaxPool", [x], attrs)
    wanted = onnxruntime_node("MaxPool", [channels_first(x)], attrs, n_outputs=2)
    for mine, theirs in zip(got, wanted):
        np.testing.assert_array_equal(mine, channels_last(theirs))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_max_pool_takes_bytes_and_the_first_of_equals(dtype: str) -> None:
    x = np.random.default_rng(7).integers(0, 2, (1, 6, 7, 3)).astype(dtype)
    attrs = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}
    got = ours("MaxPool", [x], attrs)
    wanted = onnxruntime_node("MaxPool", [channels_first(x)], attrs, n_outputs=2)
    for mine, theirs in zip(got, wanted):
        np.testing.assert_array_equal(mine, channels_last(theirs))


def test_max_pool_lets_nan_and_minus_infinity_through() -> None:
    x = np.array([[-np.inf, -np.inf, 1, np.nan, 2, 3]], np.float32).reshape(1, 6, 1)
    y, index = ours("MaxPool", [x], {"kernel_shape": (2,), "strides": (2,)})
    np.testing.assert_array_equal(y.ravel(), [-np.inf, np.nan, 3])
    assert index.ravel().tolist() == [0, 3, 5]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("include", [0, 1])
def test_average_pool_is_onnxruntimes(name: str, include: int) -> None:
    shape, attrs = CASES[name]
    x = np.random.default_rng(8).standard_normal(shape, np.float32)
    attrs = {**attrs, "count_include_pad": include}
    (got,) = ours("AveragePool", [x], attrs)
    (wanted,) = onnxruntime_node("AveragePool", [channels_first(x)], attrs)
    close(got, channels_last(wanted), 12)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 9, 4), (1, 2, 3, 4, 5)], ids=str)
def test_global_pools_are_onnxruntimes(op: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(9).standard_normal(shape, np.float32)
    close(ours(op, [x], {})[0], channels_last(onnxruntime_node(op, [channels_first(x)], {})[0]), 35)


def test_wrong_pools_are_refused() -> None:
    x = np.zeros((1, 6, 6, 2), np.float32)
    with pytest.raises(ShapeError, match=r"stem \(MaxPool\): expected 2 numbers in kernel_shape, got 1"):
        inferred("MaxPool", [x], {"kernel_shape": (2,)})
    with pytest.raises(ShapeError, match=r"expected pads smaller than the window \(2, 2\), got \(2, 0, 0, 0\)"):
        inferred("AveragePool", [x], {"kernel_shape": (2, 2), "pads": (2, 0, 0, 0)})
    with pytest.raises(ShapeError, match=r"at least \(7, 7\), got \(6, 6\)"):
        inferred("MaxPool", [x], {"kernel_shape": (7, 7)})
    with pytest.raises(ShapeError, match="expected an image with pixels"):
        inferred("GlobalMaxPool", [x[:, :0]], {})
    with pytest.raises(DTypeError, match="got int64"):
        inferred("MaxPool", [x.astype(np.int64)], {"kernel_shape": (2, 2)})
