"""LeNet and VGG, as the papers on pruning and on CIFAR have them."""

from __future__ import annotations

from alula.host.zoo.entry import CIFAR, Entry
from alula.host.zoo.layers import Net

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


NETWORKS = {
    "lenet-300-100": Entry(lenet_300_100, (1, 28, 28), 10, 266_610, "ours"),
    "lenet-5": Entry(lenet_5, (1, 28, 28), 10, 431_080, "ours"),
    "vgg16-cifar": Entry(vgg16_cifar, CIFAR, 10, 14_724_042, "ours"),
}
