"""Attention, as ONNX has it since opset 23 and as exporters write it, with batch and sequence free; run and trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.host.onnx.importer import import_onnx
from alula.runtime.errors import GraphError
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.train import SGD, Trainer
from alula.runtime.train.losses import MSE
from tests.host.onnx_models import model, node, onnxruntime_answers

RNG = np.random.default_rng(7)


def real(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


FLAT, FOUR = {"q_num_heads": 4, "kv_num_heads": 4}, ["b", 4, "s", 6]
NO = np.array([[True, True, False, True, True]] * 5)

# attributes, shapes of Q, K, V as they are now, and their names in the file; a mask
CASES: dict[str, tuple[dict[str, Any], list[tuple[int, ...]], list[list[int | str | None]], Array | None]] = {
    "flat": (FLAT, [(2, 5, 24), (2, 3, 24), (2, 3, 8)], [["b", "s", 24], ["b", "l", 24], ["b", "l", 8]], None),
    "causal": ({**FLAT, "is_causal": 1}, [(2, 5, 24)] * 3, [["b", "s", 24]] * 3, None),
    "heads apart": ({"scale": 0.4, "softcap": 2.0}, [(2, 4, 5, 6)] * 3, [FOUR] * 3, None),
    "groups": ({}, [(2, 4, 5, 6), (2, 2, 5, 6), (2, 2, 5, 6)], [FOUR, ["b", 2, "s", 6], ["b", 2, "s", 6]], None),
    "a mask of truths": ({}, [(2, 4, 5, 6)] * 3, [FOUR] * 3, NO),
    "a mask of numbers": ({"is_causal": 1}, [(2, 4, 5, 6)] * 3, [FOUR] * 3, real(5, 5)),
}


@pytest.mark.parametrize("case", CASES)
def test_attention_is_onnxruntimes(case: str) -> None:
    attrs, sizes, shapes, mask = CASES[case]
    inputs = {name: real(*shape) for name, shape in zip("qkv", sizes, strict=True)}
    constants = {} if mask is None else {"m": mask}
    made = node("Attention", f"q k v {'' if mask is None else 'm'}", **attrs)
    proto = model([made], inputs, constants, opset=23, shapes=dict(zip("qkv", shapes, strict=True)))
    (want,) = onnxruntime_answers(proto, inputs)
    got = Model(import_onnx(proto).graph, threads=1)(*inputs.values())
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_a_query_that_sees_no_key_gives_zeros() -> None:
    inputs = {name: real(1, 1, 3, 4) for name in "qkv"}
    mask = np.array([[True, False, True], [False, False, False], [True, True, True]])
    proto = model([node("Attention", "q k v m")], inputs, {"m": mask}, opset=23)
    got = Model(import_onnx(proto).graph, threads=1)(*inputs.values())
    assert (got[0, 0, 1] == 0).all() and np.isfinite(got).all()


def test_keys_and_values_of_the_past_stand_before_the_new_ones() -> None:
    inputs = {
        "q": real(2, 1, 8),
        "k": real(2, 1, 8),
        "v": real(2, 1, 8),
        "pk": real(2, 2, 3, 4),
        "pv": real(2, 2, 3, 4),
    }
    made = node("Attention", "q k v - pk pv", "y nk nv", q_num_heads=2, kv_num_heads=2, is_causal=1)
    shapes: dict[str, list[int | str | None]] = {name: ["b", 2, "past", 4] for name in ("pk", "pv")}
    proto = model([made], inputs, outputs=("y", "nk", "nv"), opset=23, shapes=shapes)
    got = Model(import_onnx(proto).graph, threads=1)(*inputs.values())
    for ours, theirs in zip(got, onnxruntime_answers(proto, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_heads_that_nobody_counted_are_refused() -> None:
    inputs = {name: real(2, 5, 8) for name in "qkv"}
    with pytest.raises(GraphError, match="expected the number of heads"):
        import_onnx(model([node("Attention", "q k v")], inputs, opset=23))


def test_a_block_of_a_decoder_runs_and_is_trained_as_a_whole() -> None:
    """Normalised, projected, turned by places, attended, projected: as exporters write it at opset 23."""
    nodes = [
        node("RMSNormalization", "x g", "n", axis=-1), *(node("MatMul", f"n w{p}", p) for p in "qkv"),
        *(node("RotaryEmbedding", f"{p} cos sin places", f"{p}r", num_heads=2) for p in "qk"),
        node("Attention", "qr kr v", "a", q_num_heads=2, kv_num_heads=2, is_causal=1), node("MatMul", "a wo", "o"), node("Add", "x o"),
    ]  # fmt: skip
    angles = np.arange(9)[:, None] / 10.0 ** np.arange(2)
    constants = {**{f"w{p}": real(8, 8) / 3 for p in "qkvo"}, "g": 1 + real(8) / 9, "cos": np.cos(angles).astype(np.float32),
                 "sin": np.sin(angles).astype(np.float32), "places": np.array([[0, 1, 2, 3, 4]] * 2)}  # fmt: skip
    x = real(2, 5, 8)
    proto = model(nodes, {"x": x}, constants, opset=23)
    graph = import_onnx(proto).graph
    (want,) = onnxruntime_answers(proto, {"x": x})
    np.testing.assert_allclose(Model(graph, threads=1)(x), want, rtol=1e-5, atol=1e-5)
    trainer = Trainer(graph, SGD(0.05), MSE(), threads=1)
    assert set(trainer.trained) == {"wq", "wk", "wv", "wo", "g"}
    losses = [trainer.step(x, np.zeros_like(want)).loss for _ in range(6)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.9 * losses[0]
