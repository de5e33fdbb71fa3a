"""ONNX's Attention as the products and the softmax that it is: heads, groups of heads, masks, windows, caches.

source : ONNX Attention-25
"""

from __future__ import annotations

import numpy as np

from alula.host.onnx.steps import Build, Step
from alula.host.onnx.writer import Writer
from alula.runtime.errors import GraphError


def heads(write: Writer, x: str, n: int) -> str:
    """(B, S, N * H) as (B, N, S, H)."""
    if n < 1:
        raise GraphError(
            f"{write.step.label}: expected the number of heads of a three-dimensional input, got {n}; export again"
        )
    return write.add("Transpose", write.add("Reshape", x, write.integers(0, 0, n, -1)), perm=(0, 2, 1, 3))


def join(write: Writer, y: str) -> None:
    """(B, N, S, H) as the step's output (B, S, N * H)."""
    write.add(
        "Reshape", write.add("Transpose", y, perm=(0, 2, 1, 3)), write.integers(0, 0, -1), out=write.step.outputs[0]
    )


def size(write: Writer, x: str, axis: int) -> str:
    """The size of an axis, int64 of no dimensions."""
    part = write.add("Slice", write.add("Shape", x), write.integers(axis), write.integers(axis + 1))
    return write.add("Squeeze", part, write.integers(0))


def positions(write: Writer, count: str) -> str:
    """0, 1, 2 ... count - 1."""
    return write.add("Range", write.constant(0, "int64"), count, write.constant(1, "int64"))


def scores_of(write: Writer, q: str, k: str) -> str:
    """scale Q K^T: (B, N, S, L); the scale is one over the root of the size of a head by default."""
    factor = float(write.step.attrs.get("scale", 0.0))
    if factor:
        q = write.add("Mul", q, write.constant(factor))
    else:
        q = write.add("Div", q, write.add("Sqrt", write.add("Cast", size(write, q, 3), to="float32")))
    return write.add("MatMul", q, write.add("Transpose", k, perm=(0, 1, 3, 2)))


