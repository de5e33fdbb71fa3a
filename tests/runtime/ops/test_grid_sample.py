"""GridSample against onnxruntime, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import ShapeError
from tests.runtime.ops.oracle import close, inferred, onnxruntime_node, ours

SHAPES = [((2, 4, 5, 3), (2, 6, 7, 2)), ((1, 1, 6, 2), (1, 3, 4, 2)), ((1, 3, 4, 5, 2), (1, 2, 3, 4, 3))]


@pytest.mark.parametrize(("x_shape", "grid_shape"), SHAPES, ids=str)
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_it_is_onnxruntimes(
    x_shape: tuple[int, ...], grid_shape: tuple[int, ...], mode: str, padding: str, corners: int
) -> None:
    if mode == "cubic" and len(x_shape) == 5:
        return  # onnxruntime has it for pictures alone
    rng = np.random.default_rng(6)
    x, grid = rng.standard_normal(x_shape, np.float32), rng.uniform(-2.5, 2.5, grid_shape).astype(np.float32)
    attrs = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    (wanted,) = onnxruntime_node("GridSample", [np.ascontiguousarray(np.moveaxis(x, -1, 1)), grid], attrs)
    close(np.moveaxis(ours("GridSample", [x, grid], attrs)[0], -1, 1), wanted, 64)


def test_grids_that_do_not_fit_are_refused() -> None:
    x = np.zeros((2, 4, 5, 3), np.float32)
    for shape in ((2, 6, 7, 3), (1, 6, 7, 2), (2, 6, 2)):
        with pytest.raises(ShapeError, match=r"expected a grid \(2, 2 sizes, 2\)"):
            inferred("GridSample", [x, np.zeros(shape, np.float32)], {})
