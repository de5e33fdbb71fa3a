"""Element-wise nodes as steps of a chain (kernels/elementwise.py): by themselves, or in another kernel's epilogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alula.runtime.chain import operand_kind
from alula.runtime.graph import Array, Node
from alula.runtime.kernels import elementwise as kernels
from alula.runtime.kernels.elementwise import CHANNEL, CODES, CONSTANT, FULL, IMAGE, SCALAR
from alula.runtime.lowering import FnRef, Lowering, Ref, Word

Step = list[Word]  # code, mode, operand, p0, p1

# Op -> (step, p0, p1) from its attributes
UNARY: dict[str, Callable[[Any], tuple[str, float, float]]] = {
    "Relu": lambda a: ("clip", 0.0, math.inf),
    "LeakyRelu": lambda a: ("leaky_relu", a.alpha, 0.0),
    "HardSigmoid": lambda a: ("hard_sigmoid", a.alpha, a.beta),
    "HardSwish": lambda a: ("hard_swish", 0.0, 0.0),
    "Sigmoid": lambda a: ("sigmoid", 0.0, 0.0),
    "Swish": lambda a: ("swish", a.alpha, 0.0),
    "Tanh": lambda a: ("tanh", 0.0, 0.0),
    "Elu": lambda a: ("elu", a.alpha, 0.0),
    "Gelu": lambda a: ("gelu_tanh" if a.approximate == "tanh" else "gelu", 0.0, 0.0),
    "Softplus": lambda a: ("softplus", 0.0, 0.0),
    "Mish": lambda a: ("mish", 0.0, 0.0),
    "Erf": lambda a: ("erf", 0.0, 0.0),
    "Exp": lambda a: ("exp", 0.0, 0.0),
    "Log": lambda a: ("log", 0.0, 0.0),
    "Sqrt": lambda a: ("sqrt", 0.0, 0.0),
    "Abs": lambda a: ("abs", 0.0, 0.0),
    "Neg": lambda a: ("neg", 0.0, 0.0),
    "Reciprocal": lambda a: ("reciprocal", 0.0, 0.0),
    "Floor": lambda a: ("floor", 0.0, 0.0),
    "Ceil": lambda a: ("ceil", 0.0, 0.0),
    "Round": lambda a: ("round", 0.0, 0.0),
}
# Op -> (step with the running value on the left, on the right)
BINARY = {
    "Add": ("add", "add"), "Sub": ("sub", "rsub"), "Mul": ("mul", "mul"), "Div": ("div", "rdiv"),
    "Min": ("min", "min"), "Max": ("max", "max"), "PRelu": ("prelu", ""),
}  # fmt: skip
TWICE = {"Mul": ("square", 0.0, 0.0), "Add": ("affine", 2.0, 0.0)}  # both inputs are the running value
MODES = {"channel": CHANNEL, "element": FULL, "picture": IMAGE}


@dataclass(frozen=True)
class Epilogue:
    """What a kernel does to its result before it is stored: a clamp of its own, then a chain."""

    low: float
    high: float
    kernel: FnRef | int
    chain: list[Word]


def steps_of(lowering: Lowering, nodes: Sequence[Node], running: str, shape: tuple[int, ...]) -> list[Step] | None:
    """The steps of a chain of nodes, the first of which reads `running`; None if one of them has no step."""
    found: list[Step] = []
    for node in nodes:
        steps = _node_steps(lowering, node, running, shape)
        if steps is None:
            return None
        found += steps
        running = node.outputs[0]
    return _merged(found)


def epilogue(lowering: Lowering, node: Node, shape: tuple[int, ...]) -> Epilogue | None:
    """The fused chain of a node whose kernel clamps and calls `f32_epilogue`; None if a step of it has no kernel."""
    steps = steps_of(lowering, node.fused, node.body_output, shape)
    if steps is None:
        return None
    low, high = -math.inf, math.inf
    if steps and steps[0][0] == CODES["clip"]:
        low, high = (_float(word) for word in steps.pop(0)[3:])
    if not steps:
        return Epilogue(low, high, 0, [])
    words: list[Word] = [shape[-1], _image_rows(shape), len(steps), *(word for step in steps for word in step)]
    return Epilogue(low, high, FnRef("f32_epilogue"), words)


def lower_elementwise(lowering: Lowering, node: Node) -> bool:
    """An element-wise node, with its chain, as one kernel call over its result."""
    spec = lowering.spec(node.body_output if node.fused else node.outputs[0])
    if spec.dtype != "float32":
        return False
    shape = spec.dims or (1,)
    x = _host(lowering, node, shape)
    if x is None:
        return False
    body = Node(node.op, node.inputs, (node.body_output,), node.attrs, node.name)
    steps = steps_of(lowering, (body, *node.fused), x, shape)
    if steps is None:
        return False
    emit_chain(lowering, lowering.ref(x), node.outputs[0], shape, steps, inplace=x)
    return True


def emit_chain(
    lowering: Lowering, x: Ref, output: str, shape: tuple[int, ...], steps: list[Step], inplace: str | None = None
) -> None:
    """Run steps over a whole tensor."""
    if inplace and any(step[2] == x for step in steps):
        inplace = None  # a later step reads x again
    needs_rows = any(step[1] in (CHANNEL, IMAGE) and int(step[0]) >= kernels.FIRST_BINARY for step in steps)  # type: ignore[arg-type]
    channels = shape[-1] if needs_rows else math.prod(shape)
    lowering.emit(
        kernels.f32_chain, x=x, y=lowering.ref(output), rows=math.prod(shape) // max(channels, 1), channels=channels,
        image_rows=_image_rows(shape), n_steps=len(steps), steps=[word for step in steps for word in step],
        inplace=(output, inplace) if inplace else None,
    )  # fmt: skip


def _host(lowering: Lowering, node: Node, shape: tuple[int, ...]) -> str | None:
    """The input that has the result's shape: the value that runs through the chain."""
    fitting = [n for n in node.inputs if n and (lowering.spec(n).dims or (1,)) == shape and lowering.spec(n).dtype == "float32"]
    return next((n for n in fitting if not lowering.known(n)), fitting[0] if fitting else None)


