"""An op of somebody's own: all that this file says is its contract, its gradient and its lowering. Everything else asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import alula
from alula.host.onnx.exporter import export_onnx
from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack, weight_axes
from alula.runtime.errors import GraphError, ShapeError
from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import REGISTRY, NoAttrs, Op, Specs, Values, find, register
from alula.runtime.ops.traits import BIAS, WEIGHT, ChannelsLast, Linear, Operand, first
from alula.runtime.passes import optimise
from alula.runtime.planning.autodiff import Tape, rule
from alula.runtime.planning.lowering import Lowering, lowers
from alula.runtime.planning.nodes import emit_move
from alula.runtime.train import MSE, SGD, Trainer

C_IN, C_OUT = 24, 20


def _infer(attrs: NoAttrs, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    x, weight = specs[0], specs[1]
    assert x is not None and weight is not None
    if x.dims[-1] != weight.dims[1]:
        raise ShapeError(f"expected {weight.dims[1]} channels, got {x.dims[-1]}; check the model")
    return (TensorSpec((*x.dims[:-1], weight.dims[0])),)


def channel_mix(attrs: NoAttrs, x: Array, weight: Array, bias: Array | None = None) -> tuple[Array]:
    """x (N, *spatial, C_IN) times the transpose of a weight (C_OUT, C_IN), plus a bias (C_OUT,)."""
    y = x @ weight.T
    return (y if bias is None else y + bias,)


register(
    Op(
        "ChannelMix", _infer, channel_mix, n_inputs=(2, 3), domain="own", channels_last=ChannelsLast(), rank=first,
        operands={1: Operand(WEIGHT, outputs=0, inputs=1), 2: Operand(BIAS)}, linear=Linear(1, 2),
    )
)  # fmt: skip


@rule("ChannelMix")
def channel_mix_gradient(tape: Tape, node: Node, gradients: tuple[str, ...]) -> Sequence[str]:
    """dX = dY W, dW = dY' X over all pixels, db = the sum of dY."""
    (x, weight, *bias), (dy,) = node.inputs, gradients
    c_out, c_in = tape.spec(weight).dims
    dx = tape.node("MatMul", [dy, weight]) if tape.wants(x) else ""
    dw = db = ""
    if tape.wants(weight):
        rows, flat = tape.reshaped(dy, (-1, c_out)), tape.reshaped(x, (-1, c_in))
        dw = tape.node("Gemm", [rows, flat], transA=1)
    if bias and tape.wants(bias[0]):
        db = tape.reduced(dy, bias[0])
    return (dx, dw, db)[: len(node.inputs)]


@lowers("ChannelMix")
def lower_channel_mix(lowering: Lowering, node: Node) -> bool:
    """Only a mix of one channel by a weight of 1 has a kernel: a copy."""
    weight = lowering.value(node.inputs[1])
    if len(node.inputs) > 2 or weight is None or weight.shape != (1, 1) or weight[0, 0] != 1:
        return False
    emit_move(lowering, node.inputs[0], node.outputs[0])
    return True


def model() -> onnx.ModelProto:
    """A convolution, the op between element-wise ops that fold into it, and a classifier's end."""
    rng = np.random.default_rng(0)
    weights = {
        "conv.w": rng.standard_normal((C_IN, 3, 3, 3)) / 5, "mix.w": rng.standard_normal((C_OUT, C_IN)) / 4,
        "mix.b": rng.standard_normal(C_OUT), "gain": rng.random((1, C_OUT, 1, 1)) + 0.5,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "conv.w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("ChannelMix", ["r", "mix.w", "mix.b"], ["m"], "mix", domain="own"),
        helper.make_node("Mul", ["m", "gain"], ["g"], "gained"),
        helper.make_node("GlobalAveragePool", ["g"], ["y"], "pool"),
    ]
    made = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("n", 3, 8, 6))
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "own", [x], [y], made)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("own", 1)], ir_version=10
    )


def answer(x: Array) -> Array:
    """The network in plain NumPy."""
    weights = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model().graph.initializer}
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    c = np.maximum(np.einsum("nchwij,ocij->nohw", windows, weights["conv.w"]), 0)
    m = np.einsum("nchw,oc->nohw", c, weights["mix.w"]) + weights["mix.b"][:, None, None]
    return np.asarray((m * weights["gain"]).mean((2, 3), keepdims=True))


def batch(n: int = 4) -> tuple[Array, Array]:
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, 3, 8, 6)).astype(np.float32), rng.standard_normal((n, C_OUT, 1, 1)).astype(
        np.float32
    )


def test_it_is_imported_in_its_layout_and_runs_as_its_reference() -> None:
    graph = import_onnx(model()).graph
    x, _ = batch()
    found = Model(graph)
    np.testing.assert_allclose(found(x), answer(x), rtol=1e-4, atol=1e-5)
    (program,) = found._programs.values()
    assert [node.op for node in program.reference_nodes] == ["ChannelMix"]


def test_constant_arithmetic_behind_it_folds_into_its_weights() -> None:
    graph = optimise(import_onnx(model()).graph)
    assert not {"Mul"} & {part.op for node in graph.nodes for part in (node, *node.fused)}
    x, _ = batch()
    np.testing.assert_allclose(Model(graph)(x), answer(x), rtol=1e-4, atol=1e-5)


