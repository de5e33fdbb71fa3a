"""Softmax and LogSoftmax against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import DTypeError, ShapeError
from tests.runtime.ops.oracle import close, inferred, onnxruntime_node, ours


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [-1, 0, 1, -2])
def test_softmax_is_onnxruntimes(op: str, axis: int) -> None:
    x = np.random.default_rng(5).standard_normal((3, 4, 5), np.float32) * 20
    close(ours(op, [x], {"axis": axis})[0], onnxruntime_node(op, [x], {"axis": axis})[0], 5)


def test_large_and_masked_logits_stay_finite() -> None:
    x = np.array([[1e30, 1e30, -np.inf], [-1e30, 0, -np.inf]], np.float32)
    np.testing.assert_array_equal(ours("Softmax", [x], {})[0], [[0.5, 0.5, 0], [0, 1, 0]])
    assert np.isnan(ours("Softmax", [np.full((1, 2), -np.inf, np.float32)], {})[0]).all()


def test_an_empty_axis_gives_an_empty_answer() -> None:
    assert ours("Softmax", [np.zeros((2, 0), np.float32)], {})[0].shape == (2, 0)


def test_a_missing_axis_and_integers_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"stem \(Softmax\): expected an axis from -2 to 1, got 2"):
        inferred("Softmax", [np.zeros((2, 3), np.float32)], {"axis": 2})
    with pytest.raises(DTypeError, match="got int64"):
        inferred("LogSoftmax", [np.zeros((2, 3), np.int64)], {})
