"""Older opsets to opset 21: attributes become inputs, implied values become explicit.

Each rule takes one step (an ONNX node with plain attributes) and the opset it was written for, and returns the steps
that mean the same in opset 21. Opsets 22 to 28 changed nothing but types for the ops we know.
"""

from __future__ import annotations

import numpy as np

from alula.host.onnx.decompose import DECOMPOSED
from alula.host.onnx.reader import working_dtype
from alula.host.onnx.steps import Build, Rule, Step
from alula.runtime.errors import GraphError

OLDEST_OPSET, NEWEST_OPSET = 6, 28


def _attrs_to_inputs(last_old: int, *names: tuple[str, str]) -> Rule:
    """A rule that turns attributes into inputs 1, 2, ...; a dtype "" is that of input 0."""

    def rule(step: Step, opset: int, build: Build) -> list[Step]:
        if opset <= last_old:
            step.inputs = step.inputs[:1]
            for name, dtype in names:
                value = step.attrs.pop(name, None)
                kind = dtype or build.dtypes.get(step.inputs[0], "float32")
                step.inputs.append("" if value is None else build.constant(f"{step.outputs[0]}.{name}", value, kind))
        return [step]

    return rule


def _pad(step: Step, opset: int, build: Build) -> list[Step]:
    if opset < 11:
        step.attrs.setdefault("value", 0.0)
        return _attrs_to_inputs(10, ("pads", "int64"), ("value", ""))(step, opset, build)
    return [step]


def _split(step: Step, opset: int, build: Build) -> list[Step]:
    if opset < 13 and "split" in step.attrs:
        step.inputs = [step.inputs[0], build.constant(f"{step.outputs[0]}.split", step.attrs.pop("split"), "int64")]
    if not step.input(1):
        step.attrs.setdefault("num_outputs", len(step.outputs))
    return [step]


def _dropout(step: Step, opset: int, build: Build) -> list[Step]:
    if opset < 12:  # these opsets have no training mode
        step.inputs = step.inputs[:1]
        step.attrs = {}
    return [step]


def _legacy_broadcast(step: Step, opset: int, build: Build) -> list[Step]:
    """Opset 6 broadcast the second tensor alone, from `axis` on; without it, at the end, as later ones do."""
    axis = step.attrs.pop("axis", None)
    wide = step.attrs.pop("broadcast", 0)
    if opset >= 7 or not wide or axis is None:
        return [step]
    return _lined_up(step, int(axis), build)


def _legacy_prelu(step: Step, opset: int, build: Build) -> list[Step]:
    """Opset 6 had one slope for each channel, or one for all."""
    return [step] if opset >= 7 else _lined_up(step, 1, build)


def _lined_up(step: Step, axis: int, build: Build) -> list[Step]:
    """The step whose second input begins at an axis of the first one: axes of size 1 are appended to it."""
    first, second = (build.rank(name, step.label) for name in step.inputs)
    missing = first - axis % max(first, 1) - second
    if missing <= 0 or build.shapes[step.inputs[1]] in ((), (1,)):
        return [step]
    axes = build.constant(f"{step.outputs[0]}.axes", list(range(second, second + missing)), "int64")
    wide = build.fresh(f"{step.inputs[1]}.wide")
    made = Step("Unsqueeze", [step.inputs[1], axes], [wide], {}, f"{step.name}.unsqueeze" if step.name else "")
    step.inputs[1] = wide
    return [made, step]


def _gemm(step: Step, opset: int, build: Build) -> list[Step]:
    step.attrs.pop("broadcast", None)  # of opset 6: whether the bias may broadcast
    return [step]


def _recurrent(step: Step, opset: int, build: Build) -> list[Step]:
    step.attrs.pop("output_sequence", None)  # of opset 6: whether the first output is wanted
    return [step]


def _eye_like(step: Step, opset: int, build: Build) -> list[Step]:
    if "dtype" in step.attrs:
        step.attrs["dtype"] = working_dtype(step.attrs["dtype"], step.label)
    return [step]


