"""Gathering, scattering and choosing, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from alula.host.onnx.importer import import_onnx
from alula.runtime import ops
from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.model import Model
from tests.host.onnx_models import model, node
from tests.runtime.ops.onnx_oracle import check, evaluate, sample


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


def refusal(op: str, attrs: dict[str, object], *inputs: Array | TensorSpec) -> str:
    """What `infer` says; an array is a known value."""
    found = ops.find(op, "test")
    specs = [TensorSpec.of(x) if isinstance(x, np.ndarray) else x for x in inputs]
    values = [x if isinstance(x, np.ndarray) else None for x in inputs]
    with pytest.raises((ShapeError, DTypeError)) as caught:
        found.infer(found.make_attrs(attrs, "test"), specs, values)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "int64", "float16", "bool"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements_agrees_with_onnxruntime(axis: int, dtype: str) -> None:
    rng = np.random.default_rng(1)
    x = sample(rng, (4, 3, 5), dtype)
    for shape in ((4, 3, 5), (2, 3, 1), (1, 1, 4) if axis == -1 else (1, 2, 4)):
        index = rng.integers(-x.shape[axis], x.shape[axis], shape)
        check("GatherElements", {"axis": axis}, x, index)
        check("GatherElements", {"axis": axis}, x, index.astype(np.int32))


@pytest.mark.parametrize(
    ("batch_dims", "shape"),
    [(0, (3,)), (0, (2, 4, 2)), (0, (5, 1)), (1, (2, 3)), (1, (2, 6, 2)), (2, (2, 3, 4, 1)), (0, (0, 2))],
)
def test_gather_nd_agrees_with_onnxruntime(batch_dims: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    x = sample(rng, (2, 3, 4, 5))
    sizes = np.array(x.shape[batch_dims : batch_dims + shape[-1]])
    check("GatherND", {"batch_dims": batch_dims}, x, rng.integers(-sizes, sizes, shape))


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "float64"])
def test_scatter_agrees_with_onnxruntime_in_every_reduction(reduction: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    x = sample(rng, (4, 3, 5), dtype)
    for axis in (0, -1):
        several = 1 if reduction == "none" else 2  # of several that replace one element, none is meant
        shape = tuple(max(size // 2, 1) for size in x.shape)
        along = np.stack([rng.permutation(x.shape[axis])[: shape[axis]] for _ in range(np.prod(shape) // shape[axis])])
        index = np.moveaxis(along.reshape(*np.delete(shape, axis % 3), -1), -1, axis) // several - x.shape[axis] // 2
        attrs = {"axis": axis, "reduction": reduction}
        check("ScatterElements", attrs, x, index, sample(rng, shape, dtype), tolerance=1e-5)
    index = rng.permutation(12)[:6].reshape(2, 3)
    places = np.stack([index // 3, index % 3], -1) if reduction == "none" else rng.integers(0, (2, 2), (2, 3, 2))
    check("ScatterND", {"reduction": reduction}, x, places, sample(rng, (2, 3, 5), dtype), tolerance=1e-5)
    check("ScatterND", {"reduction": reduction}, x, i64(-1).reshape(1, 1), sample(rng, (1, 3, 5), dtype))


def test_known_indices_must_be_in_range_and_computed_ones_are_clamped() -> None:
    x, wide = TensorSpec((3, 2)), np.array([[0, 3]])
    assert "expected indices in [-3, 3), got 0 to 3" in refusal("GatherElements", {}, x, wide)
    assert "expected indices in [-2, 2)" in refusal("GatherND", {}, x, wide)
    assert "expected indices in [-3, 3)" in refusal("ScatterND", {}, x, i64(5).reshape(1, 1), TensorSpec((1, 2)))
    assert evaluate("GatherElements", {}, [np.arange(6).reshape(3, 2), np.array([[7, -9]])])[0].tolist() == [[4, 1]]
    assert evaluate("GatherND", {}, [np.arange(6).reshape(3, 2), i64(9, -9)])[0] == 4
    (y,) = evaluate("ScatterND", {}, [np.zeros(3), i64(9).reshape(1, 1), np.ones(1)])
    assert y.tolist() == [0, 0, 1]


@pytest.mark.parametrize("op", ["Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"])
def test_a_constant_index_out_of_range_is_refused_when_a_program_is_planned(op: str) -> None:
    x, index, updates = np.arange(4, dtype=np.float32), i64(-9, 7), np.array([8, 9], np.float32)
    index = index.reshape(-1, 1) if op.endswith("ND") else index
    names = "x i u" if op.startswith("Scatter") else "x i"
    feeds = {"x": x, "u": updates} if "u" in names else {"x": x}
    with pytest.raises(ShapeError, match=rf"the_{op.lower()} .*expected indices in \[-4, 4\), got -9 to 7"):
        Model(import_onnx(model([node(op, names)], feeds, {"i": index})).graph).run(feeds)
    computed = Model(import_onnx(model([node(op, names)], {**feeds, "i": index})).graph)
    assert computed.run({**feeds, "i": index})["y"].tolist() == ([8, 1, 2, 9] if "u" in names else [0, 3])


def test_what_does_not_fit_is_refused() -> None:
    x, index = TensorSpec((3, 2)), TensorSpec((3, 2), "int64")
    assert "of 2 dimensions" in refusal("GatherElements", {}, x, TensorSpec((3,), "int64"))
    assert "expected indices within (3, 2)" in refusal("GatherElements", {"axis": 0}, x, TensorSpec((3, 3), "int64"))
    assert "with elements along axis 0" in refusal(
        "GatherElements", {}, TensorSpec((0, 2)), TensorSpec((1, 2), "int64")
    )
    assert "1 to 2 coordinates" in refusal("GatherND", {}, x, TensorSpec((4, 3), "int64"))
    assert "batch_dims below 2" in refusal("GatherND", {"batch_dims": 2}, x, index)
    assert "the first 1 axes" in refusal("GatherND", {"batch_dims": 1}, x, TensorSpec((2, 1), "int64"))
    assert "expected updates (3, 2)" in refusal("ScatterElements", {}, x, index, TensorSpec((3, 1)))
    assert "reduction" in refusal("ScatterND", {"reduction": "sum"}, x, TensorSpec((3, 2), "int64"), TensorSpec((3,)))
    flags = TensorSpec((3, 2), "bool")
    assert "expected the data" in refusal("ScatterElements", {"reduction": "add"}, flags, index, flags)


@pytest.mark.parametrize("dtype", ["float32", "int64", "float64", "int32"])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k_agrees_with_onnxruntime_and_takes_the_first_of_equal_elements(largest: int, dtype: str) -> None:
    x = np.round(sample(np.random.default_rng(4), (3, 17, 2), dtype))  # with ties
    for axis in (0, 1, -1):
        for k in (1, min(5, x.shape[axis]), x.shape[axis]):
            check("TopK", {"axis": axis, "largest": largest}, x, i64(k))
    check("TopK", {"axis": 1, "largest": largest}, x, i64(0))
    assert "expected K from 0 to 2" in refusal("TopK", {}, TensorSpec((3, 2)), i64(3))
    assert "expected K to be known" in refusal("TopK", {}, TensorSpec((3, 2)), TensorSpec((1,), "int64"))


def test_top_k_takes_nan_for_the_largest() -> None:
    x = np.array([1.0, np.nan, np.inf, -np.inf], np.float32)
    assert evaluate("TopK", {}, [x, i64(2)])[1].tolist() == [1, 2]
    assert evaluate("TopK", {"largest": 0}, [x, i64(3)])[1].tolist() == [3, 0, 2]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot_agrees_with_onnxruntime(axis: int) -> None:
    indices = np.array([[0, 3, -1], [-4, 4, 9]])
    for kind, pair in (
        ("int64", np.float32([0.5, 2])),
        ("float32", np.array([0, 1], np.int64)),
        ("int32", np.float32([0, 1])),
    ):
        check("OneHot", {"axis": axis}, indices.astype(kind), np.array(4), pair)
    assert "scalar depth" in refusal("OneHot", {}, TensorSpec((2,), "int64"), i64(-1), np.float32([0, 1]))
    assert "off and on" in refusal("OneHot", {}, TensorSpec((2,), "int64"), i64(4), np.float32([1]))


def test_compress_takes_what_a_known_condition_keeps() -> None:
    x, kept = sample(np.random.default_rng(5), (3, 4)), np.array([False, True, True])
    for attrs in ({"axis": 0}, {"axis": -1}, {}):
        check("Compress", attrs, x, kept)
    assert "at most 2 conditions" in refusal("Compress", {"axis": 0}, TensorSpec((2, 4)), kept)


def test_reverse_sequence_agrees_with_onnxruntime() -> None:
    x = sample(np.random.default_rng(6), (4, 3, 2))
    check("ReverseSequence", {}, x, i64(4, 1, 3))
    check("ReverseSequence", {"batch_axis": 0, "time_axis": 1}, x, i64(3, 1, 2, 3))
    assert "to be 0 and 1" in refusal("ReverseSequence", {"batch_axis": 2}, TensorSpec((4, 3, 2)), i64(1, 1))
    assert "one for each" in refusal("ReverseSequence", {}, TensorSpec((4, 3, 2)), i64(1, 1))


@pytest.mark.parametrize("dtype", ["float32", "int64", "float64"])
def test_running_sums_agree_with_onnxruntime(dtype: str) -> None:
    x = sample(np.random.default_rng(7), (3, 4, 5), dtype)
    for axis in (0, 1, -1):
        for exclusive, reverse in ((0, 0), (1, 0), (0, 1), (1, 1)):
            check("CumSum", {"exclusive": exclusive, "reverse": reverse}, x, np.array(axis), tolerance=1e-5)
    assert "expected one axis" in refusal("CumSum", {}, TensorSpec((3,)), i64(0, 0))


def test_triangles_identities_and_determinants_agree_with_onnxruntime() -> None:
    x = sample(np.random.default_rng(8), (2, 4, 6))
    for upper in (0, 1):
        check("Trilu", {"upper": upper}, x)
        for k in (-7, -2, 0, 1, 5, 9):
            check("Trilu", {"upper": upper}, x, np.array(k))
    check("Trilu", {}, x > 0)
    for k in (-9, -1, 0, 2, 9):
        check("EyeLike", {"k": k}, x[0])
    assert evaluate("EyeLike", {"dtype": "int64"}, [x[0]])[0].dtype == np.int64
    check("Det", {}, x[:, :, :4], tolerance=1e-4)
    assert "square matrices" in refusal("Det", {}, TensorSpec((2, 3)))
    assert "expected matrices" in refusal("Trilu", {}, TensorSpec((3,)))
    assert "expected a matrix" in refusal("EyeLike", {}, TensorSpec((3,)))
