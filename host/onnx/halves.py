"""float16 and bfloat16: everything between inputs and outputs is computed in float32, which holds all their values.

An input or output of float16 stays one, with a Cast between it and the network. NumPy has no bfloat16: there it becomes float32.
"""

from __future__ import annotations

from collections.abc import Mapping

from alula.host.onnx.reader import HALVES
from alula.host.onnx.steps import Build, Step
from alula.runtime.graph import TensorSpec


def cast_ends(
    steps: list[Step],
    inputs: Mapping[str, TensorSpec],
    outputs: tuple[str, ...],
    types: Mapping[str, str],
    build: Build,
) -> list[Step]:
    """The steps between Casts from inputs of float16 and to outputs of float16.

    types : ONNX's names of the types of tensors, where they are known
    """
    wide: dict[str, str] = {}
    before, after = [], []
    for name, spec in inputs.items():
        if spec.dtype == "float16":
            wide[name] = _wide(name, build)
            before.append(Step("Cast", [name], [wide[name]], {"to": "float32"}))
    for name in dict.fromkeys(outputs):
        if types.get(name) == "float16" and name not in inputs:
            wide[name] = _wide(name, build)
            after.append(Step("Cast", [wide[name]], [name], {"to": "float16"}))
            if name in build.constants:
                build.constants[wide[name]] = build.constants.pop(name)
    for step in steps if wide else ():
        step.inputs = [wide.get(name, name) for name in step.inputs]
        step.otherwise = tuple(wide.get(name, name) for name in step.otherwise)
        step.outputs = [wide.get(name, name) for name in step.outputs]
    return [*before, *steps, *after]


def _wide(name: str, build: Build) -> str:
    new = build.fresh(f"{name}.float32")
    if name in build.shapes:
        build.shapes[new] = build.shapes[name]
    build.dtypes[new] = "float32"
    return new


def notes(types: Mapping[str, str], ends: tuple[str, ...]) -> tuple[str, ...]:
    """What a user should know.

    ends : the names of inputs and outputs
    """
    found = [half for half in HALVES if half in types.values()]
    lines = [f"{' and '.join(found)}: computed in float32"] if found else []
    changed = [name for name in ends if types.get(name) == "bfloat16"]
    lines += [f"bfloat16: taken and returned as float32: {', '.join(changed)[:120]}"] if changed else []
    return tuple(lines)
