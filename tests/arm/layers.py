"""The single layers that are counted: shapes of MobileNetV2-224, ResNet-20 and the text recogniser, batch 1.

A group is one kernel at one kind of work. Its bound is what the multiply-adds alone would take: in float32 one vector
instruction for four of them; Winograd's F(4, 3) has a quarter of the multiply-adds, besides its transforms. In int8, sdot
does sixteen at once; where there is none, smull, smlal2 and sadalp together do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from tests.runtime.kernel_case import Case, Input, f, scalar, w

FLOAT_BOUND = 0.25
BOUNDS = {"f32_winograd": FLOAT_BOUND / 4}


@dataclass(frozen=True)
class Layer:
    """One node.

    work  : how many of `unit` it does; direct multiply-adds for every convolution, however it is computed
    bound : instructions per unit below which it cannot go; 0 where that says nothing
    """

    group: str
    name: str
    case: Case
    work: int
    unit: str = "multiply-add"
    bound: float = FLOAT_BOUND


# (height and width, channels in, channels out) of every 1x1 convolution of MobileNetV2-224 that differs from the others
POINTWISE = (
    (112, 32, 16), (112, 16, 96), (56, 96, 24), (56, 24, 144), (56, 144, 24), (28, 144, 32), (28, 32, 192),
    (28, 192, 32), (14, 192, 64), (14, 64, 384), (14, 384, 64), (14, 384, 96), (14, 96, 576), (14, 576, 96),
    (7, 576, 160), (7, 160, 960), (7, 960, 160), (7, 960, 320), (7, 320, 1280),
)  # fmt: skip
# (height and width of the input, channels, stride) of its depthwise ones
DEPTHWISE = (
    (112, 32, 1), (112, 96, 2), (56, 144, 1), (56, 144, 2), (28, 192, 1), (28, 192, 2), (14, 384, 1), (14, 576, 1),
    (14, 576, 2), (7, 960, 1),
)  # fmt: skip
# (height and width, channels) of ResNet-20's 3x3 convolutions of stride 1, those that run as Winograd's
SQUARE = ((32, 16), (16, 32), (8, 64))
# (size, channels in, channels out, stride): the stems of both networks, ResNet-20's strided ones
STEMS = ((32, 3, 16, 1), (224, 3, 32, 2), (32, 16, 32, 2), (16, 32, 64, 2))
# (height and width, channels in, channels out, kernel) of int8: ResNet-20's 3x3, some of MobileNetV2's 1x1
INTEGER = (
    (32, 16, 16, 3), (16, 32, 32, 3), (8, 64, 64, 3), (56, 24, 144, 1), (28, 192, 32, 1), (14, 96, 576, 1),
    (14, 576, 96, 1), (7, 160, 960, 1), (7, 960, 320, 1),
)  # fmt: skip
# (rows, inner, columns) of matrix products: MobileNetV2's classifier; a block and the classifier of the recogniser
PRODUCTS = ((1, 1280, 1000), (40, 120, 360), (40, 120, 6625))

FLAT = (1, 28, 28, 192)  # elements of an element-wise case


def layers(cpu: str) -> Iterator[Layer]:
    """All of them, for a CPU by LLVM's name."""
    for size, c_in, c_out in POINTWISE:
        yield _conv("f32_conv", size, c_in, c_out, 1, 1)
    for size, c in SQUARE:
        yield _conv("f32_winograd", size, c, c, 3, 1)
    for size, c_in, c_out, stride in STEMS:
        yield _conv("f32_conv_3x3", size, c_in, c_out, 3, stride)
    for size, c, stride in DEPTHWISE:
        yield _conv("f32_depthwise", size, c, c, 3, stride, depthwise=True)
    for size, c_in, c_out, k in INTEGER:
        yield _integer(size, c_in, c_out, k, 1 / 16 if cpu == "cortex-a76" else 3 / 16)
    for m, k, n in PRODUCTS:
        yield Layer("f32_matmul", f"{m}x{k}x{n}", Case("MatMul", (f(m, k), w(k, n))), m * k * n)
    yield from _element_wise()
    yield from _pooling()


def _conv(group: str, size: int, c_in: int, c_out: int, k: int, stride: int, depthwise: bool = False) -> Layer:
    out = -(-size // stride)
    weight = (c_out, k, k, 1 if depthwise else c_in)
    attrs = {"pads": (k // 2,) * 4, "strides": (stride, stride), "group": c_in if depthwise else 1}
    case = Case("Conv", (f(1, size, size, c_in), w(*weight), w(c_out)), attrs)
    channels = str(c_in) if depthwise else f"{c_in}-{c_out}"
    name = f"{size}x{size} {channels}" + (f" /{stride}" if stride > 1 else "")
    return Layer(group, name, case, out * out * prod(weight), bound=BOUNDS.get(group, FLOAT_BOUND))


def _integer(size: int, c_in: int, c_out: int, k: int, bound: float) -> Layer:
    """QLinearConv with a scale per output channel."""

    def code(value: int) -> Input:
        return Input((), "int8", value, known=True)

    weight = Input((c_out, k, k, c_in), "int8", known=True, low=-127, high=128)
    case = Case(
        "QLinearConv",
        (Input((1, size, size, c_in), "int8", low=-128, high=128), scalar(0.02), code(3), weight, w(c_out, low=0.01, high=0.1),
         code(0), scalar(0.1), code(-5), Input((c_out,), "int32", known=True, low=-1000, high=1000)),
        {"pads": (k // 2,) * 4},
    )  # fmt: skip
    name = f"{size}x{size} {c_in}-{c_out}" + (f" {k}x{k}" if k > 1 else "")
    return Layer("s8_conv", name, case, size * size * c_out * k * k * c_in, bound=bound)


def _element_wise() -> Iterator[Layer]:
    c = FLAT[-1]
    cases = {
        "add": Case("Add", (f(*FLAT), f(*FLAT))),
        "add per channel": Case("Add", (f(*FLAT), w(c))),
        "relu": Case("Relu", (f(*FLAT),)),
        "clip": Case("Clip", (f(*FLAT), scalar(0), scalar(6))),
        "hard swish": Case("HardSwish", (f(*FLAT),)),
        "sigmoid": Case("Sigmoid", (f(*FLAT),)),
        "tanh": Case("Tanh", (f(*FLAT),)),
        "gelu": Case("Gelu", (f(*FLAT),)),
        "softmax": Case("Softmax", (f(40, 6625),)),
        "layer normalisation": Case("LayerNormalization", (f(40, 120), w(120), w(120))),
        "to channels last": Case("Transpose", (f(1, 32, 28, 28),), {"perm": (0, 2, 3, 1)}),
        "to channels first": Case("Transpose", (f(1, 28, 28, 32),), {"perm": (0, 3, 1, 2)}),
    }
    for name, case in cases.items():
        yield _per_element("element-wise", name, case)


def _pooling() -> Iterator[Layer]:
    window = {"kernel_shape": (2, 2), "strides": (2, 2)}
    wide = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    yield _per_element("pooling", "max 2x2", Case("MaxPool", (f(1, 56, 56, 64),), window))
    yield _per_element("pooling", "max 3x3 /2", Case("MaxPool", (f(1, 56, 56, 64),), wide))
    yield _per_element("pooling", "average 2x2", Case("AveragePool", (f(1, 56, 56, 64),), window))
    yield _per_element("pooling", "global average", Case("GlobalAveragePool", (f(1, 7, 7, 1280),)))


def _per_element(group: str, name: str, case: Case) -> Layer:
    (first, *_) = case.inputs
    assert first is not None
    return Layer(group, name, case, prod(first.shape), "element", 0.0)