def _node_steps(lowering: Lowering, node: Node, running: str, shape: tuple[int, ...]) -> list[Step] | None:
    if node.op == "Clip":
        low, high = (_known_scalar(lowering, node, i, default) for i, default in ((1, -math.inf), (2, math.inf)))
        return None if low is None or high is None or node.inputs[0] != running else [_step("clip", low, high)]
    if node.op in UNARY:
        return [_step(*UNARY[node.op](node.attrs))]
    if node.op == "Pow" and node.inputs[0] == running:
        exponent = _known_scalar(lowering, node, 1, None)
        named = {2.0: "square", 0.5: "sqrt", 1.0: "copy"}.get(exponent if exponent is not None else math.nan)
        return [_step(named)] if named else None
    if node.op not in BINARY:
        return None
    names = list(node.inputs)
    if names.count(running) == 2 and len(names) == 2:
        return [_step(*TWICE[node.op])] if node.op in TWICE else None
    if running not in names:
        return None
    left, right = BINARY[node.op]
    code = left if names[0] == running else right
    names.remove(running)
    steps = [_operand_step(lowering, code if i == 0 else left, name, shape) for i, name in enumerate(names)] or [_step("copy")]
    return None if any(step is None for step in steps) else [step for step in steps if step is not None]


def _operand_step(lowering: Lowering, code: str, name: str, shape: tuple[int, ...]) -> Step | None:
    spec = lowering.spec(name)
    kind = operand_kind(shape, spec.shape)
    if not code or spec.dtype != "float32" or kind is None:
        return None
    if kind == "scalar":
        if lowering.known(name):
            value = lowering.value(name)
            assert value is not None
            return [CODES[code], CONSTANT, float(value.reshape(-1)[0]), 0.0, 0.0]
        return [CODES[code], SCALAR, lowering.ref(name), 0.0, 0.0]
    return [CODES[code], MODES[kind], lowering.ref(name), 0.0, 0.0]


def _merged(steps: list[Step]) -> list[Step]:
    """Neighbouring steps with constants as one: x * a + b, and copies dropped where something else is done."""
    merged: list[Step] = []
    for step in steps:
        affine = _affine(step)
        before = _affine(merged[-1]) if merged else None
        if affine and before:
            scale, shift = before[0] * affine[0], before[1] * affine[0] + affine[1]
            merged[-1] = _step("affine", float(scale), float(shift))
        else:
            merged.append(step)
    kept = [step for step in merged if step[0] != CODES["copy"]]
    return kept or merged[:1]


def _affine(step: Step) -> tuple[np.float32, np.float32] | None:
    """(scale, shift) of a step that is x * scale + shift."""
    code, mode, word, p, q = step
    one, zero = np.float32(1), np.float32(0)
    if code == CODES["affine"]:
        return np.float32(_float(p)), np.float32(_float(q))
    if mode != CONSTANT or not isinstance(word, float):
        return None
    value = np.float32(word)
    table = {"mul": (value, zero), "add": (one, value), "sub": (one, -value)}
    return next((pair for name, pair in table.items() if CODES[name] == code), None)


def _step(code: str, p: float = 0.0, q: float = 0.0) -> Step:
    return [CODES[code], FULL, 0, float(p), float(q)]


def _float(word: Word) -> float:
    assert isinstance(word, float)
    return word


def _known_scalar(lowering: Lowering, node: Node, index: int, default: float | None) -> float | None:
    """The value of an input that must be a known scalar; the default if it is absent."""
    if index >= len(node.inputs) or not node.inputs[index]:
        return default
    value: Array | None = lowering.value(node.inputs[index])
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _image_rows(shape: tuple[int, ...]) -> int:
    """Rows of the (rows, channels) matrix that belong to one picture of the batch."""
    return max(math.prod(shape[1:-1]), 1)
