"""ONNX in: every opset means what onnxruntime says it means, and a bad file is one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alula.host.onnx.importer import import_onnx
from alula.runtime.errors import AlulaError, GraphError, ImportFileError, ShapeError
from alula.runtime.graph import Array
from alula.runtime.planning.reference import evaluate
from tests.host.onnx_models import assert_same_as_onnxruntime, model, node


def f32(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


X = {"x": f32(2, 6, 5, 7)}

# what older opsets wrote otherwise: (opset, nodes, constants)
OLD: dict[str, tuple[int, list[onnx.NodeProto], dict[str, Array]]] = {
    "clip 7": (7, [node("Clip", "x", min=-0.5, max=0.25)], {}),
    "clip 9 without min": (9, [node("Clip", "x", max=0.25)], {}),
    "pad 9": (9, [node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 3, 0], value=1.5)], {}),
    "pad 10 reflect": (10, [node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 3, 0], mode="reflect")], {}),
    "slice 9": (9, [node("Slice", "x", starts=[1, -4], ends=[5, 9], axes=[1, 3])], {}),
    "slice 9 without axes": (9, [node("Slice", "x", starts=[1, 2], ends=[2, 5])], {}),
    "split 11": (11, [node("Split", "x", "a b", split=[2, 4], axis=1), node("ReduceSum", "b")], {}),
    "split 11 even": (11, [node("Split", "x", "a y", axis=1)], {}),
    "squeeze 11": (11, [node("ReduceMax", "x", "m", axes=[2]), node("Squeeze", "m", axes=[2])], {}),
    "squeeze 11 of all": (11, [node("ReduceMax", "x", "m", axes=[2]), node("Squeeze", "m")], {}),
    "unsqueeze 11": (11, [node("Unsqueeze", "x", axes=[0, 3])], {}),
    "reduce 11": (11, [node("ReduceMean", "x", axes=[1, -1], keepdims=0)], {}),
    "reduce 13": (13, [node("ReduceL2", "x", axes=[2, 3])], {}),
    "reduce 12 of all": (12, [node("ReduceMin", "x")], {}),
    "softmax 11 flattens": (11, [node("Softmax", "x", axis=2)], {}),
    "softmax 9 by default": (9, [node("Softmax", "x")], {}),
    "logsoftmax 11 along the last axis": (11, [node("LogSoftmax", "x", axis=3)], {}),
    "softmax 13": (13, [node("Softmax", "x", axis=1)], {}),
    "dropout 7": (7, [node("Dropout", "x", ratio=0.3)], {}),
    "upsample 7": (7, [node("Upsample", "x", scales=[1.0, 1.0, 2.0, 3.0])], {}),
    "upsample 9 linear": (9, [node("Upsample", "x s", mode="linear")], {"s": np.array([1, 1, 2, 2], np.float32)}),
    "resize 10": (10, [node("Resize", "x s")], {"s": np.array([1, 1, 2, 2], np.float32)}),
    "resize 10 down": (10, [node("Resize", "x s")], {"s": np.array([1, 1, 0.6, 0.6], np.float32)}),
    "resize 10 down and up": (10, [node("Resize", "x s")], {"s": np.array([1, 1, 2, 0.6], np.float32)}),
    "an op of a later opset": (
        12,
        [node("LayerNormalization", "x s b", axis=-1)],
        {"s": f32(7), "b": f32(7, seed=1)},
    ),
    "resize 11 with empty inputs": (
        11,
        [node("Resize", "x none none n", mode="linear", coordinate_transformation_mode="align_corners")],
        {"none": np.zeros(0, np.float32), "n": i64(2, 6, 9, 4)},
    ),
    "batch norm 8": (
        8,
        [node("BatchNormalization", "x s b m v", epsilon=1e-3)],
        {"s": f32(6), "b": f32(6, seed=1), "m": f32(6, seed=2), "v": np.abs(f32(6, seed=3))},
    ),
    "sum and mean": (13, [node("Sum", "x x x", "s"), node("Mean", "s x")], {}),
    "one sum": (13, [node("Sum", "x", "s"), node("Mean", "s")], {}),
    "cast": (9, [node("Cast", "x", to=TensorProto.INT32)], {}),
    "flatten and gemm 7": (
        7,
        [node("Flatten", "x", "f"), node("Gemm", "f w b", transB=1, alpha=0.5)],
        {"w": f32(4, 210), "b": f32(4)},
    ),
}


@pytest.mark.parametrize("case", OLD)
def test_an_old_opset_means_what_onnxruntime_says(case: str) -> None:
    opset, nodes, constants = OLD[case]
    assert_same_as_onnxruntime(model(nodes, X, constants, opset=opset), X)


SPATIAL: dict[str, tuple[list[onnx.NodeProto], dict[str, Array], dict[str, Array]]] = {
    "grouped convolution": (
        [node("Conv", "x w b", pads=[1, 0, 2, 1], strides=[2, 1], group=2)],
        {"x": f32(2, 6, 9, 8)},
        {"w": f32(4, 3, 3, 3), "b": f32(4)},
    ),
    "convolution of a line": ([node("Conv", "x w", dilations=[2])], {"x": f32(1, 3, 20)}, {"w": f32(5, 3, 3)}),
    "convolution of codes": (
        [
            node("QuantizeLinear", "x s z", "q"),
            node("QLinearConv", "q s z w s z t z b", "c", pads=[1, 0, 2, 1], strides=[2, 1]),
            node("DequantizeLinear", "c t z"),
        ],
        {"x": f32(2, 4, 9, 8)},
        {
            "w": np.round(f32(5, 4, 3, 3) * 40).astype(np.int8),
            "b": np.arange(5, dtype=np.int32),
            "s": np.array(0.05, np.float32),
            "t": np.array(0.5, np.float32),
            "z": np.array(0, np.int8),
        },
    ),
    "convolution with a computed weight": (
        [node("Abs", "w", "v"), node("Conv", "x v")],
        {"x": f32(1, 3, 6, 6), "w": f32(5, 3, 3, 3)},
        {},
    ),
    "transposed convolution": (
        [node("ConvTranspose", "x w", strides=[2, 2], output_padding=[1, 0])],
        {"x": f32(1, 4, 5, 6)},
        {"w": f32(4, 3, 3, 3)},
    ),
    "chain of pools": (
        [
            node("MaxPool", "x", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("AveragePool", "p", "q", kernel_shape=[2, 2], ceil_mode=1),
            node("GlobalAveragePool", "q"),
        ],
        {"x": f32(1, 4, 9, 8)},
        {},
    ),
    "instance norm": ([node("InstanceNormalization", "x s b")], {"x": f32(2, 3, 5, 4)}, {"s": f32(3), "b": f32(3)}),
    "batch norm of vectors": (
        [node("BatchNormalization", "x s s s v")],
        {"x": f32(2, 3)},
        {"s": f32(3), "v": np.ones(3, np.float32)},
    ),
    "depth to space": ([node("DepthToSpace", "x", blocksize=2, mode="CRD")], {"x": f32(1, 8, 3, 4)}, {}),
    "weight read in both orders": (
        [node("Conv", "x w", "c"), node("ReduceSum", "w", "r", keepdims=0), node("Mul", "c r")],
        {"x": f32(1, 3, 4, 4)},
        {"w": f32(2, 3, 3, 3)},
    ),
}


@pytest.mark.parametrize("case", SPATIAL)
def test_channels_first_becomes_channels_last(case: str) -> None:
    nodes, inputs, constants = SPATIAL[case]
    assert_same_as_onnxruntime(model(nodes, inputs, constants), inputs, rtol=1e-4)


def test_a_convolution_weight_is_turned_once_and_keeps_its_name() -> None:
    x, w = f32(1, 3, 8, 8), f32(4, 3, 5, 3)
    graph = import_onnx(
        model([node("Conv", "x w", "a"), node("Conv", "x w", "b"), node("Add", "a b")], {"x": x}, {"w": w})
    ).graph
    assert dict(graph.constants).keys() == {"w"}
    np.testing.assert_array_equal(graph.constants["w"], w.transpose(0, 2, 3, 1))


def test_group_norm_18_has_one_scale_a_group() -> None:
    x, scale, bias = f32(2, 6, 4, 3), f32(3, seed=1), f32(3, seed=2)
    proto = model([node("GroupNormalization", "x s b", num_groups=3)], {"x": x}, {"s": scale, "b": bias}, opset=18)
    grouped = x.reshape(2, 3, -1)
    normal = (grouped - grouped.mean(2, keepdims=True)) / np.sqrt(grouped.var(2, keepdims=True) + 1e-5)
    want = (normal * scale[:, None] + bias[:, None]).reshape(x.shape)
    np.testing.assert_allclose(evaluate(import_onnx(proto).graph, {"x": x})["y"], want, rtol=1e-4, atol=1e-5)


def test_constants_come_in_every_form() -> None:
    nodes = [
        helper.make_node("Constant", [], ["a"], value_float=2.0),
        helper.make_node("Constant", [], ["b"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Constant", [], ["c"], value_ints=[3]),
        helper.make_node("Constant", [], ["d"], value=numpy_helper.from_array(f32(3))),
        helper.make_node("Constant", [], ["e"], sparse_value=helper.make_sparse_tensor(
            helper.make_tensor("values", TensorProto.FLOAT, [1], [5.0]), helper.make_tensor("at", TensorProto.INT64, [1], [1]), [3])),
        node("Mul", "x a", "1"), node("Add", "1 b", "2"), node("Reshape", "2 c", "3"), node("Add", "3 d", "4"), node("Add", "4 e"),
    ]  # fmt: skip
    graph = import_onnx(model(nodes, {"x": f32(3)})).graph
    want = f32(3) * 2 + np.float32([1, 2, 3]) + f32(3) + np.float32([0, 5, 0])
    np.testing.assert_allclose(evaluate(graph, {"x": f32(3)})["y"], want, rtol=1e-6)


def test_dimensions_that_are_not_fixed_get_names() -> None:
    proto = model(
        [node("Add", "x z")], {"x": f32(1, 1, 1), "z": f32(1, 1, 1)}, shapes={"x": ["n", None, 0], "z": [None, "?", 4]}
    )
    graph = import_onnx(proto).graph
    assert graph.inputs["x"].shape == ("n", "dim_1", "dim_2")
    assert graph.inputs["z"].shape == ("batch", "dim_1_2", 4)


def test_ranks_are_followed_where_onnx_cannot() -> None:
    nodes = [node("Shape", "x", "s"), node("Cast", "s", "f", to=TensorProto.FLOAT), node("Cast", "f", "i", to=TensorProto.INT64),
             node("Reshape", "x i", "r"), node("Relu", "r", "q"), node("GlobalMaxPool", "q")]  # fmt: skip
    inputs = {"x": f32(2, 3, 4, 5)}
    assert_same_as_onnxruntime(model(nodes, inputs, shapes={"x": ["n", 3, "h", "w"]}), inputs)
    # and from there on through what adds or removes axes
    nodes[4:] = [node("Unsqueeze", "r one", "u"), node("ReduceSum", "u one", "t", keepdims=0), node("Shape", "t", "ts"),
                 node("Expand", "half ts", "e"), node("Mul", "t e", "m"), node("Reshape", "m ts", "v"),
                 node("GlobalMaxPool", "v")]  # fmt: skip
    constants = {"one": np.array([1]), "half": f32(1)}
    assert_same_as_onnxruntime(model(nodes, inputs, constants, shapes={"x": ["n", 3, "h", "w"]}), inputs)


def test_an_unknown_op_that_onnx_defines_by_others_is_written_out() -> None:
    inputs = {"x": f32(3, 4)}
    graph = assert_same_as_onnxruntime(model([node("Selu", "x", "s"), node("Shrink", "s")], inputs), inputs)
    assert not {"Selu", "Shrink"} & {n.op for n in graph.nodes}


def test_the_models_own_functions_are_written_out() -> None:
    body = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 21)]
    )
    proto = model([helper.make_node("Twice", ["x"], ["y"], domain="mine")], {"x": f32(2)})
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    proto.functions.append(body)
    np.testing.assert_array_equal(evaluate(import_onnx(proto).graph, {"x": f32(2)})["y"], 2 * f32(2))


def test_nodes_may_come_in_any_order_and_metadata_is_kept() -> None:
    proto = model([node("Relu", "a"), node("Neg", "x", "a")], {"x": f32(2)})
    helper.set_model_props(proto, {"character": "a\nb"})
    imported = import_onnx(proto.SerializeToString(), name="mine")
    assert [n.op for n in imported.graph.nodes] == ["Neg", "Relu"]
    assert imported.metadata == {"character": "a\nb"} and imported.graph.name == "mine"


def _broken(**changes: Any) -> onnx.ModelProto:
    """A convolution with something wrong."""
    x = changes.get("x", f32(1, 3, 8, 8))
    w = changes.get("w", f32(4, 3, 3, 3))
    proto = model([changes.get("node", node("Conv", "x w"))], {"x": x}, {"w": w}, shapes=changes.get("shapes"))
    if "opset" in changes:
        proto.opset_import[0].version = changes["opset"]
    return proto


NAN = f32(4, 3, 3, 3)
NAN[1, 2], NAN[0, 0, 0, 0] = np.nan, np.inf
EMPTY = helper.make_graph([], "nothing", [], [])
ROW = helper.make_graph(
    [node("Relu", "row", "out")], "row",
    *([helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3, 8, 8])] for name in ("row", "out")),
)  # fmt: skip
BRANCH = helper.make_node("If", ["x"], ["y"], then_branch=EMPTY, else_branch=EMPTY)
BAD: dict[str, tuple[onnx.ModelProto, type[AlulaError], str]] = {
    "unknown op": (_broken(node=node("Convv", "x w")), GraphError, r"the_convv \(Convv\): .*'Convv'; the nearest are Conv"),
    "another domain": (_broken(node=helper.make_node("BeamSearch", ["x"], ["y"], domain="com.microsoft")), GraphError, "com.microsoft"),
    "channels": (_broken(w=f32(4, 5, 3, 3)), ShapeError, r"the_conv \(Conv\): expected .*got"),
    "channels with a free batch": (_broken(w=f32(4, 5, 3, 3), shapes={"x": ["n", 3, 8, 8]}), ShapeError, r"the_conv \(Conv\): expected"),
    "nan": (_broken(w=NAN), ImportFileError, "tensor 'w': expected finite values, got 9 NaN and 1 infinite of 108"),
    "opset too new": (_broken(opset=99), ImportFileError, "opset from 6 to 28, got 99"),
    "opset too old": (_broken(opset=5, node=node("Add", "x x")), ImportFileError, "opset from 6 to 28, got 5"),
    "a branch": (
        _broken(node=BRANCH),
        GraphError, "outputs of each branch",
    ),
    "an attribute of another op": (_broken(node=node("Relu", "x", alpha=1.0)), GraphError, "alpha"),
    "an attribute of another kind": (_broken(node=node("Conv", "x w", group=1.5)), GraphError, "group as INT"),
    "too many inputs": (_broken(node=node("Relu", "x w")), GraphError, "expected 1 to 1 inputs, got 2"),
    "a missing tensor": (_broken(node=node("Conv", "x lost")), GraphError, "'lost'"),
    "a cycle": (model([node("Add", "x b", "a"), node("Neg", "a", "b"), node("Neg", "a")], {"x": f32(2)}), GraphError, "cycle"),
    "no weight": (_broken(node=helper.make_node("Conv", ["x", ""], ["y"])), GraphError, "expected input 1 to be given, got none"),
    "an output that nothing makes": (model([node("Relu", "x")], {"x": f32(2)}, outputs=("y", "z")), GraphError, "expected output 'z'"),
    "no groups": (
        model([node("GroupNormalization", "x s s", num_groups=0)], {"x": f32(1, 4, 3, 3)}, {"s": f32(4)}, opset=18),
        GraphError, "expected channels that 0 groups divide",
    ),
    "a branch of somebody's own": (_broken(node=helper.make_node("If", ["x"], ["y"], domain="own")), GraphError, "got one of 'own'"),
    "a loop": (_broken(node=helper.make_node("Scan", ["x"], ["y"], body=ROW, num_scan_inputs=1)), GraphError, "network without loops"),
    "no nodes": (model([], {"x": f32(2)}, outputs=("x",)), ImportFileError, "without nodes"),
    "no outputs": (model([node("Relu", "x")], {"x": f32(2)}, outputs=()), ImportFileError, "without outputs"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_model_is_one_clear_line(case: str) -> None:
    proto, kind, pattern = BAD[case]
    with pytest.raises(kind, match=pattern) as caught:
        import_onnx(proto)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"hello, this is a text\n" * 9, b"\x08\x08", b"PK\x03\x04" + bytes(99)])
def test_what_is_not_an_onnx_file_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(ImportFileError, match=r"net\.onnx: expected an ONNX file"):
        import_onnx(tmp_path / "net.onnx")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="expected a readable ONNX file"):
        import_onnx(tmp_path / "none.onnx")


def test_cut_and_flipped_files_are_refused_or_read_but_never_crash() -> None:
    rng = np.random.default_rng(0)
    nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Softmax", "c", "s", axis=1), node("Resize", "s - f")]
    constants = {"w": f32(2, 3, 3, 3), "f": np.array([1, 1, 2, 2], np.float32)}
    whole = model(nodes, {"x": f32(1, 3, 4, 4)}, constants, opset=12).SerializeToString()
    refused = 0
    for _ in range(600):
        data = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.integers(1, 4)):
            if data:
                data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            import_onnx(bytes(data))
        except AlulaError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(("opset", "mode"), [(16, "bilinear"), (16, "bicubic"), (20, "linear"), (22, "nearest")])
def test_a_grid_samples_pictures_at_every_opset(opset: int, mode: str) -> None:
    inputs = {"x": f32(2, 3, 4, 5), "g": f32(2, 3, 6, 2)}
    proto = model([node("GridSample", "x g", mode=mode)], inputs, opset=opset)
    assert_same_as_onnxruntime(proto, inputs)
