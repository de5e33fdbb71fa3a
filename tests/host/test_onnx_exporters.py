"""What exporters write beside a plain network: halves, parts that nothing reads, odd names, shapes that ONNX cannot infer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack
from alula.runtime.artifact import open_artifact
from alula.runtime.errors import AlulaError, GraphError, ImportFileError
from alula.runtime.graph import Array
from alula.runtime.planning.reference import evaluate
from tests.host.onnx_models import assert_same_as_onnxruntime, model, node, onnxruntime_answers


def f32(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X, W = {"x": f32(1, 3, 8, 8)}, {"w": f32(4, 3, 3, 3)}


def convolution(*others: onnx.NodeProto) -> onnx.ModelProto:
    """One convolution, and nodes that its result does not need."""
    return model([node("Conv", "x w"), *others], X, W)


def odd_tensor(kind: int) -> onnx.TensorProto:
    """A constant of a type that the engine does not have."""
    tensor = TensorProto(name=f"odd{kind}", data_type=kind, dims=[2])
    if kind == TensorProto.STRING:
        tensor.string_data.extend([b"a", b"b"])
    elif kind == TensorProto.COMPLEX64:
        tensor.float_data.extend([1, 2, 3, 4])
    else:
        tensor.int32_data.extend([1, 2])
    return tensor


def test_what_no_output_needs_is_left_out_whatever_it_is() -> None:
    proto = convolution(
        helper.make_node("Constant", [], ["text"], value_string=b"hello"),
        helper.make_node("StringNormalizer", ["text"], ["normal"]),
        helper.make_node("SequenceConstruct", ["x", "y"], ["pair"]),
        helper.make_node("Convv", ["pair"], ["z"], domain="someone"),
        helper.make_node("Add", ["p", "z"], ["q"]),  # a cycle
        helper.make_node("Neg", ["q"], ["p"]),
    )
    kinds = (
        TensorProto.STRING,
        TensorProto.COMPLEX64,
        TensorProto.FLOAT8E4M3FN,
        TensorProto.INT4,
        TensorProto.BFLOAT16,
    )
    proto.graph.initializer.extend(map(odd_tensor, kinds))
    proto.graph.initializer.append(numpy_helper.from_array(f32(2) * np.nan, "nan"))
    # PyTorch up to 1.2 lists every weight among the inputs, and counts the steps of a normalisation
    proto.graph.initializer.append(numpy_helper.from_array(np.array(7), "bn.num_batches_tracked"))
    proto.graph.input.append(helper.make_tensor_value_info("bn.num_batches_tracked", TensorProto.INT64, []))
    proto.graph.input.append(helper.make_tensor_value_info("unread", TensorProto.STRING, [1]))
    proto.graph.input.append(helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None))
    proto.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.STRING, ["a"]))
    proto.training_info.add()
    imported = import_onnx(proto)
    assert [n.op for n in imported.graph.nodes if n.op != "Transpose"] == ["Conv"]
    assert list(imported.graph.inputs) == ["x"] and list(imported.graph.constants) == ["w"]
    np.testing.assert_allclose(
        evaluate(imported.graph, X)["y"], onnxruntime_answers(convolution(), X)[0], rtol=1e-4, atol=1e-5
    )


def test_an_odd_constant_that_is_read_is_one_line() -> None:
    proto = model([node("Cast", "odd8", to=TensorProto.FLOAT)], X)
    proto.graph.initializer.append(odd_tensor(TensorProto.STRING))
    with pytest.raises(AlulaError, match=r"tensor 'odd8': expected one of .* got string; convert"):
        import_onnx(proto)


def bfloat16(name: str, array: Array, listed: bool) -> onnx.TensorProto:
    """The upper halves of float32 values, as bytes or as numbers."""
    upper = (array.view(np.uint32) >> 16).astype(np.uint16)
    if not listed:
        return helper.make_tensor(name, TensorProto.BFLOAT16, array.shape, upper.tobytes(), raw=True)
    tensor = TensorProto(name=name, data_type=TensorProto.BFLOAT16, dims=array.shape)
    tensor.int32_data.extend(upper.reshape(-1).tolist())
    return tensor


LAYERS = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("GlobalAveragePool", "r", "p"), node("Flatten", "p", "f"),
          node("MatMul", "f v")]  # fmt: skip


def test_a_network_in_float16_takes_and_gives_float16_and_computes_in_float32() -> None:
    x = {"x": X["x"].astype(np.float16)}
    weights = {"w": W["w"].astype(np.float16), "v": f32(4, 5).astype(np.float16)}
    proto = model(LAYERS, x, weights)
    graph = import_onnx(proto).graph
    assert graph.inputs["x"].dtype == "float16" and {graph.constants.spec(name).dtype for name in weights} == {
        "float32"
    }
    assert import_onnx(proto).notes == ("float16: computed in float32",)
    wide = model(LAYERS, X, {name: array.astype(np.float32) for name, array in weights.items()})
    want = onnxruntime_answers(wide, {"x": x["x"].astype(np.float32)})[0]
    np.testing.assert_array_equal(evaluate(graph, x)["y"], want.astype(np.float16))


@pytest.mark.parametrize("listed", [False, True])
def test_a_network_in_bfloat16_takes_and_gives_float32(listed: bool) -> None:
    proto = model(LAYERS, X)
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    proto.graph.initializer.extend([bfloat16("w", W["w"], listed), bfloat16("v", f32(4, 5), listed)])
    imported = import_onnx(proto)
    assert "taken and returned as float32: x, y" in imported.notes[1]
    assert np.array_equal(imported.graph.constants["v"].view(np.uint32), f32(4, 5).view(np.uint32) & 0xFFFF0000)
    assert evaluate(imported.graph, X)["y"].dtype == np.float32


def test_casts_to_a_half_and_back_leave_float32() -> None:
    nodes = [node("Cast", "x", "h", to=TensorProto.FLOAT16), node("Constant", "", "two", value=numpy_helper.from_array(np.float16([2]))),
             node("Mul", "h two", "m"), node("Cast", "m", to=TensorProto.FLOAT)]  # fmt: skip
    np.testing.assert_array_equal(evaluate(import_onnx(model(nodes, X)).graph, X)["y"], X["x"] * 2)


def test_a_function_of_another_opset_is_read_by_its_own() -> None:
    body = [helper.make_node("Softmax", ["a"], ["s"], axis=1), helper.make_node("CastLike", ["s", "a"], ["c"]),
            helper.make_node("ReduceMean", ["c"], ["b"], axes=[1])]  # fmt: skip
    proto = model([helper.make_node("Mine", ["x"], ["y"], domain="own")], X)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.functions.append(helper.make_function("own", "Mine", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    proto.functions.append(
        helper.make_function("own", "Unread", ["a"], ["b"], [helper.make_node("Convv", ["a"], ["b"])], [])
    )
    want = onnxruntime_answers(
        model([node("Softmax", "x", "s", axis=1), node("ReduceMean", "s", axes=[1])], X, opset=17), X
    )
    np.testing.assert_allclose(evaluate(import_onnx(proto).graph, X)["y"], want[0], rtol=1e-5)


def test_branches_inside_an_op_that_onnx_defines_by_others_are_written_out() -> None:
    inputs, size = {"x": f32(2, 2, 3)}, {"s": np.array([2, 3, 4, 5])}
    assert_same_as_onnxruntime(model([node("AffineGrid", "x s", align_corners=1)], inputs, size), inputs)


def test_shapes_that_onnx_cannot_infer_are_left_to_our_ops() -> None:
    nodes = [node("Conv", "x w", "c"), node("GroupNormalization", "c s b", "g", num_groups=2), node("Sigmoid", "g")]
    assert_same_as_onnxruntime(model(nodes, X, W | {"s": f32(4), "b": f32(4, seed=1)}), X, rtol=1e-4)


def test_a_free_first_dimension_need_not_be_a_batch() -> None:
    nodes = [node("Unsqueeze", "x axes", "u"), node("Conv", "u w")]
    constants = {"axes": np.array([0, 1]), "w": f32(2, 1, 40)}
    assert_same_as_onnxruntime(
        model(nodes, {"x": f32(64)}, constants, shapes={"x": ["samples"]}), {"x": f32(64)}, rtol=1e-4
    )


def test_names_that_break_lines_or_formats_are_changed(tmp_path: Path) -> None:
    long = "t" * 3000
    nodes = [
        helper.make_node("Conv", ["x\n1", "w|body"], [long], name="one\tname"),
        helper.make_node("Neg", [long], ["y"], name="one\tname"),
    ]
    graph = import_onnx(model(nodes, {"x\n1": X["x"]}, {"w|body": W["w"]})).graph
    assert list(graph.inputs) == ["x?1"]
    pack({"net": graph}, tmp_path / "net.alula")
    assert list(open_artifact(tmp_path / "net.alula").graphs["net"].inputs) == ["x?1"]


def test_two_constants_of_one_name_must_be_equal() -> None:
    proto = convolution()
    proto.graph.initializer.append(numpy_helper.from_array(W["w"], "w"))
    import_onnx(proto)
    proto.graph.initializer.append(numpy_helper.from_array(W["w"] + 1, "w"))
    with pytest.raises(ImportFileError, match="tensor 'w': expected one value, got two that differ"):
        import_onnx(proto)


def test_a_network_may_pass_an_input_or_a_constant_on() -> None:
    proto = model([node("Relu", "x")], X, {"k": f32(3)}, outputs=("y", "x", "k"))
    found = evaluate(import_onnx(proto).graph, X)
    np.testing.assert_array_equal(found["x"], X["x"])
    np.testing.assert_array_equal(found["k"], f32(3))


def test_an_error_line_stays_short_and_says_what_to_do() -> None:
    proto = model([helper.make_node("Convv", ["x"], ["y"], name="n" * 5000)], X)
    with pytest.raises(GraphError, match=r"^net: n+ \.\.\. n+ \(Convv\): .*; the nearest are Conv") as caught:
        import_onnx(proto)
    assert len(str(caught.value)) <= 300
