"""Move padding into the convolution that follows, where it costs nothing."""

from __future__ import annotations

from dataclasses import replace

from alula.runtime.graph import Graph
from alula.runtime.passes.rewrite import Rewrite


def fold_pads(graph: Graph) -> Graph:
    """Pad with zeros along spatial axes, read by Conv alone -> the pads of the Conv."""
    rewrite = Rewrite(graph)
    for node in rewrite.nodes("Pad"):
        readers = rewrite.readers(node.outputs[0])
        pads = rewrite.integers(node.inputs[1])
        plain = node.attrs.mode == "constant" and not (len(node.inputs) > 3 and node.inputs[3]) and not node.fused
        zero = len(node.inputs) < 3 or not node.inputs[2] or rewrite.scalar(node.inputs[2]) == 0
        if pads is None or not plain or not zero or not readers or node.outputs[0] in rewrite.outputs:
            continue
        rank = len(pads) // 2
        begins, ends = pads[1 : rank - 1], pads[rank + 1 : -1]
        others = (pads[0], pads[rank - 1], pads[rank], pads[-1])
        if any(others) or min(pads) < 0 or rank < 3:
            continue
        fits = all(
            reader.op == "Conv"
            and not reader.guard
            and reader.attrs.auto_pad in ("NOTSET", "VALID")
            and node.outputs[0] not in (*reader.inputs[1:], *reader.reads[len(reader.inputs) :])
            for reader in readers
        )
        if not fits:
            continue
        for conv in readers:
            own = conv.attrs.pads if conv.attrs.pads and conv.attrs.auto_pad == "NOTSET" else (0,) * (2 * rank - 4)
            total = tuple(a + b for a, b in zip(own, begins + ends, strict=True))
            attrs = replace(conv.attrs, pads=total, auto_pad="NOTSET")
            rewrite.exchange([conv], [replace(conv, inputs=(node.inputs[0], *conv.inputs[1:]), attrs=attrs)])
        rewrite.exchange([node], [])
    return rewrite.graph()
