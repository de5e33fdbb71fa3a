"""Filters that are transformed in every run, of a convolution and of its transposed one, beside those packed beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.compiler.loader import library
from alula.runtime.graph import Array
from alula.runtime.kernels.tiles import for_cpu
from alula.runtime.ops.conv.lower_product import pack_panels
from alula.runtime.ops.conv.lower_winograd import LINE, component_size, pack_filters

SHAPES = [(16, 16), (64, 32), (24, 40), (40, 24), (17, 35), (33, 16), (100, 64)]


def _matrices(packed: Array, m: int, component: int) -> Array:
    """Without what lies between two components."""
    return packed.reshape((m + 2) ** 2, component)[:, : component - LINE]


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize(("c_in", "c_out"), SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_filters_are_transformed_as_they_are_packed(c_in: int, c_out: int, m: int, transposed: bool) -> None:
    tiles, rng = for_cpu(library().cpu), np.random.default_rng(c_in)
    filters = rng.standard_normal((c_out, 3, 3, c_in)).astype(np.float32)
    panels = pack_panels(filters.reshape(c_out, -1).T, tiles)
    read, made = (c_out, c_in) if transposed else (c_in, c_out)
    transposed_filters = filters[:, ::-1, ::-1].transpose(3, 1, 2, 0)
    for first, last in {(0, made), (0, min(made, tiles.columns)), (tiles.columns, made)}:  # whole, and in two parts
        count = last - first
        if count < 1:
            continue
        component = component_size(read, count, tiles)
        target = np.full((m + 2) ** 2 * component, np.nan, np.float32)
        if transposed:
            scratch = np.full(9 * tiles.step * tiles.width, np.nan, np.float32)
            words = (panels, target, scratch, component, c_in, c_out, first, count, m)
            library().call("f32_winograd_transposed_weights", *words)
        else:
            library().call("f32_winograd_weights", panels[9 * c_in * first :], target, component, c_in, count, m)
        part = np.ascontiguousarray((transposed_filters if transposed else filters)[first:last])
        expected = _matrices(pack_filters(part, m, tiles), m, component)
        np.testing.assert_allclose(_matrices(target, m, component), expected, rtol=1e-5, atol=1e-6)
