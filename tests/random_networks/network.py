"""A whole random network and how it is trained: number i of seed S is always the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from alula.runtime.graph import Array
from tests.random_networks import activations, convolutions, dense, mixing, normalisations, pools, sequences
from tests.random_networks.draw import CHANNELS, Draw

Blocks = Mapping[Callable[[Draw], bool], float]
IMAGE: Blocks = {
    **convolutions.BLOCKS,
    **normalisations.IMAGE,
    **activations.BLOCKS,
    **pools.BLOCKS,
    **mixing.BLOCKS,
}
FLAT: Blocks = {**dense.BLOCKS, **normalisations.FLAT, **activations.BLOCKS}
SEQUENCE: Blocks = {**sequences.BLOCKS, **dense.IN_SEQUENCES, **normalisations.SEQUENCE, **activations.BLOCKS}
DULL = {activations.activation: 0.45, activations.arithmetic: 0.5}  # a factor of what would be most blocks
MAX_FEATURES = 1200  # that an image is flattened to
STEPS = (0.0, 1.0, 1.0)  # factors of the learning rate; at zero no weight may change


@dataclass(frozen=True)
class Case:
    """One network with all that its checks need.

    roles            : what each initializer is; see `draw.py`
    shapes           : of the inputs, batch first
    vocabulary       : of an input of whole numbers
    classes          : of the labels; 0 trains a map with the mean squared error
    recipe           : the optimiser's name and options
    batch_statistics : as of `Trainer`
    update           : as of `Trainer`, if the network has as many layers; else all
    clip_norm        : as of `Trainer`
    memory_share     : of what a step takes, to which the trainer is held if it can be; 0 for no limit
    trainable        : whether the file keeps what training needs
    """

    index: int
    seed: int
    model: onnx.ModelProto
    blocks: tuple[str, ...]
    roles: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    vocabulary: int
    classes: int
    recipe: tuple[str, dict[str, Any]]
    batch_statistics: bool | None
    update: str
    clip_norm: float
    memory_share: float
    threads: int
    trainable: bool

    def inputs(self, step: int = 0) -> dict[str, Array]:
        """The data of one step."""
        rng = np.random.default_rng([self.seed, self.index, 1 + step])
        if self.vocabulary:
            return {name: rng.integers(0, self.vocabulary, shape) for name, shape in self.shapes.items()}
        return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in self.shapes.items()}

    def target(self, output: tuple[int, ...], step: int) -> Array:
        """What the loss wants of one step, for a first output of this shape."""
        rng = np.random.default_rng([self.seed, self.index, 101 + step])
        if self.classes:
            return rng.integers(0, self.classes, output[:-1])
        return rng.standard_normal(output).astype(np.float32)

    @property
    def ops(self) -> str:
        """The network's nodes with their attributes, on one line."""
        return " ".join(map(_shown, self.model.graph.node))


def _shown(node: onnx.NodeProto) -> str:
    attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    inner = ",".join(f"{k}={v.decode() if isinstance(v, bytes) else v}" for k, v in attrs.items())
    return f"{node.op_type}({inner})".replace(" ", "")


def _blocks(draw: Draw, choices: Blocks, count: int) -> None:
    """Append that many blocks."""
    names = list(choices)
    weights = np.array([choices[block] * DULL.get(block, 1.0) for block in names])
    for _ in range(count):
        for _ in range(20):
            block = names[int(draw.rng.choice(len(names), p=weights / weights.sum()))]
            if block(draw):
                draw.tally.append(block.__name__)
                break


def _to_vector(draw: Draw) -> None:
    """(N, C, *spatial) or (N, T, C) to (N, F)."""
    features = math.prod(draw.dims[1:])
    if draw.chance(0.5) and features <= MAX_FEATURES:
        kind = draw.number(0, 2)
        if kind == 0:
            draw.then("Flatten", axis=1)
        else:
            draw.then("Reshape", draw.ints("shape", [0, -1] if kind == 1 else [0, features]))
        return
    if draw.chance(0.5):
        draw.then("GlobalAveragePool" if draw.chance(0.8) else "GlobalMaxPool")
        draw.then("Flatten", axis=1)
    else:
        axes = draw.ints("axes", list(range(2, draw.rank)))
        draw.then(draw.pick(("ReduceMean", "ReduceMean", "ReduceMax")), axes, keepdims=0)


