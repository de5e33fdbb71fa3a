"""Which file registers which op: a family is imported when the first of its ops is looked up, not before."""

from __future__ import annotations

FAMILIES = {
    "activation": (
        "Relu", "LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Elu", "Softplus", "Erf", "Swish", "Mish",
        "Gelu", "Clip", "PRelu",
    ),
    "conv": (
        "Conv", "ConvTranspose",
    ),
    "elementwise": (
        "Sqrt", "Exp", "Log", "Reciprocal", "Floor", "Ceil", "Round", "Abs", "Neg", "Sign", "Sin", "Cos", "Not",
        "Add", "Sub", "Mul", "Div", "Min", "Max", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And",
        "Or", "Xor", "Mod", "Pow", "Where", "Cast", "Identity", "Dropout",
    ),
    "integer": (
        "ConvInteger", "QLinearConv",
    ),
    "matmul": (
        "MatMul", "Gemm",
    ),
    "movement": (
        "Pad", "Concat", "Split", "Slice", "Gather", "Transpose", "Expand", "Tile", "DepthToSpace", "SpaceToDepth",
    ),
    "normalization": (
        "BatchNormalization", "LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization",
        "LpNormalization",
    ),
    "pool": (
        "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
    ),
    "quantize": (
        "QuantizeLinear", "DequantizeLinear",
    ),
    "recurrent": (
        "LSTM", "GRU",
    ),
    "reduce": (
        "ReduceMean", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum",
        "ReduceLogSumExp", "ReduceMax", "ReduceMin", "ArgMax", "ArgMin",
    ),
    "resize": (
        "Resize",
    ),
    "shape": (
        "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Size", "ConstantOfShape", "Range",
    ),
    "softmax": (
        "Softmax", "LogSoftmax",
    ),
    "activation_gradient": (
        "ReluGrad", "SigmoidGrad", "TanhGrad", "LeakyReluGrad", "HardSigmoidGrad", "HardSwishGrad", "EluGrad",
        "SoftplusGrad", "SwishGrad", "MishGrad", "GeluGrad", "ClipGrad",
    ),
    "conv_gradient": (
        "ConvWeightGrad",
    ),
    "normalization_gradient": (
        "BatchNormalizationTraining", "BatchNormalizationApply", "BatchNormalizationGrad",
    ),
    "pool_gradient": (
        "MaxPoolGrad", "AveragePoolGrad",
    ),
    "movement_gradient": (
        "GatherGrad", "SliceGrad",
    ),
    "loss": (
        "SoftmaxCrossEntropyLoss", "SoftmaxCrossEntropyLossGrad", "CTCLoss",
    ),
    "update": (
        "SGDUpdate", "AdamUpdate", "SignSGDUpdate", "LionUpdate", "AverageUpdate", "AccumulateUpdate", "SquaredNorm",
    ),
}  # fmt: skip
FAMILY_OF = {op: family for family, names in FAMILIES.items() for op in names}
