"""Cutting, joining, repeating and reordering against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime import ops
from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import Array, TensorSpec
from tests.runtime.ops.onnx_oracle import check, evaluate, onnx_outputs, sample

DTYPES = ["float32", "int64", "uint8", "bool"]


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


def refusal(op: str, attrs: dict[str, Any], specs: list[TensorSpec | None], values: list[Array | None]) -> str:
    """The message with which `infer` refuses."""
    found = ops.find(op, "t")
    with pytest.raises((ShapeError, DTypeError)) as caught:
        found.infer(found.make_attrs(attrs, "t"), specs, values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def int_inputs(x: TensorSpec, *lists: list[int] | None) -> tuple[list[TensorSpec | None], list[Array | None]]:
    """Specs and values of a node with lists of integers after its input."""
    values: list[Array | None] = [None, *(None if v is None else i64(*v) for v in lists)]
    return [x, *(None if v is None else TensorSpec.of(v) for v in values[1:])], values


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 2, 3), (0, 4, 0, 1), (2, 3, 2, 3)])
def test_pad_agrees_with_onnxruntime_in_every_mode(mode: str, pads: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    check("Pad", {"mode": mode}, sample(rng, (4, 7)), i64(*pads))
    check("Pad", {"mode": mode}, sample(rng, (5, 2, 7)), i64(*pads), None, i64(-1, 0))


def test_pad_fills_with_the_value_given_and_crops_by_negative_pads() -> None:
    rng = np.random.default_rng(2)
    for dtype in DTYPES:
        check("Pad", {}, sample(rng, (3, 5), dtype), i64(1, 0, 0, 2), np.array(1, dtype))
    check("Pad", {}, sample(rng, (6, 7)), i64(-1, 2, 1, -3), np.array(4, np.float32))
    check("Pad", {}, np.zeros((0, 3), np.float32), i64(1, 0, 1, 0))


@pytest.mark.parametrize(
    ("mode", "pads", "axes", "message"),
    [
        ("constant", [1, 1], None, "expected 4 pads"),
        ("constant", [-2, 0, -2, 0], None, "expected negative pads to leave something"),
        ("reflect", [3, 0, 0, 0], None, "expected reflect pads that fit size 3"),
        ("mirror", [0, 0, 0, 0], None, "mode"),
        ("constant", [1, 1], [2], "axis"),
        ("constant", [1 << 40, 0, 0, 0], None, "at most"),
    ],
)
def test_pad_refuses_what_cannot_be(mode: str, pads: list[int], axes: list[int] | None, message: str) -> None:
    specs, values = int_inputs(TensorSpec((3, 4)), pads, None, axes)
    assert message in refusal("Pad", {"mode": mode}, specs, values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_joins_along_any_axis(axis: int, dtype: str) -> None:
    rng = np.random.default_rng(3)
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    shapes[1][axis], shapes[2][axis] = 7, 0
    check("Concat", {"axis": axis}, *(sample(rng, tuple(shape), dtype) for shape in shapes))
    check("Concat", {"axis": axis}, sample(rng, (2, 3, 4), dtype))


def test_concat_refuses_shapes_and_dtypes_that_differ() -> None:
    a, b = TensorSpec((2, 3)), TensorSpec((2, 4))
    assert "expected equal shapes but for axis 0, got (2, 3) and (2, 4)" in refusal("Concat", {"axis": 0}, [a, b], [])
    assert "expected equal shapes" in refusal("Concat", {"axis": 0}, [a, TensorSpec((3,))], [])
    assert "one dtype" in refusal("Concat", {"axis": 0}, [a, TensorSpec((2, 3), "int8")], [])
    assert "got 2" in refusal("Concat", {"axis": 2}, [a, a], [])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_split_gives_the_parts_asked_for(axis: int) -> None:
    x = sample(np.random.default_rng(4), (7, 7, 7))
    check("Split", {"axis": axis}, x, i64(2, 0, 5))
    for parts in (1, 2, 3, 7):
        check("Split", {"axis": axis, "num_outputs": parts}, x)  # the last is smaller: 4 and 3; 3, 3 and 1


def test_split_refuses_parts_that_do_not_add_up() -> None:
    specs, values = int_inputs(TensorSpec((7,)), [3, 3])
    assert "expected parts that add up to 7, got (3, 3)" in refusal("Split", {}, specs, values)
    assert "expected the input split or num_outputs" in refusal("Split", {}, [TensorSpec((7,))], [None])
    assert "expected at most 4 parts of 7" in refusal("Split", {"num_outputs": 6}, [TensorSpec((7,))], [None])
    assert "num_outputs" in refusal("Split", {"num_outputs": 10**12}, [TensorSpec((0,))], [None])


SLICES: list[tuple[list[int], list[int], list[int] | None, list[int] | None]] = [
    ([1], [5], None, None),
    ([0, 0], [3, 10], [0, 1], [1, 1]),
    ([-3], [2**63 - 1], [1], None),
    ([1, 9], [4, -1000], [0, -1], [2, -3]),
    ([20, 2**62], [0, -(2**63)], [0, 1], [-1, -1]),
    ([-1], [0], [0], [-1]),
    ([5], [2], [0], None),
    ([100], [200], [1], None),
    ([0], [100], [1], [7]),
]


@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), SLICES, ids=str)
def test_slice_agrees_with_onnxruntime(
    starts: list[int], ends: list[int], axes: list[int] | None, steps: list[int] | None
) -> None:
    rng = np.random.default_rng(5)
    rest = [None if v is None else i64(*v) for v in (axes, steps)]
    for shape in ((6, 10, 3), (1, 17)):
        check("Slice", {}, sample(rng, shape), i64(*starts), i64(*ends), *rest)


def test_slice_refuses_steps_of_zero_and_lists_of_unequal_length() -> None:
    x = TensorSpec((6, 4))
    assert "other than 0" in refusal("Slice", {}, *int_inputs(x, [0], [3], [0], [0]))
    assert "of one length" in refusal("Slice", {}, *int_inputs(x, [0, 1], [3]))
    assert "distinct" in refusal("Slice", {}, *int_inputs(x, [0, 1], [3, 3], [0, -2]))
    specs, values = int_inputs(x, [0], [3])
    assert "expected ends to be known" in refusal("Slice", {}, specs, [*values[:2], None])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("indices", [(), (1,), (5,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_agrees_with_onnxruntime(axis: int, indices: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(6)
    x = sample(rng, (4, 3, 5), dtype)
    index = np.asarray(rng.integers(-x.shape[axis], x.shape[axis], indices))
    for index_dtype in ("int64", "int32"):
        check("Gather", {"axis": axis}, x, index.astype(index_dtype))


def test_gather_refuses_known_indices_out_of_range_and_clamps_computed_ones() -> None:
    x, index = TensorSpec((3, 2)), i64(0, 3)
    assert "expected indices in [-3, 3), got 0 to 3" in refusal("Gather", {}, [x, TensorSpec.of(index)], [None, index])
    assert "expected indices" in refusal("Gather", {}, [TensorSpec((0, 2)), TensorSpec.of(index)], [None, None])
    assert evaluate("Gather", {}, [np.arange(3), i64(7, -9, 1)])[0].tolist() == [2, 0, 1]


@pytest.mark.parametrize("perm", [None, [0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2], [3, 2, 0, 1]], ids=str)
def test_transpose_agrees_with_onnxruntime(perm: list[int] | None) -> None:
    x = sample(np.random.default_rng(7), (2, 3, 4, 5))
    check("Transpose", {} if perm is None else {"perm": perm}, x)


def test_transpose_refuses_a_perm_that_is_none() -> None:
    for perm in ([0, 0], [0], [0, 2], [0, -1]):
        assert "expected perm to order the axes" in refusal("Transpose", {"perm": perm}, [TensorSpec((2, 3))], [])


def test_expand_broadcasts_both_ways() -> None:
    rng = np.random.default_rng(8)
    check("Expand", {}, sample(rng, (3, 1)), i64(2, 3, 6))
    check("Expand", {}, sample(rng, (3, 4)), i64(1, 1))
    check("Expand", {}, sample(rng, ()), i64(2, 2))
    check("Expand", {}, sample(rng, (1,), "int64"), i64(0))
    assert "expected shapes that broadcast" in refusal("Expand", {}, *int_inputs(TensorSpec((3,)), [4]))
    assert "expected sizes of 0 or more" in refusal("Expand", {}, *int_inputs(TensorSpec((3,)), [-1]))
    assert "at most 4,294,967,296 bytes" in refusal("Expand", {}, *int_inputs(TensorSpec((1,)), [1 << 40]))


def test_tile_repeats_each_axis() -> None:
    rng = np.random.default_rng(9)
    for dtype in DTYPES:
        check("Tile", {}, sample(rng, (2, 3), dtype), i64(3, 2))
    check("Tile", {}, sample(rng, (2, 3)), i64(0, 2))
    assert "expected a number of repeats for each axis" in refusal("Tile", {}, *int_inputs(TensorSpec((2, 3)), [2]))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_depth_to_space_is_onnx_with_channels_last_and_space_to_depth_undoes_it(mode: str, block: int) -> None:
    x = sample(np.random.default_rng(10), (2, 3, 5, 2 * block * block))
    attrs = {"blocksize": block, "mode": mode}
    (y,) = evaluate("DepthToSpace", attrs, [x])
    (expected,) = onnx_outputs("DepthToSpace", attrs, [np.moveaxis(x, -1, 1)], 1)
    assert np.array_equal(np.moveaxis(y, -1, 1), expected)
    assert np.array_equal(evaluate("SpaceToDepth", attrs, [y])[0], x)


def test_space_to_depth_is_onnx_with_channels_last() -> None:
    x = sample(np.random.default_rng(11), (2, 4, 6, 3))
    (y,) = evaluate("SpaceToDepth", {"blocksize": 2}, [x])
    (expected,) = onnx_outputs("SpaceToDepth", {"blocksize": 2}, [np.moveaxis(x, -1, 1)], 1)
    assert np.array_equal(np.moveaxis(y, -1, 1), expected)


def test_block_ops_refuse_sizes_that_the_block_does_not_divide() -> None:
    x = TensorSpec((1, 4, 5, 6))
    assert "expected channels that" in refusal("DepthToSpace", {"blocksize": 2}, [x], [])
    assert "expected a height and width" in refusal("SpaceToDepth", {"blocksize": 2}, [x], [])
    assert "mode" in refusal("DepthToSpace", {"blocksize": 2, "mode": "RCD"}, [x], [])
    assert "expected (N, H, W, C)" in refusal("SpaceToDepth", {"blocksize": 2}, [TensorSpec((4, 4))], [])
    assert "blocksize of 1 or more" in refusal("DepthToSpace", {"blocksize": 0}, [x], [])
