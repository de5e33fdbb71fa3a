"""Small random networks as the importer leaves them: spatial ops between Transposes, all else channels first."""

from __future__ import annotations

from typing import Any

import numpy as np

from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.passes.rewrite import make_node
from alula.runtime.planning.reference import evaluate
from alula.runtime.planning.specialise import specialise


class Builder:
    """Appends nodes and names their outputs; keeps (N, C, H, W) shapes of what it made."""

    def __init__(self, seed: int = 0, **inputs: TensorSpec) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs = inputs
        self.constants = Arrays()
        self.nodes: list[Node] = []

    def node(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Append a node; returns its output."""
        output = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(make_node(op, list(inputs), output, **attrs))
        return output

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """Add a constant; returns its name."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def ints(self, *values: int) -> str:
        """A constant vector of integers."""
        return self.constant(values, "int64")

    def normal(self, *shape: int) -> str:
        """A random constant."""
        return self.constant(self.rng.normal(size=shape))

    def wrapped(self, op: str, x: str, *inputs: str, **attrs: Any) -> str:
        """A spatial op between Transposes."""
        y = self.node(op, self.node("Transpose", x, perm=(0, 2, 3, 1)), *inputs, **attrs)
        return self.node("Transpose", y, perm=(0, 3, 1, 2))

    def conv(self, x: str, c_in: int, c_out: int, kernel: int = 1, bias: bool = True, **attrs: Any) -> str:
        """A wrapped Conv with random weights."""
        weight = self.normal(c_out, kernel, kernel, c_in // attrs.get("group", 1))
        return self.wrapped("Conv", x, weight, *([self.normal(c_out)] if bias else []), **attrs)

    def batch_norm(self, x: str, channels: int) -> str:
        """A wrapped BatchNormalization with random statistics."""
        variance = self.constant(self.rng.uniform(0.5, 2, channels))
        scale, bias, mean = (self.normal(channels) for _ in range(3))
        return self.wrapped("BatchNormalization", x, scale, bias, mean, variance)

    def graph(self, *outputs: str) -> Graph:
        """The network so far."""
        return Graph("test", self.inputs, outputs, tuple(self.nodes), self.constants)


def image(channels: int = 4, dtype: str = "float32") -> TensorSpec:
    """A batch of images of any size."""
    return TensorSpec(("batch", channels, "height", "width"), dtype)


def random_inputs(graph: Graph, sizes: dict[str, int], seed: int = 1) -> dict[str, Array]:
    """A normal array for each input."""
    rng = np.random.default_rng(seed)
    shapes = {k: [d if isinstance(d, int) else sizes[d] for d in spec.shape] for k, spec in graph.inputs.items()}
    return {name: rng.normal(size=shape).astype(graph.inputs[name].dtype) for name, shape in shapes.items()}


def difference(one: Graph, other: Graph, sizes: dict[str, int]) -> float:
    """The largest difference of two graphs' outputs, over the output's range; both must also specialise."""
    inputs = random_inputs(one, sizes)
    specs = {name: TensorSpec.of(value) for name, value in inputs.items()}
    before, after = evaluate(one, inputs), evaluate(other, inputs)
    worst = 0.0
    for name, wanted in before.items():
        assert after[name].shape == wanted.shape
        assert after[name].dtype == wanted.dtype
        assert specialise(other, specs).specs[name] == TensorSpec.of(wanted)
        scale = max(float(np.abs(wanted).max(initial=0)), 1e-6)
        worst = max(worst, float(np.abs(after[name].astype(np.float64) - wanted).max(initial=0)) / scale)
    return worst


SIZES = {"batch": 2, "height": 11, "width": 14}


def ops_of(graph: Graph) -> list[str]:
    """The ops in order, fused ones behind their host."""
    return [op for node in graph.nodes for op in (node.op, *(stage.op for stage in node.fused))]


class Wanderer:
    """Grows a random network from a pool of images (N, C, H, W) of one spatial size."""

    def __init__(self, seed: int) -> None:
        self.b = Builder(seed, x=image(4))
        self.pool = [("x", 4)]

    def grow(self, steps: int) -> Graph:
        """A network of about `steps` nodes."""
        for _ in range(steps):
            self._step(int(self.b.rng.integers(0, 22)))
        outputs = [name for name, _ in self.pool[-2:]]
        return self.b.graph(*dict.fromkeys(outputs))

    def _pick(self) -> tuple[str, int]:
        late = self.pool[-4:]
        return late[int(self.b.rng.integers(0, len(late)))]

    def _step(self, kind: int) -> None:
        b = self.b
        x, c = self._pick()
        same = [name for name, channels in self.pool[-6:] if channels == c and name != x]
        if kind < 4:
            c_out, kernel = int(b.rng.choice([2, 4, 6])), int(b.rng.choice([1, 3]))
            y, c = b.conv(x, c, c_out, kernel, bool(b.rng.integers(0, 2)), pads=(kernel // 2,) * 4), c_out
        elif kind == 4:
            y = b.conv(x, c, c, 3, group=c, pads=(1, 1, 1, 1))
        elif kind == 5:
            y = b.batch_norm(x, c)
        elif kind == 6:
            y = b.node(str(b.rng.choice(["Relu", "Sigmoid", "Tanh", "HardSwish", "Exp", "Erf"])), b.node("Tanh", x))
        elif kind == 7:
            y = b.node(str(b.rng.choice(["Add", "Mul", "Sub"])), x, b.normal(1, c, 1, 1))
        elif kind == 8:
            y = b.node(
                str(b.rng.choice(["Add", "Mul", "Sub"])),
                b.normal(*[(), (1,), (1, 1, 1, 1)][int(b.rng.integers(0, 3))]),
                x,
            )
        elif kind in (9, 10, 11) and same:
            y = b.node(str(b.rng.choice(["Add", "Mul", "Sub", "Max"])), x, same[-1])
        elif kind == 12 and same:
            y, c = b.node("Concat", x, same[0], axis=1), 2 * c
            y, c = b.conv(y, c, 4), 4
        elif kind == 13:
            y = b.wrapped("GlobalAveragePool", x)
            y = b.node("HardSigmoid", b.conv(b.node("Relu", b.conv(y, c, 2)), 2, c), alpha=0.2)
            y = b.node("Mul", x, y)
        elif kind == 14:
            y = b.node("Softmax", x, axis=int(b.rng.choice([1, -3, 3])))
        elif kind == 15:
            y = b.node("ReduceMean", x, b.ints(int(b.rng.choice([1, 2, 3]))), keepdims=1)
            y = b.node("Sub", x, y)
        elif kind == 16:
            y = b.node(
                "Slice", b.node("Pad", x, b.ints(0, 0, 1, 2, 0, 0, 1, 0)), b.ints(1, 2), b.ints(12, 100), b.ints(-2, 3)
            )
            y = self._fit(y, x, c)
        elif kind == 17:
            y = b.node("Slice", x, b.ints(0), b.ints(2), b.ints(1))
            c = min(2, c)
        elif kind == 18:
            shape = b.node("Shape", x)
            flat = b.node("Reshape", x, b.ints(0, 0, -1))
            y = b.node("Transpose", b.node("Transpose", flat, perm=(0, 2, 1)), perm=(0, 2, 1))
            y = b.node("Reshape", b.node("Relu", y), shape)
        elif kind == 19:
            three = b.node("Clip", b.node("Add", x, b.constant(3)), b.constant(0), b.constant(6))
            y = b.node("Div", b.node("Mul", x, three), b.constant(6))
        elif kind == 20:
            y = b.node("Where", b.node("Greater", x, b.normal(1, c, 1, 1)), x, b.normal(c, 1, 1))
        else:
            y = b.node("Mul", b.node("Sigmoid", x), x)
        self.pool.append((b.node("Tanh", y) if kind in (7, 9, 10, 11, 12) else y, c))

    def _fit(self, y: str, x: str, c: int) -> str:
        """A tensor of another size, pooled and spread over the old one."""
        return self.b.node("Add", x, self.b.wrapped("GlobalAveragePool", y))