def _image(draw: Draw) -> None:
    rank = draw.pick((1, 2, 2))
    shape = (draw.batch, draw.pick(CHANNELS[:10]), *draw.numbers(rank, range(1, 14)))
    draw.x = draw.input("x", shape)
    if draw.chance(0.1):
        second = draw.input("x2", shape)
        draw.x = (
            draw.node("Concat", [draw.x, second], axis=1) if draw.chance(0.5) else draw.node("Add", [draw.x, second])
        )
    _blocks(draw, IMAGE, draw.number(2, 8))


def _flat(draw: Draw) -> None:
    draw.x = draw.input("x", (draw.batch, draw.pick(CHANNELS)))
    _blocks(draw, FLAT, draw.number(2, 7))


def _sequence(draw: Draw, vocabulary: int) -> str:
    """A sequence; the name of its embedding, if there is one."""
    t, table = draw.number(1, 9), ""
    if vocabulary:
        table = sequences.embed(draw, draw.input("x", (draw.batch, t), np.int64), vocabulary, draw.pick(CHANNELS[3:]))
    else:
        draw.x = draw.input("x", (draw.batch, t, draw.pick(CHANNELS)))
    _blocks(draw, SEQUENCE, draw.number(2, 5))
    return table


def _head(draw: Draw, table: str, steps: bool) -> int:
    """Scores of classes; how many."""
    if table and steps and draw.shapes[table][1] == draw.dims[-1] and draw.chance(0.7):
        draw.tally.append("tied_embedding")
        draw.then("MatMul", draw.node("Transpose", [table], perm=[1, 0]))
    elif steps:
        k, n = draw.dims[-1], draw.number(2, 11)
        draw.then("MatMul", draw.weight("head.w", (k, n), k))
        draw.then("Add", draw.vector("head.b", n))
    else:
        k, n = draw.dims[1], draw.number(2, 11)
        draw.then("Gemm", draw.weight("head.w", (n, k), k), draw.vector("head.b", n), transB=1)
    if draw.chance(0.15):
        draw.then("Softmax", axis=-1)
    return draw.dims[-1]


def _recipe(draw: Draw) -> tuple[str, dict[str, Any]]:
    decay = draw.pick((0.0, 0.0, 1e-2))
    kind = draw.rng.random()
    if kind < 0.75:
        nesterov = draw.chance(0.2)
        return "sgd", {"lr": 0.02, "momentum": 0.9, "weight_decay": decay, "nesterov": nesterov}
    # a large epsilon: a gradient that is zero but for rounding must not become a whole step
    return "adam" if kind < 0.9 else "adamw", {"lr": 0.01, "epsilon": 0.05, "weight_decay": decay}


def network(seed: int, index: int) -> Case:
    """Network number `index` of a seed."""
    rng = np.random.default_rng([seed, index])
    batch, statistics = int(rng.integers(1, 5)), (None, None, True, False)[int(rng.integers(4))]
    draw = Draw(rng, batch, statistics is not False)
    kind, table, vocabulary = rng.random(), "", 0
    steps = classes = 0
    if kind < 0.57:
        _image(draw)
        maps = draw.chance(0.3)
    elif kind < 0.75:
        _flat(draw)
        maps = draw.chance(0.25)
    else:
        vocabulary = draw.number(2, 20) if draw.chance(0.4) else 0
        table = _sequence(draw, vocabulary)
        maps, steps = draw.chance(0.15), draw.chance(0.4)
    second = draw.x
    if not maps:
        if draw.rank > 2 and not steps:
            _to_vector(draw)
        if kind < 0.57 and draw.chance(0.3):
            _blocks(draw, FLAT, draw.number(1, 2))
        classes = _head(draw, table, bool(steps))
    if not draw.nodes or (maps and not set(draw.roles.values()) & {"weight"}):  # nothing to train
        draw.then("PRelu", draw.add("prelu.slope", np.full([1] * (draw.rank - 1), 0.25, np.float32), "weight"))
    recipe, threads, trainable, free = _recipe(draw), draw.number(1, 2), draw.chance(0.75), draw.chance(0.5)
    update = "all" if statistics is None or draw.chance(0.85) else draw.pick(("last:1", "last:2"))
    clip, share = draw.pick((0.0,) * 9 + (0.3,)), draw.pick((0.0,) * 7 + (0.9, 0.7))
    outputs = [draw.x]
    if second != draw.x and second not in draw.inputs and draw.chance(0.2):
        outputs.append(second)
    shapes = {name: draw.shapes[name] for name in draw.inputs}
    return Case(
        index, seed, draw.model(outputs, free), tuple(draw.tally), draw.roles, shapes, vocabulary, classes, recipe,
        statistics, update, clip, share, threads, trainable,
    )  # fmt: skip
