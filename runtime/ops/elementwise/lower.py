"""Element-wise nodes as stages (ops/elementwise/kernel.py): alone, or in another kernel's epilogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Node
from alula.runtime.memory.packing import Packing
from alula.runtime.ops.contract import REGISTRY, find
from alula.runtime.ops.elementwise import kernel as kernels
from alula.runtime.ops.elementwise import op, op_activation  # noqa: F401  every op with a stage is known now
from alula.runtime.ops.elementwise.kernel import CHANNEL, CODES, CONSTANT, FULL, IMAGE, SCALAR
from alula.runtime.ops.elementwise.lower_broadcast import Broadcast, choose_broadcast
from alula.runtime.ops.epilogue import operand_kind
from alula.runtime.ops.movement.lower import emit_broadcast
from alula.runtime.planning.lowering import FnRef, Lowering, Ref, Word, lowers

Stage = list[Word]  # code, mode, operand, p0, p1
Place = Callable[[str], tuple[int, Word] | None]  # operand -> mode, address; None if it does not fit

# Op -> (stage with the running value on the left, on the right)
BINARY = {
    "Add": ("add", "add"), "Sub": ("sub", "rsub"), "Mul": ("mul", "mul"), "Div": ("div", "rdiv"),
    "Min": ("min", "min"), "Max": ("max", "max"), "PRelu": ("prelu", ""), "Pow": ("pow", "rpow"),
}  # fmt: skip
# Both inputs are the running value
TWICE = {"Mul": ("square", 0.0, 0.0), "Add": ("affine", 2.0, 0.0), "Min": ("copy", 0.0, 0.0), "Max": ("copy", 0.0, 0.0)}
POWERS = {0.5: "sqrt", 1.0: "copy", 2.0: "square", 3.0: "cube", -1.0: "reciprocal"}
MODES = {"channel": CHANNEL, "element": FULL, "image": IMAGE}


@frozen
class Epilogue:
    """What a kernel does to its result before it is stored: a clamp of its own, then an epilogue."""

    low: float
    high: float
    kernel: FnRef | int
    stages: list[Word]


def stages_of(
    lowering: Lowering, nodes: Sequence[Node], running: str, unstored: Container[str], place: Place
) -> list[Stage] | None:
    """The stages of an epilogue, whose first node reads `running`; None if a node has no stage.

    unstored : tensors that exist only inside the epilogue
    """

    def checked(name: str) -> tuple[int, Word] | None:
        return None if name in unstored else place(name)

    found: list[Stage] = []
    for node in nodes:
        stages = _node_stages(lowering, node, running, checked)
        if stages is None:
            return None
        found += stages
        running = node.outputs[0]
    return _merged(found)


def epilogue(lowering: Lowering, node: Node, shape: tuple[int, ...]) -> Epilogue | None:
    """The epilogue of a node whose kernel clamps and calls `f32_epilogue`; None if a stage has no kernel."""
    inner = {node.body_output, *(stage.outputs[0] for stage in node.fused)}

    def place(name: str) -> tuple[int, Word] | None:
        kind = operand_kind(shape, lowering.spec(name).shape)
        if kind == "scalar":
            return SCALAR, _float_ref(lowering, name)
        return (MODES[kind], _float_ref(lowering, name)) if kind else None

    stages = stages_of(lowering, node.fused, node.body_output, inner, place)
    if stages is None:
        return None
    low, high = -math.inf, math.inf
    if stages and stages[0][0] == CODES["clip"]:
        low, high = (_float(word) for word in stages.pop(0)[3:])
    if not stages:
        return Epilogue(low, high, 0, [])
    words: list[Word] = [shape[-1], _image_rows(shape), len(stages), *(word for stage in stages for word in stage)]
    return Epilogue(low, high, FnRef("f32_epilogue"), words)


@lowers("Clip", "ClipGrad", *BINARY, *(each.name for each in REGISTRY.values() if each.stage))
def lower_elementwise(lowering: Lowering, node: Node) -> bool:
    """An element-wise node, with its epilogue, as one kernel call over its result.

    Operands that the kernel cannot lay over the matrix, and the first one if it is smaller than the result, are
    written out in full before.
    """
    spec = lowering.spec(node.body_output if node.fused else node.outputs[0])
    if spec.dtype != "float32":
        return False
    if spec.size == 0:
        return True
    shape = spec.dims or (1,)
    body = Node(node.op, node.inputs, (node.body_output,), node.attrs, node.name)
    nodes = (body, *node.fused)
    inner = {stage.outputs[0] for stage in nodes}
    x = _host(lowering, node, shape)
    if x is None:
        return False
    operands: list[str] = []

    def note(name: str) -> tuple[int, Word] | None:
        operands.append(name)
        return FULL, 0

    if stages_of(lowering, nodes, x, inner, note) is None:
        return False
    broadcast = choose_broadcast(shape, [(lowering.spec(name).dims, lowering.known(name)) for name in operands])
    placed = iter(
        [_broadcast_operand(lowering, name, part) for name, part in zip(operands, broadcast.operands, strict=True)]
    )
    stages = stages_of(lowering, nodes, x, inner, lambda name: next(placed))
    assert stages is not None
    source = lowering.ref(x)
    is_whole = (lowering.spec(x).dims or (1,)) == shape
    if not is_whole:
        source = lowering.ref(node.outputs[0])
        emit_broadcast(lowering, x, source, shape)
    # Stages may run in place unless a later one still reads what an earlier one has overwritten
    read_again = any(isinstance(stage[2], Ref) and stage[2].buffer == source.buffer for stage in stages[1:])
    lowering.emit(
        kernels.f32_elementwise, x=source, y=lowering.ref(node.outputs[0]), rows=broadcast.rows, channels=broadcast.channels,
        image_rows=broadcast.image_rows, n_stages=len(stages), stages=[word for stage in stages for word in stage],
        inplace=(node.outputs[0], x) if is_whole and not read_again else None,
    )  # fmt: skip
    return True


def _broadcast_operand(lowering: Lowering, name: str, part: Broadcast) -> tuple[int, Word]:
    """Mode and address of an operand, written out to the shape in which the stages read it."""
    spec = lowering.spec(name)
    if part.dims == (1,) * (len(part.dims) - len(spec.dims)) + spec.dims:
        return part.mode, _float_ref(lowering, name)
    if lowering.known(name):
        dims = part.dims
        order = Packing("broadcast", lambda v: np.broadcast_to(v.astype(np.float32), dims), dims)
        return part.mode, lowering.packed(name, order)
    scratch = lowering.scratch(4 * math.prod(part.dims))
    emit_broadcast(lowering, name, scratch, part.dims)
    return part.mode, scratch


def _is_slope(node: Node) -> bool:
    """Whether a node is a gradient (the running value) times a slope, which its other input tells."""
    return len(node.inputs) == 2 and find(node.op, node.label).stage is not None


def _host(lowering: Lowering, node: Node, shape: tuple[int, ...]) -> str | None:
    """The input that the first stage works on: a computed one of the result's shape if there is one."""
    if node.op in ("PRelu", "ClipGrad") or _is_slope(node):
        return node.inputs[0]
    names = [n for n in node.inputs if n and lowering.spec(n).dtype == "float32"]
    return max(names, key=lambda n: ((lowering.spec(n).dims or (1,)) == shape, not lowering.known(n)), default=None)