def attention(step: Step, opset: int, build: Build) -> list[Step]:
    """Y, and where they are wanted the keys and values with those of the past, and the scores or shares.

    Q, K, V : (B, S, N * H) with q_num_heads and kv_num_heads, or (B, N, S, H); K and V have L keys, and N may be fewer
    Y       : as Q
    raise   : GraphError if an input is absent, or the heads of a flat one are not said
    """
    write, attrs = Writer(step, build), step.attrs
    q, k, v = (write.input(index) for index in range(3))
    is_flat = build.rank(q, step.label) == 3
    if is_flat:
        n = [int(attrs.get(name, 0)) for name in ("q_num_heads", "kv_num_heads")]
        q, k, v = heads(write, q, n[0]), heads(write, k, n[1]), heads(write, v, n[1])
    else:
        n = [_count_heads(build, name) for name in (q, k)]
    k, v = (_with_past(write, x, index) for index, x in enumerate((k, v)))
    if n[0] != n[1] or not n[0]:
        groups = (
            write.constant(n[0] // n[1], "int64")
            if n[0] and n[1]
            else write.add("Div", size(write, q, 1), size(write, k, 1))
        )
        k, v = _repeated(write, k, groups), _repeated(write, v, groups)
    scores = scores_of(write, q, k)
    capped = _capped(write, scores)
    masked, may_be_empty = _masked(write, capped, q)
    shares = _shares(write, masked, may_be_empty)
    if len(step.outputs) > 3 and step.outputs[3]:
        modes = (scores, capped, masked, shares)
        write.add("Identity", modes[int(attrs.get("qk_matmul_output_mode", 0))], out=step.outputs[3])
    if not is_flat:
        return write.end("MatMul", shares, v)
    join(write, write.add("MatMul", shares, v))
    return write.steps


def _count_heads(build: Build, name: str) -> int:
    """N of (B, N, S, H); 0 if it is not known."""
    shape = build.shapes.get(name, ())
    return (shape[1] or 0) if len(shape) == 4 else 0


def _capped(write: Writer, scores: str) -> str:
    """cap tanh(scores / cap), where there is a cap."""
    cap = float(write.step.attrs.get("softcap", 0.0))
    if not cap:
        return scores
    limit = write.constant(cap)
    return write.add("Mul", write.add("Tanh", write.add("Div", scores, limit)), limit)


def _with_past(write: Writer, x: str, index: int) -> str:
    """Keys (index 0) or values (1) after those of the past, which are an output, too."""
    step = write.step
    past, present = step.input(4 + index), step.outputs[1 + index] if len(step.outputs) > 1 + index else ""
    if past:
        return write.add("Concat", past, x, out=present, axis=2)
    if present:
        write.add("Identity", x, out=present)
    return x


def _repeated(write: Writer, x: str, groups: str) -> str:
    """Keys or values (B, N / groups, L, H), each head as often as there are queries for it: (B, N, L, H)."""
    b, n, length, h = (write.add("Unsqueeze", size(write, x, axis), write.integers(0)) for axis in range(4))
    many = write.add("Unsqueeze", groups, write.integers(0))
    shape = write.add("Concat", b, n, many, length, h, axis=0)
    wide = write.add("Expand", write.add("Unsqueeze", x, write.integers(2)), shape)
    return write.add("Reshape", wide, write.add("Concat", b, write.add("Mul", n, many), length, h, axis=0))


def _masked(write: Writer, scores: str, q: str) -> tuple[str, bool]:
    """Scores with what a mask adds, and -inf where a query must not see a key; whether a query may see none."""
    step, attrs, build = write.step, write.step.attrs, write.build
    mask, past, lengths = step.input(3), step.input(4), step.input(6)
    causal, left, right = (int(attrs.get(name, default)) for name, default in
                           (("is_causal", 0), ("left_window_size", -1), ("right_window_size", -1)))  # fmt: skip
    seen = []
    if lengths:
        lengths = write.add("Reshape", lengths, write.integers(-1, 1, 1, 1))
    if causal or lengths or left >= 0 or right >= 0:
        keys = positions(write, size(write, scores, 3))
        place = write.add("Unsqueeze", positions(write, size(write, q, 2)), write.integers(1))  # (S, 1)
        if past:
            place = write.add("Add", place, size(write, past, 2))
        elif lengths:
            place = write.add("Add", place, write.add("Sub", lengths, size(write, q, 2)))
        if causal:
            seen.append(write.add("LessOrEqual", keys, place))
        if left >= 0:
            seen.append(write.add("GreaterOrEqual", keys, write.add("Sub", place, write.constant(left, "int64"))))
        if right >= 0:
            seen.append(write.add("LessOrEqual", keys, write.add("Add", place, write.constant(right, "int64"))))
        if lengths:
            seen.append(write.add("Less", keys, lengths))
    if mask:
        is_bool = build.dtypes.get(mask) == "bool"
        mask = _widened(write, mask, is_bool)
        if is_bool:
            seen.append(mask)
        else:
            scores = write.add("Add", scores, mask)
    may_be_empty = bool(lengths) or left >= 0 or right >= 0 or mask in seen
    if seen:
        every = seen[0]
        for other in seen[1:]:
            every = write.add("And", every, other)
        scores = write.add("Where", every, scores, write.constant(-np.inf))
    return scores, may_be_empty


def _widened(write: Writer, mask: str, is_bool: bool) -> str:
    """A mask of fewer keys than there are: the others are not seen."""
    step, shapes = write.step, write.build.shapes
    key, past = shapes.get(step.input(1), ()), shapes.get(step.input(4), ())
    lengths = [shape[-2] for shape in (key, past) if len(shape) > 2]
    have = (shapes.get(mask) or (None,))[-1]
    if have is None or None in lengths or not lengths:
        return mask  # as exporters write them
    missing = sum(length or 0 for length in lengths) - have
    if missing <= 0 or have == 1:
        return mask
    pads = write.integers(*[0] * (2 * len(shapes[mask]) - 1), missing)
    return write.add("Pad", mask, pads, write.constant(False, "bool") if is_bool else write.constant(-np.inf))


def _shares(write: Writer, scores: str, may_be_empty: bool) -> str:
    """softmax(scores); zeros for a query that sees no key."""
    if not may_be_empty:
        return write.add("Softmax", scores, axis=-1)
    top = write.add("ReduceMax", scores, write.integers(-1), keepdims=1)
    is_empty, nothing = write.add("Equal", top, write.constant(-np.inf)), write.constant(0.0)
    shares = write.add("Softmax", write.add("Where", is_empty, nothing, scores), axis=-1)
    return write.add("Where", is_empty, nothing, shares)