def test_it_is_packed_with_its_weights_quantised(tmp_path: Path) -> None:
    graph = import_onnx(model()).graph
    assert weight_axes(optimise(graph))["mix.w"] == 0
    path = tmp_path / "own.alula"
    report = pack({"own": graph}, path, bits=8)
    (row,) = (row for row in report.tensors if row.name == "mix.w")
    assert 0 < row.error_ratio < 0.01 and row.stored_bytes < row.raw_bytes / 2
    x, _ = batch()
    np.testing.assert_allclose(alula.load(path)(x), answer(x), atol=0.02 * np.abs(answer(x)).max())


def test_its_weights_and_bias_are_trained() -> None:
    trainer = Trainer(import_onnx(model()).graph, SGD(lr=0.05), MSE(), threads=1)
    assert {"mix.w", "mix.b"} <= set(trainer.trained)
    x, y = batch()
    losses = [trainer.step(x, y).loss for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]
    assert set(Trainer(import_onnx(model()).graph, SGD(), MSE(), "bias").trained) == {"mix.b"}


@pytest.mark.parametrize("name", ["mix.w", "mix.b"])
def test_its_gradient_is_that_of_differences(name: str) -> None:
    graph = import_onnx(model()).graph
    trainer = Trainer(graph, SGD(), MSE(), name, threads=1)
    x, y = batch()
    gradient = trainer.gradients(x, y)[name]
    value, step = trainer.graph.constants[name], np.float32(1e-2)
    for place in ((0,) * value.ndim, tuple(n - 1 for n in value.shape)):
        losses = []
        for sign in (1, -1):
            moved = value.copy()
            moved[place] += sign * step
            losses.append(float(np.mean((Model(graph.with_nodes(graph.nodes, {name: moved}))(x) - y) ** 2)))
        assert gradient[place] == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=2e-2, abs=1e-4)


def test_a_part_of_its_input_channels_is_trained() -> None:
    whole, part = (
        Trainer(import_onnx(model()).graph, SGD(lr=0.05), MSE(), rule, threads=1) for rule in ("mix.w", "mix.w:0.25")
    )
    assert part.roles["mix.w"] == "in part"
    x, y = batch()
    for trainer in (whole, part):
        trainer.step(x, y)
    before = whole.graph.constants["mix.w"]
    moved, all_moved = (t.trained_graph().constants["mix.w"] - before for t in (part, whole))
    columns = np.flatnonzero(np.abs(moved).max(0))
    assert len(columns) == C_IN // 4
    np.testing.assert_allclose(moved[:, columns], all_moved[:, columns], rtol=1e-4, atol=1e-7)


def test_it_is_exported_in_its_domain() -> None:
    exported = export_onnx(import_onnx(model()).graph)
    (node,) = (node for node in exported.graph.node if node.op_type == "ChannelMix")
    assert node.domain == "own" and "own" in {entry.domain for entry in exported.opset_import}
    x, _ = batch()
    np.testing.assert_allclose(Model(import_onnx(exported).graph)(x), answer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "inputs", "got"),
    [
        (9, 1, "9, 1"),
        ("0", None, "'0', None"),
        (True, 0, "True, 0"),
        (1, 1, "1, 1"),
        (lambda attrs: -9, None, "-9, None"),
    ],
)
def test_axes_that_no_weight_has_are_refused_when_it_is_registered(outputs: Any, inputs: Any, got: str) -> None:
    mix = find("ChannelMix", "")
    wrong = replace(mix, name="Wrong", operands={**mix.operands, 1: Operand(WEIGHT, outputs=outputs, inputs=inputs)})
    with pytest.raises(
        GraphError, match=rf"op Wrong: expected two different axes of input 1 .*, got {got}; correct its"
    ):
        register(wrong)
    assert "Wrong" not in REGISTRY


def test_axes_that_this_weight_lacks_are_refused_when_shapes_are_known() -> None:
    mix = find("ChannelMix", "")
    register(replace(mix, name="DeepMix", operands={**mix.operands, 1: Operand(WEIGHT, outputs=0, inputs=2)}))
    nodes = (Node("DeepMix", ("x", "w"), ("y",), NoAttrs()),)
    graph = Graph("one", {"x": TensorSpec((2, 3, 4))}, ("y",), nodes, Arrays(w=np.ones((5, 4), np.float32)))
    with pytest.raises(GraphError, match=r"y \(DeepMix\): expected input 1 to have an axis 2, .* got float32\(5, 4\)"):
        Model(graph)(np.ones((2, 3, 4), np.float32))


def test_its_name_in_another_domain_is_refused() -> None:
    foreign = model()
    foreign.graph.node[2].domain = "theirs"
    foreign.opset_import.append(helper.make_opsetid("theirs", 1))
    with pytest.raises(GraphError, match="got one of 'theirs'"):
        import_onnx(foreign)


def test_its_kernel_runs_where_its_rule_takes_the_shapes() -> None:
    attrs = find("ChannelMix", "").make_attrs({}, "")
    nodes = (Node("ChannelMix", ("x", "w"), ("y",), attrs),)
    graph = Graph("one", {"x": TensorSpec((2, 3, 1))}, ("y",), nodes, Arrays(w=np.ones((1, 1), np.float32)))  # fmt: skip
    found, x = Model(graph), np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    np.testing.assert_array_equal(found(x), x)
    (program,) = found._programs.values()
    assert not program.reference_nodes