def _resize(step: Step, opset: int, build: Build) -> list[Step]:
    where = step.outputs[0]
    if "height_scale" in step.attrs:  # opset 6
        sides = (step.attrs.pop("height_scale"), step.attrs.pop("width_scale", 1.0))
        step.attrs["scales"] = (1.0, 1.0, *sides)
    if step.op == "Upsample" or opset < 11:
        if "scales" in step.attrs:
            scales = build.constant(f"{where}.scales", step.attrs.pop("scales"), "float32")
        else:
            scales = step.input(1)
        mode = {"bilinear": "linear"}.get(step.attrs.get("mode", "nearest"), step.attrs.get("mode", "nearest"))
        attrs = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
        # nearest_mode as onnxruntime reads opset 10, which does not say: ceil where it shrinks, floor where it grows
        x, factors, grows = step.inputs[0], build.constants.get(scales), {"nearest_mode": "floor"}
        if factors is None or mode != "nearest" or not (factors < 1).any():
            return [Step("Resize", [x, "", scales], step.outputs, attrs | grows, step.name)]
        small, large = (
            build.constant(f"{where}.scales", cut(factors, 1), "float32") for cut in (np.minimum, np.maximum)
        )
        half = build.fresh(f"{where}.smaller") if (factors > 1).any() else where
        shrunk = Step("Resize", [x, "", small], [half], {**attrs, "nearest_mode": "ceil"}, step.name)
        return [shrunk, Step("Resize", [half, "", large], [where], attrs | grows)][: 1 if half == where else 2]
    inputs = (step.inputs + ["", "", ""])[:4]
    for index in (1, 2, 3):  # opset 11 demands inputs that are not used: they come as empty constants
        known = build.constants.get(inputs[index])
        if known is not None and known.size == 0:
            inputs[index] = ""
    if step.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        inputs[1] = ""
    step.inputs = inputs
    return [step]


