"""DeiT (Touvron et al. 2021): a vision transformer on patches of 16 x 16, as timm has it."""

from __future__ import annotations

from alula.host.zoo.entry import IMAGENET, Entry, Make
from alula.host.zoo.layers import Net
from alula.host.zoo.transformer import block, layer_norm, parameter

_EPSILON = 1e-6
_PATCH = 16


def deit(width: int, depth: int, heads: int) -> Make:
    """`depth` blocks; the class token comes first among the tokens."""

    def make(net: Net, x: str, num_classes: int) -> str:
        x = net.conv(x, "patch_embed.proj", width, _PATCH, _PATCH, pads="none", bias=True)
        _, h, w = net.shapes[x]
        tokens = h * w + 1
        x = net.transpose(x, "patch_embed.last", (0, 2, 3, 1), (h, w, width))
        x = net.reshape(x, "patch_embed.tokens", (0, h * w, width), (h * w, width))
        # Room for the class token, which is added: no node has to know the size of the batch
        shape = (tokens, width)
        x = net.node("Pad", [x, net.constant("before", [0, 1, 0, 0, 0, 0], "int64")], "tokens", shape=shape)
        x = net.node("Add", [x, parameter(net, "pos_embed", (1, *shape))], "positions")
        first = parameter(net, "cls_token", (1, 1, width))
        net.shapes[first], net.power[first] = (1, width), 0.0
        first = net.node(
            "Pad", [first, net.constant("behind", [0, 0, 0, 0, h * w, 0], "int64")], "class_token", shape=shape
        )
        x = net.node("Add", [x, first], "embedded")
        x = net.reshape(x, "rows", (-1, width), (width,))
        for number in range(depth):
            x = block(net, x, f"blocks.{number}", tokens, heads, 4 * width, "gelu", _EPSILON)
        x = net.reshape(x, "images", (-1, tokens, width), shape)
        x = net.node("Gather", [x, net.constant("first", 0, "int64")], "class", shape=(width,), axis=1)
        return net.linear(layer_norm(net, x, "norm", _EPSILON), "head", num_classes)

    return make


NETWORKS = {"deit-tiny": Entry(deit(192, 12, 3), IMAGENET, 1000, 5_717_416, "timm", multiple=_PATCH)}
