"""Kernels of pools, Resize, normalisations and recurrent layers, against the references of their ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import find
from alula.runtime.planning.reference import evaluate

Case = tuple[str, dict[str, Any], tuple[int, ...]]  # op, attributes, input shape


def compare(
    op: str, attrs: dict[str, Any], inputs: dict[str, Array], constants: dict[str, Array], order: str,
    outputs: tuple[str, ...] = ("y",), rtol: float = 1e-5, atol: float = 1e-6, has_kernel: bool = True,
) -> None:  # fmt: skip
    """Run one node by kernels, with one thread and two, and by its reference.

    order : the node's inputs by name, "-" where one is absent
    """
    names = tuple("" if name == "-" else name for name in order.split())
    node = Node(op, names, outputs, find(op, op).make_attrs(attrs, op))
    specs = {name: TensorSpec.of(array) for name, array in inputs.items()}
    graph = Graph("one", specs, tuple(filter(None, outputs)), (node,), Arrays(constants))
    expected = evaluate(graph, inputs)
    for threads in (1, 2):
        model = Model(graph, threads=threads)
        got = model.run(inputs)
        assert (not model.program({name: array.shape for name, array in inputs.items()}).reference_nodes) == has_kernel
        for name, array in expected.items():
            np.testing.assert_allclose(got[name], array, rtol, atol, err_msg=f"{op} {attrs} {name} threads={threads}")


def normal(seed: int, *shape: int) -> Array:
    """Seeded float32 noise."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


