"""MobileNetV2 (Sandler et al. 2018) and MobileNetV3 (Howard et al. 2019)."""

from __future__ import annotations

from alula.host.zoo.entry import CIFAR, IMAGENET, Entry, Make
from alula.host.zoo.layers import Net, divisible

# expansion, channels, repeats, stride of the first (Sandler et al. 2018, table 2)
_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# kernel, channels inside, channels, squeeze and excitation, activation, stride (Howard et al. 2019, tables 1 and 2)
V3_LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    (5, 960, 160, True, "hard_swish", 1),
    (5, 960, 160, True, "hard_swish", 1),
)
V3_SMALL = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hard_swish", 2),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 120, 48, True, "hard_swish", 1),
    (5, 144, 48, True, "hard_swish", 1),
    (5, 288, 96, True, "hard_swish", 2),
    (5, 576, 96, True, "hard_swish", 1),
    (5, 576, 96, True, "hard_swish", 1),
)
_V3_EPSILON = 1e-3


def mobilenet_v2_224(net: Net, x: str, num_classes: int) -> str:
    """Width 1.0, for 224 x 224."""
    return _mobilenet_v2(net, x, num_classes, stem_stride=2, second_stride=2)


def mobilenet_v2_cifar(net: Net, x: str, num_classes: int) -> str:
    """The same for 32 x 32: the first two strides are 1."""
    return _mobilenet_v2(net, x, num_classes, stem_stride=1, second_stride=1)


def _mobilenet_v2(net: Net, x: str, num_classes: int, stem_stride: int, second_stride: int) -> str:
    x = net.conv_norm(x, ("features.0.0", "features.0.1"), 32, 3, stem_stride, "relu6")
    number = 1
    for stage, (expansion, width, repeats, stride) in enumerate(_V2):
        for block in range(repeats):
            step = (second_stride if stage == 1 else stride) if block == 0 else 1
            x = _inverted_residual(net, x, f"features.{number}", width, step, expansion)
            number += 1
    x = net.conv_norm(x, (f"features.{number}.0", f"features.{number}.1"), 1280, 1, 1, "relu6")
    return net.linear(net.global_pool(x, "pool"), "classifier.1", num_classes)


def _inverted_residual(net: Net, x: str, name: str, width: int, stride: int, expansion: int) -> str:
    c_in, y, part = net.channels(x), x, 0
    wide = c_in * expansion
    if expansion > 1:
        y, part = net.conv_norm(y, (f"{name}.conv.0.0", f"{name}.conv.0.1"), wide, 1, 1, "relu6"), 1
    names = f"{name}.conv.{part}.0", f"{name}.conv.{part}.1"
    y = net.conv_norm(y, names, wide, 3, stride, "relu6", group=wide)
    y = net.conv_norm(y, (f"{name}.conv.{part + 1}", f"{name}.conv.{part + 2}"), width, 1, 1)
    return net.add(x, y, f"{name}.add") if stride == 1 and c_in == width else y


def mobilenet_v3(blocks: tuple[tuple[int, int, int, bool, str, int], ...], hidden: int) -> Make:
    """Blocks from one of the tables above; `hidden` features before the classes. No dropout."""

    def make(net: Net, x: str, num_classes: int) -> str:
        x = _conv_norm(net, x, "features.0", 16, 3, 2, "hard_swish")
        for number, (kernel, wide, width, squeezed, act, stride) in enumerate(blocks, 1):
            c_in, name, y, part = net.channels(x), f"features.{number}.block", x, 0
            if wide != c_in:
                y, part = _conv_norm(net, y, f"{name}.0", wide, 1, 1, act), 1
            y = _conv_norm(net, y, f"{name}.{part}", wide, kernel, stride, act, group=wide)
            if squeezed:
                part += 1
                y = net.squeeze_excite(y, f"{name}.{part}", divisible(wide // 4), "relu", "hard_sigmoid")
            y = _conv_norm(net, y, f"{name}.{part + 1}", width, 1, 1)
            x = net.add(y, x, f"features.{number}.add") if stride == 1 and c_in == width else y
        x = _conv_norm(net, x, f"features.{len(blocks) + 1}", 6 * net.channels(x), 1, 1, "hard_swish")
        x = net.activation(net.linear(net.global_pool(x, "avgpool"), "classifier.0", hidden), "hard_swish")
        return net.linear(x, "classifier.3", num_classes)

    return make


def _conv_norm(net: Net, x: str, name: str, width: int, kernel: int, stride: int, act: str = "", group: int = 1) -> str:
    names = f"{name}.0", f"{name}.1"
    return net.conv_norm(x, names, width, kernel, stride, act, group=group, epsilon=_V3_EPSILON)


NETWORKS = {
    "mobilenetv2-cifar": Entry(mobilenet_v2_cifar, CIFAR, 10, 2_236_682),
    "mobilenetv2-224": Entry(mobilenet_v2_224, IMAGENET, 1000, 3_504_872),
    "mobilenetv3-small": Entry(mobilenet_v3(V3_SMALL, 1024), IMAGENET, 1000, 2_542_856),
    "mobilenetv3-large": Entry(mobilenet_v3(V3_LARGE, 1280), IMAGENET, 1000, 5_483_032),
}