def _grid_sample(step: Step, opset: int, build: Build) -> list[Step]:
    mode = step.attrs.get("mode", "linear")  # opset 16 calls the modes otherwise
    step.attrs["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return [step]


def _softmax(step: Step, opset: int, build: Build) -> list[Step]:
    if opset >= 13:
        return [step]
    axis = step.attrs.pop("axis", 1)  # these opsets flatten to two dimensions at the axis
    x, y = step.inputs[0], step.outputs[0]
    if axis == -1 or (x in build.shapes and axis % max(len(build.shapes[x]), 1) == len(build.shapes[x]) - 1):
        step.attrs = {"axis": -1}
        return [step]
    flat, shape, rows = build.fresh(f"{y}.flat"), build.fresh(f"{y}.shape"), build.fresh(f"{y}.rows")
    return [
        Step("Shape", [x], [shape], {}, f"{step.name}.shape" if step.name else ""),
        Step("Flatten", [x], [flat], {"axis": axis}, f"{step.name}.flatten" if step.name else ""),
        Step(step.op, [flat], [rows], {"axis": -1}, step.name),
        Step("Reshape", [rows, shape], [y], {}, f"{step.name}.reshape" if step.name else ""),
    ]


def _batch_norm(step: Step, opset: int, build: Build) -> list[Step]:
    if step.attrs.pop("spatial", 1) != 1:
        raise GraphError(f"{step.label}: expected spatial = 1, got 0, which opset 9 dropped; export with a newer opset")
    if opset < 14:  # more outputs were those of training, and inference leaves them empty
        step.outputs = step.outputs[:1]
    return [step]


def _group_norm(step: Step, opset: int, build: Build) -> list[Step]:
    if opset >= 21:
        return [step]
    groups = int(step.attrs.get("num_groups", 1))  # opset 18 has one scale a group, 21 one a channel
    shape = build.shapes.get(step.inputs[0], ())
    channels = shape[1] if len(shape) > 1 else None
    if channels is None or groups < 1 or channels % groups:
        raise GraphError(
            f"{step.label}: expected channels that {groups} groups divide, got {channels}; give the model's inputs their shapes"
        )
    steps = []
    for index in (1, 2):
        name = step.inputs[index]
        if name in build.constants:
            repeated = np.repeat(build.constants[name], channels // groups)
            step.inputs[index] = build.constant(f"{name}.channels", repeated, str(repeated.dtype))
            continue
        column, wide, row = (build.fresh(f"{name}.{part}") for part in ("column", "wide", "channels"))
        axes = build.constant(f"{name}.axes", [1], "int64")
        target = build.constant(f"{name}.target", [groups, channels // groups], "int64")
        flat = build.constant(f"{name}.flat", [-1], "int64")
        steps += [
            Step("Unsqueeze", [name, axes], [column]),
            Step("Expand", [column, target], [wide]),
            Step("Reshape", [wide, flat], [row]),
        ]
        step.inputs[index] = row
    return [*steps, step]


def _cast(step: Step, opset: int, build: Build) -> list[Step]:
    if not isinstance(step.attrs.get("to"), str):
        step.attrs["to"] = working_dtype(step.attrs.get("to", 0), step.label)
    return [step]


def _cast_like(step: Step, opset: int, build: Build) -> list[Step]:
    like = step.inputs[1]
    if like not in build.dtypes:
        raise GraphError(
            f"{step.label}: expected the type of {like!r} to follow from the model, got an unknown one; give the model's inputs "
            "their types"
        )
    attrs = {"to": build.dtypes[like], **{name: step.attrs[name] for name in ("saturate",) if name in step.attrs}}
    return [Step("Cast", step.inputs[:1], step.outputs, attrs, step.name)]


def _constant_of_shape(step: Step, opset: int, build: Build) -> list[Step]:
    value = np.asarray(step.attrs.get("value", np.zeros(1, np.float32)))
    if value.size != 1:
        raise GraphError(f"{step.label}: expected a value of one element, got {value.size}; the file is damaged")
    step.attrs = {"value": value.reshape(-1)[0].item(), "dtype": value.dtype.name}
    return [step]


def _quantize(step: Step, opset: int, build: Build) -> list[Step]:
    wanted = step.attrs.pop("output_dtype", 0)
    name = working_dtype(wanted, step.label) if wanted else ""
    if step.op == "QuantizeLinear":
        step.attrs["output_dtype"] = name
    elif name and name != build.dtypes.get(step.input(1)):
        raise GraphError(f"{step.label}: expected output_dtype as the scale's, got {name}; export with opset 21")
    return [step]


_BROADCAST = tuple("Add Sub Mul Div Pow And Or Xor Equal Greater Less".split())
_REDUCTIONS = tuple(f"Reduce{kind}" for kind in "Mean Max Min L1 L2 Prod SumSquare LogSum LogSumExp".split())

UPGRADES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Clip": _attrs_to_inputs(10, ("min", ""), ("max", "")),
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _quantize,
    "Dropout": _dropout,
    "EyeLike": _eye_like,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "GridSample": _grid_sample,
    "GroupNormalization": _group_norm,
    "LSTM": _recurrent,
    "LogSoftmax": _softmax,
    "PRelu": _legacy_prelu,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "ReduceSum": _attrs_to_inputs(12, ("axes", "int64")),
    "Resize": _resize,
    "Slice": _attrs_to_inputs(9, ("starts", "int64"), ("ends", "int64"), ("axes", "int64")),
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _attrs_to_inputs(12, ("axes", "int64")),
    "TopK": _attrs_to_inputs(9, ("k", "int64")),
    "Unsqueeze": _attrs_to_inputs(12, ("axes", "int64")),
    "Upsample": _resize,
    **dict.fromkeys(_BROADCAST, _legacy_broadcast),
    **dict.fromkeys(_REDUCTIONS, _attrs_to_inputs(17, ("axes", "int64"))),
}
REPLACED = frozenset({*DECOMPOSED, "CastLike", "Upsample"})  # ops that the rules leave none of


def upgrade(step: Step, opset: int, build: Build) -> list[Step]:
    """The steps of opset 21 that mean what this one meant in its own opset."""
    rule = UPGRADES.get(step.op) or DECOMPOSED.get(step.op)
    return rule(step, opset, build) if rule else [step]
