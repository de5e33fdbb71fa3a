"""What imports, packs, and answers the same from the file: networks that were once refused or changed on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from alula.cli import main
from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack
from alula.runtime.graph import Graph
from alula.runtime.model import Model, load
from alula.runtime.planning.reference import evaluate

GENERATOR = np.random.default_rng(0)


def network(nodes: list[Any], shape: list[int], outputs: list[str], **weights: Any) -> Graph:
    """A network with the input x, of opset 21."""
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return import_onnx(helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)])).graph


def recurrent(op: str, gates: int, outputs: list[str]) -> Graph:
    """A recurrent layer of 3 cells over 5 steps, some of whose outputs are left out."""
    w, r = (GENERATOR.normal(size=(1, gates * 3, c)).astype(np.float32) for c in (4, 3))
    node = helper.make_node(op, ["x", "w", "r"], outputs, hidden_size=3)
    return network([node], [5, 2, 4], [name for name in outputs if name], w=w, r=r)


def filled(value: Any) -> Graph:
    """A ConstantOfShape of a shape that only the input tells."""
    fill = helper.make_node("ConstantOfShape", ["s"], ["y"], value=numpy_helper.from_array(np.array([value])))
    return network([helper.make_node("Shape", ["x"], ["s"]), fill], [2, 3], ["y"])


def power_after_a_fused_op() -> Graph:
    """A convolution with an epilogue that ends in a Pow."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Pow", ["b", "two"], ["y"]),
    ]
    w = GENERATOR.normal(size=(4, 3, 2, 2)).astype(np.float32)
    return network(nodes, [1, 3, 5, 5], ["y"], w=w, two=np.float32(2))


def many_inputs() -> Graph:
    """A Concat of more tensors than a file once took."""
    nodes = [helper.make_node("Mul", ["x", f"c{i}"], [f"m{i}"]) for i in range(70)]
    nodes.append(helper.make_node("Concat", [f"m{i}" for i in range(70)], ["y"], axis=0))
    return network(nodes, [1, 2], ["y"], **{f"c{i}": np.float32(i) for i in range(70)})


def split_without_its_first_part() -> Graph:
    """A node of several outputs whose first one nothing reads."""
    return network([helper.make_node("Split", ["x"], ["", "y"], num_outputs=2, axis=1)], [2, 6], ["y"])


CASES: dict[str, Callable[[], Graph]] = {
    "LSTM without Y": lambda: recurrent("LSTM", 4, ["", "h"]),
    "LSTM with its last cell state alone": lambda: recurrent("LSTM", 4, ["", "", "c"]),
    "GRU without Y": lambda: recurrent("GRU", 3, ["", "h"]),
    "integer zero": lambda: filled(np.int64(0)),
    "integer one": lambda: filled(np.int32(1)),
    "false": lambda: filled(np.False_),
    "minus infinity": lambda: filled(np.float32(-np.inf)),
    "not a number": lambda: filled(np.float32(np.nan)),
    "Pow in an epilogue": power_after_a_fused_op,
    "70 inputs": many_inputs,
    "Split without its first part": split_without_its_first_part,
}


@pytest.mark.parametrize("case", CASES)
def test_a_network_answers_the_same_from_its_file(case: str, tmp_path: Path) -> None:
    graph = CASES[case]()
    x = GENERATOR.normal(size=graph.inputs["x"].shape).astype(np.float32)
    expected = evaluate(graph, {"x": x})
    for trainable in (False, True):
        path = tmp_path / f"{trainable}.alula"
        pack({"net": graph}, path, trainable=trainable)
        for model in (load(path), Model(graph)):
            for name, got in model.run({"x": x}).items():
                assert got.dtype == expected[name].dtype, name
                assert np.allclose(got, expected[name], rtol=1e-4, atol=1e-5, equal_nan=True), name


def test_the_command_runs_a_network_whose_output_is_one_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = network([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], [2, 3], ["y"])
    pack({"net": graph}, tmp_path / "net.alula")
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    assert main(["run", str(tmp_path / "net.alula"), str(tmp_path / "x.npy"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"] == {"y": 6.0}