def _node_stages(lowering: Lowering, node: Node, running: str, place: Place) -> list[Stage] | None:
    if node.op == "Clip":
        return _clip_stages(lowering, node, running, place)
    if _is_slope(node) or node.op == "ClipGrad":
        return _slope_stages(lowering, node, running, place)
    if (stage := find(node.op, node.label).stage) is not None:
        return [_stage(*stage(node.attrs))]
    if node.op not in BINARY:
        return None
    names = list(node.inputs)
    if names.count(running) == len(names) == 2 and node.op in TWICE:
        return [_stage(*TWICE[node.op])]
    if running not in names:
        return None
    if node.op == "Pow" and names[0] == running:
        exponent = _known_scalar(lowering, node, 1, None)
        if exponent in POWERS:
            return [_stage(POWERS[exponent])]
    left, right = BINARY[node.op]
    code = left if names[0] == running else right
    names.remove(running)
    stages = [_operand_stage(lowering, code if i == 0 else left, name, place) for i, name in enumerate(names)]
    return (
        None if any(one is None for one in stages) else [one for one in stages if one is not None] or [_stage("copy")]
    )


def _clip_stages(lowering: Lowering, node: Node, running: str, place: Place) -> list[Stage] | None:
    """One clip between known bounds, else a maximum and a minimum."""
    if node.inputs[0] != running or running in node.inputs[1:]:
        return None
    low, high = (_known_scalar(lowering, node, i, default) for i, default in ((1, -math.inf), (2, math.inf)))
    if low is not None and high is not None:
        return [_stage("clip", low, high)]
    given = [(code, name) for code, name in zip(("max", "min"), node.inputs[1:], strict=False) if name]
    stages = [_operand_stage(lowering, code, name, place) for code, name in given]
    return None if any(stage is None for stage in stages) else [stage for stage in stages if stage is not None]