POOLS: list[Case] = [
    ("MaxPool", {"kernel_shape": (2, 2), "strides": (2, 2)}, (1, 8, 6, 16)),
    ("MaxPool", {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}, (2, 9, 7, 67)),
    ("MaxPool", {"kernel_shape": (5, 5), "pads": (2, 2, 2, 2)}, (1, 6, 11, 33)),
    ("MaxPool", {"kernel_shape": (2, 3), "strides": (2, 1), "ceil_mode": 1, "pads": (0, 1, 1, 0)}, (2, 7, 8, 5)),
    ("MaxPool", {"kernel_shape": (2, 2), "dilations": (2, 3), "strides": (1, 2), "pads": (1, 1, 1, 1)}, (1, 6, 9, 3)),
    ("MaxPool", {"kernel_shape": (3, 2), "auto_pad": "SAME_UPPER", "strides": (2, 2)}, (1, 7, 5, 17)),
    ("MaxPool", {"kernel_shape": (3, 2), "auto_pad": "SAME_LOWER", "strides": (2, 3)}, (1, 7, 5, 1)),
    ("MaxPool", {"kernel_shape": (3,), "strides": (2,), "pads": (1, 1)}, (2, 13, 20)),
    ("AveragePool", {"kernel_shape": (2, 2), "strides": (2, 2)}, (1, 8, 6, 64)),
    ("AveragePool", {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}, (2, 5, 7, 15)),
    ("AveragePool", {"kernel_shape": (3, 3), "pads": (1, 0, 1, 2), "count_include_pad": 1, "strides": (2, 2)}, (1, 8, 7, 130)),
    ("AveragePool", {"kernel_shape": (3, 2), "strides": (2, 2), "ceil_mode": 1, "count_include_pad": 1, "pads": (1, 0, 0, 1)},
     (1, 6, 8, 2)),
    ("AveragePool", {"kernel_shape": (2, 2), "dilations": (3, 2), "ceil_mode": 1, "strides": (2, 2)}, (2, 9, 6, 4)),
    ("AveragePool", {"kernel_shape": (4,), "auto_pad": "SAME_LOWER", "strides": (3,)}, (1, 17, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attrs", "shape"), POOLS)
def test_pools_equal_their_references(op: str, attrs: dict[str, Any], shape: tuple[int, ...]) -> None:
    compare(op, attrs, {"x": normal(1, *shape)}, {}, "x")


def test_the_largest_of_a_window_with_nan_is_nan() -> None:
    for c in (1, 5, 40):
        x = normal(2, 1, 6, 6, c)
        x[0, 1::3, ::2] = np.nan
        compare("MaxPool", {"kernel_shape": (2, 3), "strides": (1, 2)}, {"x": x}, {}, "x")


def test_max_pool_with_indices_runs_as_its_reference() -> None:
    x = normal(3, 1, 6, 6, 8)
    compare("MaxPool", {"kernel_shape": (2, 2)}, {"x": x}, {}, "x", ("y", "indices"), has_kernel=False)


HALF, ALIGNED = {"coordinate_transformation_mode": "half_pixel"}, {"coordinate_transformation_mode": "align_corners"}
FLOOR = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
RESIZES: list[tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = [  # attributes, input shape, output shape
    ({"mode": "nearest", **FLOOR}, (1, 5, 7, 24), (1, 10, 14, 24)),
    ({"mode": "nearest", **FLOOR}, (2, 3, 4, 1), (2, 12, 12, 1)),
    ({"mode": "nearest", **HALF}, (2, 9, 8, 5), (2, 4, 11, 5)),
    ({"mode": "nearest", **HALF}, (2, 9, 8, 5), (2, 9, 3, 5)),
    ({"mode": "nearest"}, (2, 9, 3, 4, 5), (3, 7, 3, 8, 5)),
    ({"mode": "linear"}, (1, 5, 7, 19), (1, 10, 14, 19)),
    ({"mode": "linear", **ALIGNED}, (2, 8, 6, 3), (2, 3, 13, 3)),
    ({"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, (2, 9, 6, 8), (2, 1, 4, 8)),
    ({"mode": "linear"}, (1, 7, 90, 60), (1, 9, 90, 60)),
    ({"mode": "linear"}, (3, 11, 1), (3, 17, 1)),
    ({"mode": "linear", "antialias": 1}, (1, 12, 14, 9), (1, 5, 3, 9)),
    ({"mode": "cubic"}, (2, 6, 7, 17), (2, 11, 5, 17)),
    ({"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}, (1, 6, 7, 2), (1, 12, 14, 2)),
    ({"mode": "linear"}, (1, 4, 4, 3), (1, 4, 4, 3)),
]


@pytest.mark.parametrize(("attrs", "shape", "out"), RESIZES)
def test_resizes_equal_their_reference(attrs: dict[str, Any], shape: tuple[int, ...], out: tuple[int, ...]) -> None:
    compare(
        "Resize",
        attrs,
        {"x": normal(4, *shape)},
        {"sizes": np.array(out, np.int64)},
        "x - - sizes",
        rtol=1e-4,
        atol=1e-5,
    )


def test_resizing_by_scales_along_some_axes_equals_the_reference() -> None:
    attrs = {"mode": "linear", "axes": (2, 1)}
    compare(
        "Resize",
        attrs,
        {"x": normal(5, 2, 5, 6, 10)},
        {"scales": np.array([1.7, 0.6], np.float32)},
        "x - scales",
        atol=1e-5,
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16", "int32", "int64"])
def test_the_nearest_element_is_copied_whatever_its_dtype(dtype: str) -> None:
    x = np.random.default_rng(6).integers(0, 200, (2, 5, 6, 3)).astype(dtype)
    for out in ((2, 10, 18, 3), (2, 5, 9, 3)):
        compare("Resize", {"mode": "nearest"}, {"x": x}, {"sizes": np.array(out, np.int64)}, "x - - sizes")


def test_a_crop_that_reaches_outside_runs_as_the_reference() -> None:
    attrs = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 3.0}
    constants = {"roi": np.array([0, -0.2, 0, 0, 1, 0.9, 1, 1], np.float32), "sizes": np.array([1, 6, 5, 2], np.int64)}
    compare("Resize", attrs, {"x": normal(7, 1, 5, 5, 2)}, constants, "x roi - sizes", has_kernel=False)
    constants["roi"] = np.array([0, 0.2, 0, 0, 1, 0.9, 1, 1], np.float32)
    compare("Resize", attrs, {"x": normal(7, 1, 5, 5, 2)}, constants, "x roi - sizes", atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5, 7, 19), (3, 4), (1, 33, 64)])
def test_batch_normalization_equals_its_reference(shape: tuple[int, ...]) -> None:
    c = shape[-1]
    constants = {"scale": normal(11, c), "bias": normal(12, c), "mean": normal(13, c), "var": normal(14, c) ** 2 + 0.1}
    compare(
        "BatchNormalization",
        {"epsilon": 1e-3},
        {"x": normal(10, *shape)},
        constants,
        "x scale bias mean var",
        atol=1e-5,
    )


def test_batch_normalization_by_computed_statistics_equals_its_reference() -> None:
    inputs = {"x": normal(15, 2, 3, 4), **{name: normal(16, 4) ** 2 + 0.1 for name in ("scale", "bias", "mean", "var")}}
    compare("BatchNormalization", {}, inputs, {}, "x scale bias mean var")


@pytest.mark.parametrize("groups", [None, 1, 3, 6])
@pytest.mark.parametrize("shape", [(2, 9, 7, 6), (1, 64, 50, 24), (2, 31, 12), (1, 1, 2, 6)])
def test_statistics_of_images_equal_the_reference(groups: int | None, shape: tuple[int, ...]) -> None:
    x = normal(17, *shape) + np.float32(100)  # where a naive variance would cancel
    inputs = {"x": x, "scale": normal(18, shape[-1]), "bias": normal(19, shape[-1])}
    op, attrs = ("GroupNormalization", {"num_groups": groups}) if groups else ("InstanceNormalization", {})
    compare(op, attrs, inputs, {}, "x scale bias", rtol=1e-3, atol=5e-4)


def test_the_variance_of_an_image_survives_a_large_mean() -> None:
    x = normal(23, 1, 40, 50, 8) + np.float32(1000)
    ones, zeros = np.ones(8, np.float32), np.zeros(8, np.float32)
    attrs = find("InstanceNormalization", "one").make_attrs({}, "one")
    node = Node("InstanceNormalization", ("x", "scale", "bias"), ("y",), attrs)
    graph = Graph("one", {"x": TensorSpec.of(x)}, ("y",), (node,), Arrays({"scale": ones, "bias": zeros}))
    wide = x.astype(np.float64)
    expected = (wide - wide.mean((1, 2))) / np.sqrt(wide.var((1, 2)) + 1e-5)
    # a sum of squares less the squared mean would be wrong by some per cent
    np.testing.assert_allclose(Model(graph, threads=2).run({"x": x})["y"], expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 65), -1), ((4, 3, 5), 1), ((2, 2048), -1)])
def test_rms_normalization_equals_its_reference(shape: tuple[int, ...], axis: int) -> None:
    constants = {"scale": normal(21, *shape[axis:])}
    compare("RMSNormalization", {"axis": axis}, {"x": normal(20, *shape)}, constants, "x scale")


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize(("shape", "axis"), [((3, 70), -1), ((2, 5, 6, 3), 1), ((2, 4, 300), 1), ((2, 4, 300), 0)])
def test_lp_normalization_equals_its_reference(p: int, shape: tuple[int, ...], axis: int) -> None:
    x = normal(22, *shape)
    x[:, 0] = 0
    if axis % x.ndim == x.ndim - 1:
        x[1] = 0  # a vector of zeros stays as it is
    compare("LpNormalization", {"p": p, "axis": axis}, {"x": x}, {}, "x")


# T, N, C, H: one sequence and several, more than a block of rows, H that straddles panels and vectors
SIZES = [(7, 1, 12, 16), (5, 3, 9, 33), (1, 2, 4, 1), (4, 17, 6, 40), (6, 2, 3, 7)]


def recurrent_case(
    op: str, size: tuple[int, int, int, int], directions: int, layout: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs (x and initial states) and constants of a layer."""
    (t, n, c, h), gates = size, 4 if op == "LSTM" else 3
    state = (n, directions, h) if layout else (directions, n, h)
    inputs = {"x": normal(30, *((n, t, c) if layout else (t, n, c))), "h": normal(31, *state), "c": normal(32, *state)}
    constants = {
        "w": normal(33, directions, gates * h, c), "r": normal(34, directions, gates * h, h) / np.float32(h**0.5),
        "b": normal(35, directions, 2 * gates * h), "p": normal(36, directions, 3 * h), "full": np.full(n, t, np.int32),
    }  # fmt: skip
    if op == "GRU":
        del inputs["c"]
    return inputs, constants


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("direction", "layout"), [("forward", 0), ("reverse", 1), ("bidirectional", 0), ("bidirectional", 1)]
)
def test_lstm_equals_its_reference(size: tuple[int, int, int, int], direction: str, layout: int) -> None:
    inputs, constants = recurrent_case("LSTM", size, 2 if direction == "bidirectional" else 1, layout)
    for order, outputs in (
        ("x w r b full h c p", ("y", "y_h", "y_c")),
        ("x w r - - h c", ("", "y_h")),
        ("x w r b - h c", ("y", "", "y_c")),
    ):
        compare(
            "LSTM", {"direction": direction, "layout": layout}, inputs, constants, order, outputs, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize(
    ("direction", "layout"), [("forward", 1), ("reverse", 0), ("bidirectional", 0), ("bidirectional", 1)]
)
def test_gru_equals_its_reference(
    size: tuple[int, int, int, int], linear_before_reset: int, direction: str, layout: int
) -> None:
    inputs, constants = recurrent_case("GRU", size, 2 if direction == "bidirectional" else 1, layout)
    attrs = {"direction": direction, "layout": layout, "linear_before_reset": linear_before_reset}
    for order, outputs in (("x w r b full h", ("y", "y_h")), ("x w r - - h", ("", "y_h")), ("x w r b - h", ("y",))):
        compare("GRU", attrs, inputs, constants, order, outputs, rtol=1e-4, atol=1e-5)


def test_lstm_with_an_input_forget_gate_and_without_initial_states_equals_its_reference() -> None:
    inputs, constants = recurrent_case("LSTM", SIZES[1], 1, 0)
    compare("LSTM", {"input_forget": 1}, {"x": inputs["x"]}, constants, "x w r b - - - p", rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [{"clip": 1.0}, {"activations": ("Relu", "Tanh", "Tanh")}, {}])
def test_what_no_kernel_knows_runs_as_the_reference_of_lstm(change: dict[str, Any]) -> None:
    inputs, constants = recurrent_case("LSTM", SIZES[1], 1, 0)
    constants["lengths"] = np.array([5, 2, 0], np.int32)
    order = "x w r b full" if change else "x w r b lengths"
    compare("LSTM", change, {"x": inputs["x"]}, constants, order, has_kernel=False)
