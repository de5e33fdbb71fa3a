"""ONNX's RotaryEmbedding as arithmetic: pairs of numbers rotated by the angles of their position.

source : ONNX RotaryEmbedding-23; Su et al., RoFormer, 2021
"""

from __future__ import annotations

from alula.host.onnx.attention import size
from alula.host.onnx.steps import Build, Step
from alula.host.onnx.writer import Writer
from alula.runtime.errors import GraphError

END = 2**31 - 1  # of a Slice: to the end


def rotary_embedding(step: Step, opset: int, build: Build) -> list[Step]:
    """X (B, N, S, H), or (B, S, N * H) with num_heads; with rotary_embedding_dim only that many numbers of a head rotate."""
    write, attrs = Writer(step, build), step.attrs
    x, n, width = write.input(0), int(attrs.get("num_heads", 0)), int(attrs.get("rotary_embedding_dim", 0))
    is_flat = build.rank(x, step.label) == 3
    if is_flat:
        if n < 1:
            raise GraphError(f"{step.label}: expected num_heads with a three-dimensional input, got {n}; export again")
        x = write.add("Reshape", x, write.integers(0, 0, n, -1))  # (B, S, N, H)
    rest = ""
    if width:
        x, rest = _part(write, x, 0, width), _part(write, x, width, END)
    one, other = _pair(write, x, bool(attrs.get("interleaved", 0)))
    cos, sin = (_angles(write, index, 2 if is_flat else 1) for index in (1, 2))
    rotated = [
        write.add("Sub", write.add("Mul", cos, one), write.add("Mul", sin, other)),
        write.add("Add", write.add("Mul", sin, one), write.add("Mul", cos, other)),
    ]
    if attrs.get("interleaved", 0):
        apart = [write.add("Unsqueeze", part, write.integers(-1)) for part in rotated]
        y = write.add("Reshape", write.add("Concat", *apart, axis=-1), write.integers(0, 0, 0, -1))
    else:
        y = write.add("Concat", *rotated, axis=-1)
    if rest:
        y = write.add("Concat", y, rest, axis=-1)
    if is_flat:
        return write.end("Reshape", y, write.integers(0, 0, -1))
    return write.end("Identity", y)


def _part(write: Writer, x: str, start: int, end: int, step: int = 1) -> str:
    """Numbers of each head."""
    return write.add("Slice", x, *(write.integers(value) for value in (start, end, -1, step)))


def _pair(write: Writer, x: str, interleaved: bool) -> tuple[str, str]:
    """The first and the second number of each pair: neighbours, or one in each half of the head."""
    if interleaved:
        return _part(write, x, 0, END, 2), _part(write, x, 1, END, 2)
    half = write.add("Unsqueeze", write.add("Div", size(write, x, 3), write.constant(2, "int64")), write.integers(0))
    last, by_one = write.integers(-1), write.integers(1)
    return (
        write.add("Slice", x, write.integers(0), half, last, by_one),
        write.add("Slice", x, half, write.integers(END), last, by_one),
    )


def _angles(write: Writer, index: int, axis: int) -> str:
    """Cosines or sines (B, S, H / 2) with an axis for the heads. The table is no embedding: GatherND reads it, and nothing learns it."""
    table, places = write.input(index), write.step.input(3)
    if places:
        table = write.add("GatherND", table, write.add("Unsqueeze", places, write.integers(-1)))
    return write.add("Unsqueeze", table, write.integers(axis))
