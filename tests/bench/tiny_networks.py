"""Twelve networks that take less than 100 us: controllers, sensors, letters. Written as exporters write them, with seeded weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from alula.runtime.graph import Array

OPSET = 17


class _Draft:
    """An ONNX graph that is written node by node."""

    def __init__(self, **inputs: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(0)
        self.inputs = inputs
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, value: Array) -> str:
        """A constant's name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, *shape: int) -> str:
        """Random weights that keep a signal's size, or a small bias."""
        scale = 0.1 if len(shape) == 1 else 1 / np.sqrt(np.prod(shape[1:]))
        return self.constant((scale * self.rng.standard_normal(shape)).astype(np.float32))

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        """A node; the name of its output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def dense(self, x: str, c_in: int, c_out: int, activation: str = "") -> str:
        """A fully connected layer."""
        y = self.node("Gemm", x, self.weight(c_out, c_in), self.weight(c_out), transB=1)
        return self.node(activation, y) if activation else y

    def conv(self, x: str, c_in: int, c_out: int, *kernel: int, groups: int = 1, stride: int = 1) -> str:
        """A convolution that keeps the size (over its stride), and Relu."""
        pads = [k // 2 for k in kernel] * 2
        weight = self.weight(c_out, c_in // groups, *kernel)
        y = self.node("Conv", x, weight, self.weight(c_out), pads=pads, group=groups, strides=[stride] * len(kernel))
        return self.node("Relu", y)

    def pooled(self, x: str, c_in: int, c_out: int) -> str:
        """The mean of each channel, and a fully connected layer."""
        return self.dense(self.node("Flatten", self.node("GlobalAveragePool", x)), c_in, c_out)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The whole."""
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in self.inputs.items()]
        results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
        graph = helper.make_graph(self.nodes, "tiny", values, results, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def logistic_regression() -> onnx.ModelProto:
    """64 features, ten classes."""
    net = _Draft(x=(1, 64))
    return net.model(net.node("Softmax", net.dense("x", 64, 10), axis=-1))


def controller() -> onnx.ModelProto:
    """A policy: eight sensors, two layers of tanh, two motors."""
    net = _Draft(x=(1, 8))
    return net.model(net.dense(net.dense(net.dense("x", 8, 64, "Tanh"), 64, 64, "Tanh"), 64, 2, "Tanh"))


def actor_critic() -> onnx.ModelProto:
    """Two inputs, a trunk, two outputs."""
    net = _Draft(state=(1, 12), goal=(1, 4))
    trunk = net.dense(net.node("Concat", "state", "goal", axis=1), 16, 48, "Relu")
    return net.model(net.node("Softmax", net.dense(trunk, 48, 5), axis=1), net.dense(trunk, 48, 1))


def digits() -> onnx.ModelProto:
    """A perceptron on images of 28 x 28."""
    net = _Draft(x=(1, 1, 28, 28))
    return net.model(net.dense(net.dense(net.node("Flatten", "x"), 784, 96, "Relu"), 96, 10))


def autoencoder() -> onnx.ModelProto:
    """64 values through eight, and how far the result is off."""
    net = _Draft(x=(1, 64))
    y = net.dense(net.dense(net.dense(net.dense("x", 64, 32, "Relu"), 32, 8), 8, 32, "Relu"), 32, 64, "Sigmoid")
    error = net.node("Sub", y, "x")
    return net.model(y, net.node("ReduceMean", net.node("Mul", error, error), axes=[1], keepdims=0))


def vibration() -> onnx.ModelProto:
    """Three 1-D convolutions over 128 samples of three axes."""
    net = _Draft(x=(1, 3, 128))
    y = net.conv(net.conv(net.conv("x", 3, 8, 5, stride=2), 8, 16, 5, stride=2), 16, 16, 3, stride=2)
    return net.model(net.pooled(y, 16, 4))


def keyword() -> onnx.ModelProto:
    """Depthwise separable convolutions over 16 frames of 20 features."""
    net = _Draft(x=(1, 1, 16, 20))
    y = net.conv("x", 1, 8, 3, 3, stride=2)
    for c_in, c_out in ((8, 16), (16, 16)):
        y = net.conv(net.conv(y, c_in, c_in, 3, 3, groups=c_in), c_in, c_out, 1, 1)
    return net.model(net.node("Softmax", net.pooled(y, 16, 12), axis=1))


def lenet() -> onnx.ModelProto:
    """LeNet's layers on letters of 16 x 16."""
    net, y = _Draft(x=(1, 1, 16, 16)), "x"
    for c_in, c_out in ((1, 6), (6, 16)):
        y = net.node("MaxPool", net.conv(y, c_in, c_out, 5, 5), kernel_shape=[2, 2], strides=[2, 2])
    y = net.dense(net.node("Flatten", y), 256, 64, "Relu")
    return net.model(net.dense(y, 64, 10))


def _recurrent(op: str, gates: int, steps: int, n_in: int, n_hidden: int, n_out: int) -> onnx.ModelProto:
    net = _Draft(x=(steps, 1, n_in))
    weights = (
        net.weight(1, gates * n_hidden, n_in),
        net.weight(1, gates * n_hidden, n_hidden),
        net.weight(1, 2 * gates * n_hidden),
    )
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    every = net.node("Squeeze", net.node(op, "x", *weights, hidden_size=n_hidden, **more), net.constant(np.array([1])))
    return net.model(net.dense(net.node("Gather", every, net.constant(np.array(-1)), axis=0), n_hidden, n_out))


def lstm() -> onnx.ModelProto:
    """Eight steps of six values, sixteen hidden ones."""
    return _recurrent("LSTM", 4, 8, 6, 16, 3)


def gru() -> onnx.ModelProto:
    """Ten steps of four values, sixteen hidden ones."""
    return _recurrent("GRU", 3, 10, 4, 16, 2)


def attention() -> onnx.ModelProto:
    """One block of attention: twelve positions, two heads of sixteen."""
    net = _Draft(x=(1, 12, 32))
    split, merged = net.constant(np.array([1, 12, 2, 16])), net.constant(np.array([1, 12, 32]))
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        y = net.node("Add", net.node("MatMul", "x", net.weight(32, 32)), net.weight(32))
        parts.append(net.node("Transpose", net.node("Reshape", y, split), perm=perm))
    query, key, value = parts
    scores = net.node("Mul", net.node("MatMul", query, key), net.constant(np.float32(0.25)))
    y = net.node("MatMul", net.node("Softmax", scores, axis=-1), value)
    y = net.node("Reshape", net.node("Transpose", y, perm=[0, 2, 1, 3]), merged)
    return net.model(net.node("Add", net.node("MatMul", y, net.weight(32, 32)), "x"))


def decoder_head() -> onnx.ModelProto:
    """The end of a language model: normalise one position, 256 logits, their probabilities."""
    net = _Draft(x=(1, 1, 48))
    y = net.node("LayerNormalization", "x", net.weight(48), net.weight(48), axis=-1)
    y = net.node("Add", net.node("MatMul", y, net.weight(48, 256)), net.weight(256))
    return net.model(net.node("Softmax", y, axis=-1))


TINY: Mapping[str, Callable[[], onnx.ModelProto]] = {
    each.__name__: each
    for each in (
        logistic_regression, controller, actor_critic, digits, autoencoder, vibration, keyword, lenet, lstm, gru,
        attention, decoder_head,
    )
}  # fmt: skip