def _slope_stages(lowering: Lowering, node: Node, running: str, place: Place) -> list[Stage] | None:
    """The gradient times a slope; None where the running value is not the gradient, or bounds are computed."""
    if node.inputs[0] != running:
        return None
    if node.op == "ClipGrad":
        low, high = (_known_scalar(lowering, node, i, default) for i, default in ((2, -math.inf), (3, math.inf)))
        if low is None or high is None:
            return None
        code, p, q = "clip_grad", low, high
    else:
        stage_of = find(node.op, node.label).stage
        assert stage_of is not None
        code, p, q = stage_of(node.attrs)
    stage = _operand_stage(lowering, code, node.inputs[1], place)
    return None if stage is None else [[*stage[:3], float(p), float(q)]]


def _operand_stage(lowering: Lowering, code: str, name: str, place: Place) -> Stage | None:
    spec = lowering.spec(name)
    if not code or (spec.dtype != "float32" and not lowering.known(name)):
        return None
    value = lowering.value(name) if spec.size == 1 else None
    if value is not None:
        return [CODES[code], CONSTANT, float(value.reshape(-1)[0]), 0.0, 0.0]
    placed = place(name)
    return None if placed is None else [CODES[code], placed[0], placed[1], 0.0, 0.0]


def _float_ref(lowering: Lowering, name: str) -> Ref:
    """The address of an operand; a known one of another dtype (an integer exponent) is kept as float32."""
    if lowering.spec(name).dtype == "float32":
        return lowering.ref(name)
    return lowering.packed(name, Packing("float32", lambda v: v.astype(np.float32)))


def _merged(stages: list[Stage]) -> list[Stage]:
    """Neighbouring stages as one: constants as x * a + b, pairs that have a stage of their own; copies dropped."""
    merged: list[Stage] = []
    for stage in stages:
        affine = _affine(stage)
        before = _affine(merged[-1]) if merged else None
        if affine and before:
            scale, shift = before[0] * affine[0], before[1] * affine[0] + affine[1]
            merged[-1] = _stage("affine", float(scale), float(shift))
        elif affine and merged and merged[-1][0] == CODES["hard_swish"]:
            merged[-1] = _stage("hard_swish_affine", float(affine[0]), float(affine[1]))
        elif merged and merged[-1][0] == CODES["add"] and stage[0] == CODES["clip"]:
            merged[-1] = [CODES["add_clip"], *merged[-1][1:3], *stage[3:]]
        else:
            merged.append(stage)
    kept = [stage for stage in merged if stage[0] != CODES["copy"]]
    return kept or merged[:1]


def _affine(stage: Stage) -> tuple[np.float32, np.float32] | None:
    """(scale, shift) of a stage that is x * scale + shift."""
    code, mode, word, p, q = stage
    one, zero = np.float32(1), np.float32(0)
    if code == CODES["affine"]:
        return np.float32(_float(p)), np.float32(_float(q))
    if mode != CONSTANT or not isinstance(word, float):
        return None
    value = np.float32(word)
    table = {"mul": (value, zero), "add": (one, value), "sub": (one, -value)}
    return next((pair for name, pair in table.items() if CODES[name] == code), None)


def _stage(code: str, p: float = 0.0, q: float = 0.0) -> Stage:
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
    """Rows of the (rows, channels) matrix that belong to one image of the batch."""
    return max(math.prod(shape[1:-1]), 1)
