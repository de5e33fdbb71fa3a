"""MobileViT (Mehta and Rastegari 2022): convolutions, and attention between pixels of like places, as timm has it."""

from __future__ import annotations

from dataclasses import dataclass

from alula.host.zoo.entry import Entry, Make
from alula.host.zoo.layers import Net
from alula.host.zoo.transformer import block, layer_norm

_EPSILON = 1e-5
_HEADS, _PATCH = 4, 2


@dataclass(frozen=True)
class Size:
    """A variant.

    widths    : of the five stages
    dims      : of the tokens of the last three, and depths : their transformer blocks
    expansion : of a bottleneck
    last      : channels before the classes
    """

    widths: tuple[int, int, int, int, int]
    dims: tuple[int, int, int]
    expansion: int
    last: int
    depths: tuple[int, int, int] = (2, 4, 3)


_XXS = Size((16, 24, 48, 64, 80), (64, 80, 96), 2, 320)
_XS = Size((32, 48, 64, 80, 96), (96, 120, 144), 4, 384)


def mobilevit(size: Size) -> Make:
    """Five stages, the last three with attention."""

    def make(net: Net, x: str, num_classes: int) -> str:
        x = _conv_norm(net, x, "stem", 16, 3, 2)
        for stage, width in enumerate(size.widths):
            for number in range(3 if stage == 1 else 1):
                stride = 2 if stage and number == 0 else 1
                x = _bottleneck(net, x, f"stages.{stage}.{number}", width, stride, size.expansion)
            if stage > 1:
                x = _attended(net, x, f"stages.{stage}.1", size.dims[stage - 2], size.depths[stage - 2])
        x = _conv_norm(net, x, "final_conv", size.last, 1, 1)
        return net.linear(net.global_pool(x, "head.global_pool"), "head.fc", num_classes)

    return make


def _bottleneck(net: Net, x: str, name: str, width: int, stride: int, expansion: int) -> str:
    c_in = net.channels(x)
    wide = c_in * expansion
    y = _conv_norm(net, x, f"{name}.conv1_1x1", wide, 1, 1)
    y = _conv_norm(net, y, f"{name}.conv2_kxk", wide, 3, stride, group=wide)
    y = _conv_norm(net, y, f"{name}.conv3_1x1", width, 1, 1, act="")
    return net.add(y, x, f"{name}.add") if stride == 1 and c_in == width else y


def _attended(net: Net, x: str, name: str, dim: int, depth: int) -> str:
    """Pixels of the same place in their patches of 2 x 2 attend to each other."""
    width, h, w = net.shapes[x]
    y = net.conv(_conv_norm(net, x, f"{name}.conv_kxk", width, 3, 1), f"{name}.conv_1x1", dim, 1)
    rows, columns = h // _PATCH, w // _PATCH
    y = net.transpose(y, f"{name}.last", (0, 2, 3, 1), (h, w, dim))
    shape = (rows, _PATCH, columns, _PATCH, dim)
    y = net.reshape(y, f"{name}.patches", (0, *shape), shape)
    y = net.transpose(y, f"{name}.places", (0, 2, 4, 1, 3, 5), (_PATCH, _PATCH, rows, columns, dim))
    y = net.reshape(y, f"{name}.rows", (-1, dim), (dim,))
    for number in range(depth):
        y = block(net, y, f"{name}.transformer.{number}", rows * columns, _HEADS, 2 * dim, "silu", _EPSILON)
    y = layer_norm(net, y, f"{name}.norm", _EPSILON)
    shape = (_PATCH, _PATCH, rows, columns, dim)
    y = net.reshape(y, f"{name}.apart", (-1, *shape), shape)
    y = net.transpose(y, f"{name}.image", (0, 3, 1, 4, 2, 5), (rows, _PATCH, columns, _PATCH, dim))
    y = net.reshape(y, f"{name}.pixels", (0, h, w, dim), (h, w, dim))
    y = net.transpose(y, f"{name}.first", (0, 3, 1, 2), (dim, h, w))
    y = net.concat([x, _conv_norm(net, y, f"{name}.conv_proj", width, 1, 1)], f"{name}.concat")
    return _conv_norm(net, y, f"{name}.conv_fusion", width, 3, 1)


def _conv_norm(
    net: Net, x: str, name: str, width: int, kernel: int, stride: int, act: str = "silu", group: int = 1
) -> str:
    return net.conv_norm(x, (f"{name}.conv", f"{name}.bn"), width, kernel, stride, act, group=group)


NETWORKS = {
    "mobilevit-xxs": Entry(mobilevit(_XXS), (3, 256, 256), 1000, 1_272_024, "timm", multiple=64),
    "mobilevit-xs": Entry(mobilevit(_XS), (3, 256, 256), 1000, 2_317_848, "timm", multiple=64),
}
