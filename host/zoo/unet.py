"""U-Net (Ronneberger et al. 2015), padded and with batch normalisation, a quarter of the paper's width.

Its output is a score for each class at each pixel: (batch, classes, H, W). Names are those of the common PyTorch
implementation (`inc`, `down1` ... `down4`, `up1` ... `up4`, `outc`).
"""

from __future__ import annotations

from alula.host.zoo.entry import Entry, Make
from alula.host.zoo.layers import Net

_LEVELS = 4


def unet(width: int) -> Make:
    """Four times half the size and twice the channels, from `width` on, and back; each level is kept for the way back."""

    def make(net: Net, x: str, num_classes: int) -> str:
        x = _two(net, x, "inc.double_conv", width)
        kept = [x]
        for level in range(1, _LEVELS + 1):
            x = net.max_pool(x, f"down{level}.maxpool_conv.0")
            x = _two(net, x, f"down{level}.maxpool_conv.1.double_conv", width << level)
            kept.append(x)
        for level, other in enumerate(reversed(kept[:-1]), 1):
            wide = net.channels(other)
            x = net.concat([other, net.conv_transpose(x, f"up{level}.up", wide)], f"up{level}.concat")
            x = _two(net, x, f"up{level}.conv.double_conv", wide)
        return net.conv(x, "outc.conv", num_classes, 1, bias=True)

    return make


def _two(net: Net, x: str, name: str, width: int) -> str:
    x = net.conv_norm(x, (f"{name}.0", f"{name}.1"), width, 3, 1, "relu")
    return net.conv_norm(x, (f"{name}.3", f"{name}.4"), width, 3, 1, "relu")


NETWORKS = {"unet": Entry(unet(16), (3, 256, 256), 2, 1_942_594, "Pytorch-UNet", "segment", multiple=1 << _LEVELS)}
