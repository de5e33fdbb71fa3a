"""The block of vision transformers (Dosovitskiy et al. 2021), with timm's names. Tokens are rows: (batch * T, C)."""

from __future__ import annotations

import math

from alula.host.zoo.layers import Net


def block(net: Net, x: str, name: str, tokens: int, heads: int, hidden: int, act: str, epsilon: float) -> str:
    """Attention between the tokens of an image, then two layers for each; both beside a residual connection."""
    y = layer_norm(net, x, f"{name}.norm1", epsilon)
    x = net.add(x, _attention(net, y, f"{name}.attn", tokens, heads), f"{name}.add1")
    y = net.activation(net.linear(layer_norm(net, x, f"{name}.norm2", epsilon), f"{name}.mlp.fc1", hidden), act)
    y = net.linear(y, f"{name}.mlp.fc2", net.channels(x), gain=1)
    return net.add(x, y, f"{name}.add2")


def layer_norm(net: Net, x: str, name: str, epsilon: float) -> str:
    """Each token to mean 0 and variance 1, then scaled and shifted."""
    c = net.channels(x)
    scale = net.weight(f"{name}.weight", (c,), lambda: net.rng.uniform(0.8, 1.2, c))
    shift = net.weight(f"{name}.bias", (c,), net.normal(0.1, (c,)))
    return net.node("LayerNormalization", [x, scale, shift], name, 1.01, axis=-1, epsilon=epsilon)


def _attention(net: Net, x: str, name: str, tokens: int, heads: int) -> str:
    """Every head: softmax(Q K^T / sqrt(d)) V over (batch, heads, T, d)."""
    c = net.channels(x)
    d = c // heads
    rows = net.linear(x, f"{name}.qkv", 3 * c, gain=1)
    parts = net.split(rows, f"{name}.qkv.split", c, c, c)
    apart = [net.reshape(part, f"{part}.heads", (-1, tokens, heads, d), (tokens, heads, d)) for part in parts]
    perms = ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))
    shapes = ((heads, tokens, d), (heads, d, tokens), (heads, tokens, d))
    q, k, v = (
        net.transpose(part, f"{part}.turn", perm, shape) for part, perm, shape in zip(apart, perms, shapes, strict=True)
    )
    q = net.node("Mul", [q, net.constant(f"one_over_root_of_{d}", 1 / math.sqrt(d))], f"{name}.scaled")
    scores = net.node("MatMul", [q, k], f"{name}.scores", shape=(heads, tokens, tokens))
    shares = net.node("Softmax", [scores], f"{name}.softmax", axis=-1)
    y = net.node("MatMul", [shares, v], f"{name}.mixed", net.power[v] / 2, (heads, tokens, d))
    y = net.transpose(y, f"{name}.mixed.turn", (0, 2, 1, 3), (tokens, heads, d))
    return net.linear(net.reshape(y, f"{name}.joined", (-1, c), (c,)), f"{name}.proj", c, gain=1)


def parameter(net: Net, name: str, shape: tuple[int, ...]) -> str:
    """A small random parameter of any shape, as embeddings are at the start."""
    return net.weight(name, shape, net.normal(0.02, shape))
