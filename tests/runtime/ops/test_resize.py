"""Resize against onnxruntime, its tables, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.host.onnx.importer import import_onnx
from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.ops.resize.op import COORDINATES, NEAREST, AxisGeometry, ResizeAttrs, axis_table
from alula.runtime.passes import optimise
from tests.host.onnx_models import model, node
from tests.runtime.ops.oracle import channels_first, channels_last, close, inferred, onnxruntime_node, ours

MODERN = [mode for mode in COORDINATES if mode != "tf_half_pixel_for_nn"]
ROI = np.array([0, 0, 0.2, -0.1, 1, 1, 0.7, 1.2], np.float32)  # N, C, H, W: begins, then ends


def compare(x: Array, attrs: dict[str, Any], scales: Any = None, sizes: Any = None, opset: int = 21) -> None:
    """x is (N, H, W, C), scales and sizes are those of H and W; onnxruntime gets (N, C, H, W)."""
    roi = ROI if attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize" else None
    roi = ROI if opset < 13 else roi  # was not optional then
    last = [0, 2, 3, 1]
    first: list[Array | None] = [channels_first(x), roi]
    mine: list[Array | None] = [x, None if roi is None else roi.reshape(2, 4)[:, last].ravel()]
    if scales is not None:
        full = np.array([1, 1, *scales], np.float32)
        first, mine = [*first, full], [*mine, full[last]]
    else:
        whole = np.array([x.shape[0], x.shape[-1], *sizes], np.int64)
        first, mine = [*first, None, whole], [*mine, None, whole[last]]
    (got,) = ours("Resize", mine, attrs)
    (wanted,) = onnxruntime_node("Resize", first, attrs, opset=opset)
    # weights of large coordinates lose a few digits: float32 on both sides
    close(got, channels_last(wanted), 400)


def image(seed: int, shape: tuple[int, ...] = (2, 6, 9, 3)) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("coordinates", MODERN)
@pytest.mark.parametrize("nearest", NEAREST)
@pytest.mark.parametrize("scales", [(2, 3), (0.6, 1.6), (0.5, 0.34)], ids=str)
def test_nearest_is_onnxruntimes(coordinates: str, nearest: str, scales: tuple[float, float]) -> None:
    attrs = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest, "extrapolation_value": 7.0}
    compare(image(24), attrs, scales)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("coordinates", MODERN)
@pytest.mark.parametrize("sizes", [(12, 18), (4, 20), (1, 5), (7, 4)], ids=str)
def test_interpolation_to_sizes_is_onnxruntimes(mode: str, coordinates: str, sizes: tuple[int, int]) -> None:
    attrs = {"mode": mode, "coordinate_transformation_mode": coordinates, "extrapolation_value": -3.0}
    compare(image(25), attrs, sizes=sizes)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "half_pixel_symmetric", "pytorch_half_pixel"])
def test_interpolation_by_broken_scales_is_onnxruntimes(mode: str, coordinates: str) -> None:
    compare(image(26), {"mode": mode, "coordinate_transformation_mode": coordinates}, (1.37, 0.61))


@pytest.mark.parametrize("scales", [(1.5, 2.2), (0.6, 0.4)], ids=str)
def test_cubic_with_excluded_outside_is_onnxruntimes(scales: tuple[float, float]) -> None:
    compare(image(27), {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}, scales)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("sizes", [(4, 5), (3, 12), (2, 2)], ids=str)
def test_antialiased_is_onnxruntimes(mode: str, exclude: int, sizes: tuple[int, int]) -> None:
    compare(image(28), {"mode": mode, "antialias": 1, "exclude_outside": exclude}, sizes=sizes)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_aspect_ratio_policies_and_axes_are_onnxruntimes(policy: str, mode: str) -> None:
    x = image(29, (6, 9))
    attrs = {"mode": mode, "axes": (1, 0), "keep_aspect_ratio_policy": policy}
    inputs = [x, None, None, np.array([13, 7], np.int64)]
    close(ours("Resize", inputs, attrs)[0], onnxruntime_node("Resize", inputs, attrs)[0], 400)


def test_upsampling_of_old_models_and_tf_half_pixel_for_nn_are_onnxruntimes() -> None:
    compare(image(30), {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, (2, 2))
    compare(image(31), {"coordinate_transformation_mode": "tf_half_pixel_for_nn"}, (0.5, 3), opset=11)


def test_a_crop_of_the_images_own_size_is_a_crop() -> None:
    # onnxruntime copies the whole image here
    x = np.arange(5, dtype=np.float32)
    attrs = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": -1.0}
    (y,) = ours("Resize", [x, np.array([0.5, 1.25], np.float32), None, np.array([5], np.int64)], attrs)
    np.testing.assert_allclose(y, [2, 2.75, 3.5, -1, -1])


def test_bytes_keep_their_dtype() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(1, 4, 6, 1)
    scales = np.array([1, 0.5, 2, 1], np.float32)
    (y,) = ours("Resize", [x, None, scales], {})
    assert y.dtype == np.uint8 and y.shape == (1, 2, 12, 1)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_weights_of_a_table_sum_to_one_and_indices_are_inside(mode: str) -> None:
    for antialias in (0, 1):
        for scale in (0.3, 1.0, 2.5):
            out = int(10 * scale)
            table = axis_table(ResizeAttrs(mode=mode, antialias=antialias), AxisGeometry(1, 10, out, scale))
            assert table.indices.shape == table.weights.shape and len(table.indices) == out
            assert table.indices.min() >= 0 and table.indices.max() < 10
            np.testing.assert_allclose(table.weights.sum(axis=1), 1, atol=1e-6)
            assert not table.outside.any()


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_an_axis_that_is_not_resized_may_be_empty(mode: str) -> None:
    for shape in ((0, 6, 9, 3), (2, 6, 9, 0)):
        whole = np.array([shape[0], 12, 18, shape[3]], np.int64)
        scales = np.array([1, 2, 2, 1], np.float32)
        some = [axis for axis in range(4) if axis in (1, 2) or not shape[axis]]
        larger = {"axes": some, "keep_aspect_ratio_policy": "not_larger"}
        for given, attrs in (([scales], {}), ([None, whole], {}), ([None, whole[some]], larger)):
            (y,) = ours("Resize", [np.zeros(shape, np.float32), None, *given], {"mode": mode, **attrs})
            assert y.shape == (shape[0], 12, 18, shape[3])
    for wrong in ([0, 0, 18, 3], [1, 12, 18, 3]):
        with pytest.raises(ShapeError, match="expected"):
            inferred("Resize", [np.zeros((0, 6, 9, 3), np.float32), None, None, np.array(wrong)], {"mode": mode})


def test_an_empty_batch_is_resized_in_a_network() -> None:
    x = np.zeros((0, 3, 6, 9), np.float32)
    nodes = [node("Resize", "x - s", "t", mode="linear"), node("Relu", "t")]
    proto = model(nodes, {"x": x}, {"s": np.array([1, 1, 2, 2], np.float32)}, shapes={"x": ["n", 3, 6, 9]})
    network = Model(optimise(import_onnx(proto).graph))
    assert network(x).shape == (0, 3, 12, 18) and network(np.ones((2, 3, 6, 9), np.float32)).all()


REFUSED = {
    "neither": ([None, None], {}, "expected either scales or sizes, got none"),
    "both": ([np.ones(4, np.float32), np.ones(4, np.int64)], {}, "got both"),
    "too few": ([np.ones(2, np.float32)], {}, "expected 4 positive scales, one per axis"),
    "negative": ([np.array([1, -1, 1, 1], np.float32)], {}, "positive scales"),
    "nothing left": ([np.array([1, 0.01, 1, 1], np.float32)], {}, "got none along axis 1"),
    "huge": ([np.array([1, 3e38, 1, 1], np.float32)], {}, "expected scales of an image that fits in memory"),
    "large": ([np.array([1, 1e6, 1e6, 1], np.float32)], {}, "expected an output of at most"),
    "mode": ([np.ones(4, np.float32)], {"mode": "area"}, "expected mode to be one of nearest, linear, cubic"),
    "roi": ([np.ones(4, np.float32)], {"coordinate_transformation_mode": "tf_crop_and_resize"}, "needs it"),
    "axis": ([np.ones(1, np.float32)], {"axes": (4,)}, "expected an axis from -4 to 3, got 4"),
    "axes": ([np.ones(2, np.float32)], {"axes": (1, -3)}, "expected axes that differ"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_resize_refuses(name: str) -> None:
    inputs, attrs, message = REFUSED[name]
    with pytest.raises(ShapeError, match=message):
        inferred("Resize", [image(32), None, *inputs], attrs)


def test_integers_that_cannot_be_interpolated_are_refused() -> None:
    with pytest.raises(DTypeError, match="got int64"):
        inferred("Resize", [np.zeros((2, 3), np.int64), None, np.ones(2, np.float32)], {"mode": "linear"})
