"""How many dimensions a tensor has, where ONNX's own shape inference gave up (after a Reshape to a computed shape).

The change of layout needs only ranks. Each op's contract says how they follow.
"""

from __future__ import annotations

from alula.host.onnx.steps import Build, Step
from alula.runtime.ops.contract import find
from alula.runtime.ops.traits import broadcast


def note_rank(step: Step, build: Build) -> None:
    """Note the ranks of a step's outputs that are not known yet."""
    op = find(step.op, step.label)
    rule = op.rank or (broadcast if op.pointwise or op.elementwise else None)
    ranks = [len(build.shapes[name]) if name in build.shapes else None for name in step.inputs]
    rank = rule(step.attrs, ranks, [_length(name, build) for name in step.inputs]) if rule else None
    if step.op == "Shape" and ranks[0] is not None:  # a list of as many sizes, which ONNX may not have known
        build.shapes[step.outputs[0]] = (len(range(ranks[0])[step.attrs.get("start", 0) : step.attrs.get("end")]),)
    for name in step.outputs:
        if rank is not None and name and name not in build.shapes:
            build.shapes[name] = (None,) * rank


def _length(name: str, build: Build) -> int | None:
    """How many elements a list has, if that is known."""
    dims = build.shapes.get(name, ())
    return dims[0] if len(dims) == 1 else None
