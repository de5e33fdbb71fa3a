"""Small networks for whole steps of training: every op with parameters, by every way in which it is lowered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from alula.runtime.graph import Array

Node = tuple[str, str, str, Mapping[str, Any]]  # op, inputs, outputs (names with spaces between), attributes


@dataclass(frozen=True)
class StepCase:
    """A network of one input x and one output y.

    weights : shapes of its constants, or their values
    trained : what of them is trained; all if None
    """

    name: str
    x: tuple[int, ...]
    nodes: Sequence[Node]
    weights: Mapping[str, Any]
    trained: Sequence[str] | None = None
    opset: int = 21
    indices: int = 0  # x holds numbers below this
    batch: int | str = "n"

    def model(self) -> onnx.ModelProto:
        """As ONNX, with weights drawn by its name."""
        rng = np.random.default_rng(len(self.name))
        made = []
        for name, given in self.weights.items():
            value = given
            if isinstance(given, tuple):
                fan_in = max(int(np.prod(given[1:])), 1)
                value = (rng.standard_normal(given) / np.sqrt(fan_in)).astype(np.float32) + np.float32(len(given) == 1)
            made.append(numpy_helper.from_array(np.asarray(value), name))
        nodes = [helper.make_node(op, i.split(","), o.split(","), **attrs) for op, i, o, attrs in self.nodes]
        kind = onnx.TensorProto.INT64 if self.indices else onnx.TensorProto.FLOAT
        x = helper.make_tensor_value_info("x", kind, (self.batch, *self.x[1:]))
        y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, self.name, [x], [y], made)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)

    def input(self, seed: int) -> Array:
        """A batch."""
        rng = np.random.default_rng(seed)
        if self.indices:
            return rng.integers(0, self.indices, self.x)
        return rng.standard_normal(self.x).astype(np.float32)


@dataclass(frozen=True)
class Layer:
    """One layer of its own, with a weight and perhaps a bias, before and behind which nothing else is trained."""

    op: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    b: tuple[int, ...] | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    fixed: bool = False  # the batch
    alone: bool = False  # no Tanh

    def case(self) -> StepCase:
        """The layer alone, behind a Tanh, so that its input has a gradient of its own."""
        shapes = "x".join(map(str, self.x)), "x".join(map(str, self.w))
        words = [f"{key}={value}" for key, value in self.attrs.items()]
        weights = {"w": self.w} if self.b is None else {"w": self.w, "b": self.b}
        inputs = ",".join(("x", *weights))
        name = " ".join((self.op, *shapes, *words, *(["bias"] if self.b is not None else [])))
        nodes = [
            (self.op, inputs, "y" if self.alone else "a", self.attrs),
            *([] if self.alone else [("Tanh", "a", "y", {})]),
        ]
        return StepCase(name, self.x, nodes, weights, batch=self.x[0] if self.fixed else "n")


def _layers() -> list[Layer]:
    conv, back, pads = "Conv", "ConvTranspose", {"pads": [1, 1, 1, 1]}
    image, wide = (2, 8, 7, 6), (2, 16, 7, 6)
    found = [
        Layer(conv, wide, (16, 16, 3, 3), (16,), pads), Layer(conv, wide, (33, 16, 3, 3), None, pads),
        Layer(conv, image, (5, 8, 3, 3), (5,), {"strides": [2, 3]}), Layer(conv, wide, (24, 16, 1, 1), (24,)),
        Layer(conv, (1, 16, 2, 2), (64, 16, 1, 1)), Layer(conv, image, (5, 8, 3, 2), None, {"dilations": [2, 1]}),
        Layer(conv, image, (8, 2, 3, 3), (8,), {"group": 4, **pads}), Layer(conv, (2, 32, 5, 4), (64, 16, 3, 3), (64,), {"group": 2}),
        Layer(conv, (2, 6, 5, 4), (10, 3, 1, 1), (10,), {"group": 2}),
        Layer(conv, (2, 6, 5, 4), (12, 1, 3, 3), (12,), {"group": 6, **pads}),
        *(Layer(conv, (2, c, 7, 6), (c, 1, 3, 3), (c,), {"group": c, **pads}) for c in (1, 3, 5, 8, 16, 20, 24, 37)),
        Layer(conv, (2, 24, 7, 6), (24, 1, 3, 3), None, {"group": 24, "strides": [2, 2]}),
        Layer(conv, (2, 8, 9), (12, 8, 3), (12,)), Layer(conv, (2, 8, 9), (12, 2, 3), (12,), {"group": 4, "strides": [2]}),
        Layer(conv, (2, 24, 9), (24, 1, 3), None, {"group": 24}),
    ]  # fmt: skip
    for c_out, kernel, attrs in (
        (16, (3, 3), pads), (5, (3, 3), {"strides": [2, 2]}), (24, (3, 2), {"strides": [2, 3], "output_padding": [1, 2]}),
        (3, (2, 2), {"strides": [2, 2]}), (3, (2, 2), {"strides": [2, 2], "output_padding": [1, 1]}),
        (33, (2, 2), {"strides": [2, 2]}), (6, (1, 1), {"strides": [2, 3]}), (6, (1, 1), {}),
        (6, (4, 3), {"strides": [3, 1], "pads": [1, 0, 2, 1]}),
        (6, (2, 3), {"dilations": [2, 2]}), (40, (1, 1), {"dilations": [2, 2], "output_padding": [1, 1]}),
    ):  # fmt: skip
        found += [Layer(back, image, (8, c_out, *kernel), bias, attrs) for bias in (None, (c_out,))]
    found += [
        Layer(back, image, (8, 3, 3, 3), (12,), {"group": 4, "strides": [2, 2]}),
        *(Layer(back, (2, c, 5, 4), (c, 1, 3, 3), b, {"group": c, "strides": s, "output_padding": [s[0] - 1] * 2})
          for c in (5, 16, 24) for b in (None, (c,)) for s in ([1, 1], [2, 2])),
        Layer(back, (2, 8, 9), (8, 5, 3), (5,), {"strides": [2]}),
        *(Layer("Gemm", (4, 6), (6, 5) if not t else (5, 6), b, {"transB": t, **more}, fixed=b == (4, 5))
          for t in (0, 1) for b in (None, (5,), (1, 5), (1,), (), (4, 5)) for more in ({}, {"alpha": 0.5, "beta": 2.0})),
        Layer("Gemm", (6, 4), (6, 5), (5,), {"transA": 1}, fixed=True),
        Layer("MatMul", (3, 6), (6, 20)), Layer("MatMul", (2, 3, 6), (6, 5)), Layer("MatMul", (2, 3, 6), (2, 6, 5)),
        Layer("MatMul", (2, 3, 6), (6,)),
        Layer("LayerNormalization", (2, 3, 20), (20,), (20,)), Layer("LayerNormalization", (2, 3, 20), (3, 20), (3, 20), {"axis": 1}),
        Layer("InstanceNormalization", image, (8,), (8,)), Layer("GroupNormalization", image, (8,), (8,), {"num_groups": 2}, alone=True),
        Layer("PRelu", image, (8, 1, 1)), Layer("PRelu", (2, 20), (20,)),
    ]  # fmt: skip
    return found


F, W = (4, 6), {"w": (6, 6), "b": (6,)}
BN = {"s": (8,), "t": (8,), "m": np.zeros(8, np.float32), "v": np.ones(8, np.float32)}
IMAGE = (3, 8, 6, 5)
PAD = {"pads": [1, 1, 1, 1]}
SHARED = [
    StepCase("dense weight used twice", F, [("Gemm", "x,w", "a", {}), ("Tanh", "a", "h", {}), ("Gemm", "h,w", "y", {})], {"w": (6, 6)}),
    StepCase("dense weight and bias used twice", F,
             [("Gemm", "x,w,b", "a", {"transB": 1}), ("Tanh", "a", "h", {}), ("Gemm", "h,w,b", "y", {"transB": 1})], W),
    StepCase("autoencoder by transB", F,
             [("Gemm", "x,w", "a", {}), ("Tanh", "a", "h", {}), ("Gemm", "h,w", "y", {"transB": 1})], {"w": (6, 20)}),
    StepCase("autoencoder by Transpose", F,
             [("MatMul", "x,w", "a", {}), ("Tanh", "a", "h", {}), ("Transpose", "w", "wt", {"perm": [1, 0]}), ("MatMul", "h,wt", "y", {})],
             {"w": (6, 20)}),
    StepCase("two Transposes of one weight", F,
             [("Transpose", "w", "w1", {"perm": [1, 0]}), ("MatMul", "x,w1", "a", {}), ("Tanh", "a", "h", {}),
              ("Transpose", "w", "w2", {"perm": [1, 0]}), ("MatMul", "h,w2", "y", {})], {"w": (6, 6)}),
    StepCase("a column read as a row", (3, 6),
             [("MatMul", "x,w1", "a", {}), ("Tanh", "a", "h", {}), ("MatMul", "h,w2", "y", {})], {"w1": (6, 12), "w2": (12, 1)}),
    StepCase("a column read as a row by Gemm", (3, 6),
             [("Gemm", "x,w1,b", "a", {}), ("Tanh", "a", "h", {}), ("Gemm", "h,w2", "y", {})], {"w1": (6, 12), "b": (12,), "w2": (12, 1)}),
    StepCase("convolution used twice", IMAGE,
             [("Conv", "x,w,b", "a", PAD), ("Tanh", "a", "h", {}), ("Conv", "h,w,b", "y", PAD)], {"w": (8, 8, 3, 3), "b": (8,)}),
    StepCase("grouped convolution used twice", IMAGE,
             [("Conv", "x,w", "a", {"group": 2, **PAD}), ("Tanh", "a", "h", {}), ("Conv", "h,w", "y", {"group": 2, **PAD})],
             {"w": (8, 4, 3, 3)}),
    StepCase("convolution and its transpose", IMAGE,
             [("Conv", "x,w", "a", {"strides": [2, 2]}), ("Tanh", "a", "h", {}), ("ConvTranspose", "h,w", "y", {"strides": [2, 2]})],
             {"w": (12, 8, 3, 3)}),
    StepCase("convolution, and the weight as a matrix", (3, 8, 1, 1),
             [("Conv", "x,w", "a", {}), ("Flatten", "a", "h", {}), ("Reshape", "w,two", "m", {}), ("MatMul", "h,m", "y", {})],
             {"w": (8, 8, 1, 1), "two": np.array([8, 8])}, trained=["w"]),
    StepCase("slope used twice", IMAGE, [("PRelu", "x,s", "a", {}), ("Conv", "a,w", "c", PAD), ("PRelu", "c,s", "y", {})],
             {"s": (8, 1, 1), "w": (8, 8, 3, 3)}),
    StepCase("embedding that is the classifier, too", (4, 5),
             [("Gather", "w,x", "e", {}), ("ReduceMean", "e", "h", {"keepdims": 0, "axes": [1]}),
              ("Transpose", "w", "wt", {"perm": [1, 0]}),
              ("MatMul", "h,wt", "y", {})], {"w": (11, 7)}, opset=17, indices=11),
    StepCase("batch normalisation used twice", IMAGE,
             [("BatchNormalization", "x,s,t,m,v", "a", {}), ("Conv", "a,w", "h", PAD), ("BatchNormalization", "h,s,t,m,v", "y", {})],
             {**BN, "w": (8, 8, 3, 3)}, trained=["s", "t", "w"]),
    StepCase("convolution, normalisation, residual", IMAGE,
             [("Conv", "x,w", "c", PAD), ("BatchNormalization", "c,s,t,m,v", "n", {}), ("Relu", "n", "r", {}), ("Add", "r,x", "y", {})],
             {**BN, "w": (8, 8, 3, 3)}, trained=["w", "s", "t"]),
    StepCase("running mean that is read elsewhere", IMAGE,
             [("Conv", "x,w", "c", PAD), ("BatchNormalization", "c,s,t,m,v", "n", {}), ("Transpose", "n", "l", {"perm": [0, 2, 3, 1]}),
              ("Add", "l,m", "y", {})], {**BN, "w": (8, 8, 3, 3)}, trained=["w", "s", "t"]),
    StepCase("scale and shift of a layer", (3, 5, 6),
             [("MatMul", "x,w", "a", {}), ("Add", "a,b", "c", {}), ("Mul", "c,g", "y", {})], {"w": (6, 9), "b": (9,), "g": (9,)}),
    StepCase("root mean square as arithmetic", (3, 5, 6),
             [("Mul", "x,x", "q", {}), ("ReduceMean", "q", "m", {"axes": [-1]}), ("Add", "m,e", "k", {}), ("Sqrt", "k", "d", {}),
              ("Div", "x,d", "n", {}), ("Mul", "n,g", "y", {})], {"e": np.float32(1e-5), "g": (6,)}, trained=["g"], opset=17),
    StepCase("mirrored and cut borders", IMAGE,
             [("Conv", "x,w", "a", {}), ("Pad", "a,p", "b", {"mode": "reflect"}), ("Pad", "b,q", "y", {})],
             {"w": (8, 8, 3, 3), "p": np.array([0, 0, 2, 1, 0, 0, 1, 2]), "q": np.array([0, 0, -1, 0, 0, 0, 2, -1])}, trained=["w"]),
    StepCase("recurrent weight that is the input's, too", (5, 3, 6),
             [("GRU", "x,w,w,b", "z", {"hidden_size": 6}), ("Tanh", "z", "y", {})], {"w": (1, 18, 6), "b": (1, 36)}),
    *(StepCase(f"{op} {direction}", (5, 3, 4), [(op, "x,w,r,b", "z", {"hidden_size": 6, "direction": direction}), ("Tanh", "z", "y", {})],
               {"w": (d, g * 6, 4), "r": (d, g * 6, 6), "b": (d, 2 * g * 6)})
      for op, g in (("LSTM", 4), ("GRU", 3)) for direction, d in (("forward", 1), ("bidirectional", 2))),
]  # fmt: skip
CASES = [*(layer.case() for layer in _layers()), *SHARED]
