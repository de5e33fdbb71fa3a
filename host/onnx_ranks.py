"""How many dimensions a tensor has, where ONNX's own shape inference gave up (after a Reshape to a computed shape).

Ranks are all that the change of layout needs to know.
"""

from __future__ import annotations

from alula.host.onnx_upgrade import Build, Step

KEEP = frozenset(
    "Conv ConvTranspose ConvInteger QLinearConv MaxPool AveragePool GlobalMaxPool GlobalAveragePool "
    "BatchNormalization InstanceNormalization GroupNormalization LayerNormalization DepthToSpace SpaceToDepth "
    "Transpose Slice Concat Split Pad Tile Resize Softmax LogSoftmax Dropout QuantizeLinear DequantizeLinear Clip".split()
)
FIXED = {"Flatten": 2, "Gemm": 2, "Shape": 1, "LSTM": 3, "GRU": 3}
BROADCAST = frozenset(
    "Add Sub Mul Div Pow Min Max Where Mod And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual MatMul Relu LeakyRelu "
    "PRelu HardSigmoid HardSwish Sigmoid Tanh Elu Gelu Softplus Erf Sqrt Exp Log Abs Neg Not Cast Identity Mish Swish".split()
)


def _rank(step: Step, build: Build) -> int | None:
    ranks = [len(build.shapes[name]) if name in build.shapes else None for name in step.inputs]
    first = ranks[0] if ranks else None
    if step.op in FIXED:
        return FIXED[step.op]
    if step.op in KEEP:
        return first
    if step.op in BROADCAST and None not in ranks:
        return max(rank for rank in ranks if rank is not None)
    if step.op == "Reshape":
        target = build.shapes.get(step.input(1), (None,))
        return target[0] if target else None
    if first is None:
        return None
    if step.op.startswith("Reduce") and step.attrs.get("keepdims", 1):
        return first
    if step.op == "Gather" and ranks[1] is not None:
        return first + ranks[1] - 1
    axes = build.constants.get(step.input(1))
    if step.op in ("Squeeze", "Unsqueeze") and axes is not None:
        return first + (axes.size if step.op == "Unsqueeze" else -axes.size)
    return None


def note_rank(step: Step, build: Build) -> None:
    """Note the ranks of a step's outputs that are not known yet."""
    rank = _rank(step, build)
    for name in step.outputs:
        if rank is not None and name and name not in build.shapes:
            build.shapes[name] = (None,) * rank
