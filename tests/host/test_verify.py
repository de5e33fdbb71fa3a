"""The measure that says whether two answers are the same."""

from __future__ import annotations

import numpy as np
import pytest

from alula.host.verify import Verification, compare
from alula.runtime.errors import ShapeError


def test_the_difference_is_measured_over_the_range_of_the_reference() -> None:
    reference = np.array([-10.0, 0.0, 30.0], np.float32)
    found = compare("y", reference + np.array([0, 2, 0], np.float32), reference)
    assert (found.largest, found.range, found.ratio) == (2.0, 40.0, 0.05)


def test_a_constant_reference_is_its_own_range() -> None:
    reference = np.full(4, 8.0, np.float32)
    assert compare("y", reference + 2, reference).ratio == 0.25
    assert compare("y", np.full(4, 0.5, np.float32), np.zeros(4, np.float32)).ratio == 0.5


@pytest.mark.parametrize(
    ("ours", "reference"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0), (1.0, np.inf), (-np.inf, np.inf)]
)
def test_a_value_that_is_finite_in_one_of_the_two_alone_is_infinitely_wrong(ours: float, reference: float) -> None:
    found = compare("y", np.array([ours, 0.0]), np.array([reference, 0.0]))
    assert found.ratio == np.inf
    assert not Verification("g", 1e-4, [found]).passed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_same_special_value_in_both_is_no_difference(value: float) -> None:
    assert compare("y", np.array([value, 1.0, 3.0]), np.array([value, 1.0, 3.0])).ratio == 0.0


def test_integers_and_empty_tensors_are_compared_too() -> None:
    assert compare("i", np.array([0, 5]), np.array([0, 4])).ratio == 0.25
    assert compare("b", np.array([True, False]), np.array([True, True])).largest == 1.0
    assert compare("e", np.zeros((0, 3)), np.zeros((0, 3))).ratio == 0.0


def test_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(2, 3\)"):
        compare("y", np.zeros((3, 2)), np.zeros((2, 3)))


def test_an_output_that_hardly_changes_is_named() -> None:
    flat, steep = compare("flat", np.zeros(3), np.array([0, 0, 1e-5])), compare("steep", np.arange(3.0), np.arange(3.0))
    assert Verification("g", 1e-4, [flat, steep]).saturated == ["flat"]
