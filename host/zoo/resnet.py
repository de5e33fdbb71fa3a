"""He et al. 2016: the residual networks for CIFAR (section 4.2), and for ImageNet as torchvision has them."""

from __future__ import annotations

from alula.host.zoo.entry import CIFAR, IMAGENET, Entry, Make
from alula.host.zoo.layers import Net

_WIDTHS = (64, 128, 256, 512)


def resnet_cifar(depth: int) -> Make:
    """Depth 6 n + 2; shortcuts of other shape are 1 x 1 convolutions (option B)."""

    def make(net: Net, x: str, num_classes: int) -> str:
        x = net.relu(net.batch_norm(net.conv(x, "conv1", 16, 3), "bn1"), "relu1")
        for stage, width in enumerate((16, 32, 64), 1):
            for block in range((depth - 2) // 6):
                stride = 2 if stage > 1 and block == 0 else 1
                x = _basic_block(net, x, f"layer{stage}.{block}", width, stride, "shortcut")
        return net.linear(net.global_pool(x, "pool"), "fc", num_classes)

    return make


def resnet(repeats: tuple[int, ...], *, bottleneck: bool) -> Make:
    """Four stages. A bottleneck has its stride in its 3 x 3 convolution, and four times as many channels at its end."""

    def make(net: Net, x: str, num_classes: int) -> str:
        x = net.relu(net.batch_norm(net.conv(x, "conv1", 64, 7, 2), "bn1"), "relu1")
        x = net.max_pool(x, "maxpool", 3, 2, 1)
        for stage, (width, blocks) in enumerate(zip(_WIDTHS, repeats, strict=True), 1):
            for block in range(blocks):
                name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
                if bottleneck:
                    x = _bottleneck(net, x, name, width, stride)
                else:
                    x = _basic_block(net, x, name, width, stride, "downsample")
        return net.linear(net.global_pool(x, "avgpool"), "fc", num_classes)

    return make


def _basic_block(net: Net, x: str, name: str, width: int, stride: int, shortcut: str) -> str:
    y = net.relu(net.batch_norm(net.conv(x, f"{name}.conv1", width, 3, stride), f"{name}.bn1"), f"{name}.relu1")
    y = net.batch_norm(net.conv(y, f"{name}.conv2", width, 3), f"{name}.bn2", gain=0.5)
    return _sum(net, x, y, name, stride, shortcut, "relu2")


def _bottleneck(net: Net, x: str, name: str, width: int, stride: int) -> str:
    y = net.relu(net.batch_norm(net.conv(x, f"{name}.conv1", width, 1), f"{name}.bn1"), f"{name}.relu1")
    y = net.relu(net.batch_norm(net.conv(y, f"{name}.conv2", width, 3, stride), f"{name}.bn2"), f"{name}.relu2")
    y = net.batch_norm(net.conv(y, f"{name}.conv3", 4 * width, 1), f"{name}.bn3", gain=0.5)
    return _sum(net, x, y, name, stride, "downsample", "relu3")


def _sum(net: Net, x: str, y: str, name: str, stride: int, shortcut: str, relu: str) -> str:
    """relu(y + x), x through a convolution if its shape is another."""
    width = net.channels(y)
    if stride > 1 or net.channels(x) != width:
        x = net.batch_norm(net.conv(x, f"{name}.{shortcut}.0", width, 1, stride), f"{name}.{shortcut}.1")
    return net.relu(net.add(y, x, f"{name}.add"), f"{name}.{relu}")


NETWORKS = {
    "resnet20-cifar": Entry(resnet_cifar(20), CIFAR, 10, 272_474, "ours"),
    "resnet38-cifar": Entry(resnet_cifar(38), CIFAR, 10, 564_122, "ours"),
    "resnet74-cifar": Entry(resnet_cifar(74), CIFAR, 10, 1_147_418, "ours"),
    "resnet110-cifar": Entry(resnet_cifar(110), CIFAR, 10, 1_730_714, "ours"),
    "resnet18": Entry(resnet((2, 2, 2, 2), bottleneck=False), IMAGENET, 1000, 11_689_512),
    "resnet50": Entry(resnet((3, 4, 6, 3), bottleneck=True), IMAGENET, 1000, 25_557_032),
}
