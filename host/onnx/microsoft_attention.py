"""onnxruntime's fused attention, as the products and the softmax that it is."""

from __future__ import annotations

import numpy as np

from alula.host.onnx.attention import heads, join, positions, scores_of, size
from alula.host.onnx.steps import Build, Rule, Step
from alula.host.onnx.writer import Writer
from alula.runtime.errors import GraphError

UNSEEN = -10000.0  # what onnxruntime adds where a mask says no


def _masked(write: Writer, scores: str, mask: str) -> str:
    """Scores (B, N, S, L) less a large number where a mask (B, L) is 0."""
    rank = len(write.build.shapes.get(mask, ()))
    if rank != 2:
        raise GraphError(
            f"{write.step.label}: expected a mask (B, L), got {rank or 'an unknown number of'} dimensions; export without it"
        )
    hidden = write.add("Sub", write.constant(1.0), write.add("Cast", mask, to="float32"))
    added = write.add("Mul", hidden, write.constant(write.step.attrs.get("mask_filter_value", UNSEEN)))
    return write.add("Add", scores, write.add("Unsqueeze", added, write.integers(1, 2)))


def _causal(write: Writer, scores: str) -> str:
    """Scores (B, N, S, L) less a large number where a key comes after the query; the last query sees all keys."""
    n_queries, n_keys = size(write, scores, 2), size(write, scores, 3)
    queries = write.add("Add", positions(write, n_queries), write.add("Sub", n_keys, n_queries))
    ahead = write.add("Less", write.add("Unsqueeze", queries, write.integers(1)), positions(write, n_keys))
    return write.add("Where", ahead, write.constant(write.step.attrs.get("mask_filter_value", UNSEEN)), scores)


def _attend(write: Writer, q: str, k: str, v: str, mask: str, added: str) -> list[Step]:
    """softmax(scale Q K^T + added) V, heads joined again. q, k, v: (B, N, S, H)"""
    scores = scores_of(write, q, k)
    if added:
        scores = write.add("Add", scores, added)
    if write.step.attrs.get("unidirectional", 0):
        scores = _causal(write, scores)
    if mask:
        scores = _masked(write, scores, mask)
    join(write, write.add("MatMul", write.add("Softmax", scores, axis=-1), v))
    return write.steps


def _attention(step: Step, opset: int, build: Build) -> list[Step]:
    """Self-attention with one weight for queries, keys and values: (C, 3 * N * H)."""
    write = Writer(step, build)
    write.only(1)
    write.refuse("do_rotary", "past_present_share_buffer")
    _without(write, 4, 6)
    weight, n_heads = write.input(1), int(step.attrs.get("num_heads", 1))
    columns = (build.shapes.get(weight) or (None,))[-1]
    sizes = tuple(step.attrs.get("qkv_hidden_sizes", ())) or (columns and (columns // 3,) * 3)
    if not sizes:
        raise GraphError(
            f"{step.label}: expected weights of a known size, got {weight!r}; export without onnxruntime's optimiser"
        )
    x = write.add("MatMul", write.input(0), weight)
    x = write.add("Add", x, step.input(2)) if step.input(2) else x
    q, k, v = (heads(write, part, n_heads) for part in write.split(x, sizes, axis=-1))
    return _attend(write, q, k, v, step.input(3), step.input(5))


def _multi_head(step: Step, opset: int, build: Build) -> list[Step]:
    """Attention of projected queries, keys and values, each (B, S, N * H), or keys and values (B, N, S, H)."""
    write = Writer(step, build)
    write.only(1)
    _without(write, 6, 7, 8, 9)
    n_heads = int(step.attrs.get("num_heads", 1))
    parts = [write.input(index) for index in range(3)]
    ranks = [build.rank(name, step.label) for name in parts]
    if step.input(3):
        bias = build.constants.get(step.input(3))
        if bias is None or ranks != [3, 3, 3]:
            raise GraphError(
                f"{step.label}: expected a constant bias of three-dimensional inputs, got another; export without it"
            )
        for index, values in enumerate(_thirds(write, bias)):
            parts[index] = write.add("Add", parts[index], write.constant(values, values.dtype.name))
    q, k, v = (heads(write, name, n_heads) if rank == 3 else name for name, rank in zip(parts, ranks, strict=True))
    return _attend(write, q, k, v, step.input(4), step.input(5))


def _thirds(
    write: Writer, bias: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """A bias of queries, keys and values; the values may be wider than the other two."""
    wide = (write.build.shapes.get(write.step.input(2)) or (None,))[-1]
    last = len(bias) // 3 if wide is None else int(wide)
    first = (len(bias) - last) // 2
    return [bias[:first], bias[first : 2 * first], bias[2 * first :]]


def _without(write: Writer, *inputs: int) -> None:
    """raise : GraphError if an input is there that belongs to text generation"""
    for index in inputs:
        if write.step.input(index):
            raise GraphError(
                f"{write.step.label}: expected no past keys and values, got {write.step.input(index)!r}; export without a cache"
            )


ATTENTION_MICROSOFT: dict[str, Rule] = {"Attention": _attention, "MultiHeadAttention": _multi_head}
