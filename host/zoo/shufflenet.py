"""ShuffleNetV2 (Ma et al. 2018), as torchvision has it."""

from __future__ import annotations

from alula.host.zoo.entry import IMAGENET, Entry, Make
from alula.host.zoo.layers import Net


def shufflenet_v2(widths: tuple[int, int, int], last: int = 1024, depths: tuple[int, int, int] = (4, 8, 4)) -> Make:
    """Three stages of the given widths and blocks, and a 1 x 1 convolution to `last` channels."""

    def make(net: Net, x: str, num_classes: int) -> str:
        x = net.conv_norm(x, ("conv1.0", "conv1.1"), 24, 3, 2, "relu")
        x = net.max_pool(x, "maxpool", 3, 2, 1)
        for stage, (width, repeats) in enumerate(zip(widths, depths, strict=True), 2):
            for block in range(repeats):
                x = _block(net, x, f"stage{stage}.{block}", width // 2, 2 if block == 0 else 1)
        x = net.conv_norm(x, ("conv5.0", "conv5.1"), last, 1, 1, "relu")
        return net.linear(net.global_pool(x, "pool"), "fc", num_classes)

    return make


def _block(net: Net, x: str, name: str, width: int, stride: int) -> str:
    """Two branches of `width` channels each: the left one only passes on its half unless the image shrinks."""
    if stride == 1:
        left, right = net.split(x, f"{name}.split", width, width)
    else:
        branch, right = f"{name}.branch1", x
        left = net.conv_norm(x, (f"{branch}.0", f"{branch}.1"), net.channels(x), 3, stride, group=net.channels(x))
        left = net.conv_norm(left, (f"{branch}.2", f"{branch}.3"), width, 1, 1, "relu")
    branch = f"{name}.branch2"
    right = net.conv_norm(right, (f"{branch}.0", f"{branch}.1"), width, 1, 1, "relu")
    right = net.conv_norm(right, (f"{branch}.3", f"{branch}.4"), width, 3, stride, group=width)
    right = net.conv_norm(right, (f"{branch}.5", f"{branch}.6"), width, 1, 1, "relu")
    return _shuffle(net, net.concat([left, right], f"{name}.concat"), f"{name}.shuffle")


def _shuffle(net: Net, x: str, name: str) -> str:
    """Channels of the two halves in turn."""
    c, h, w = net.shapes[x]
    x = net.reshape(x, f"{name}.pairs", (0, 2, c // 2, h, w), (2, c // 2, h, w))
    x = net.transpose(x, f"{name}.turn", (0, 2, 1, 3, 4), (c // 2, 2, h, w))
    return net.reshape(x, name, (0, c, h, w), (c, h, w))


NETWORKS = {
    "shufflenetv2-x0.5": Entry(shufflenet_v2((48, 96, 192)), IMAGENET, 1000, 1_366_792),
    "shufflenetv2-x1.0": Entry(shufflenet_v2((116, 232, 464)), IMAGENET, 1000, 2_278_604),
}
