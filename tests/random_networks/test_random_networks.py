"""A hundred random networks: each answers as onnxruntime does, and learns as torch does."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")

from tests.random_networks.check import check
from tests.random_networks.network import network

SEED, COUNT, CHUNK = 11, 100, 10
CHUNKS = [range(first, first + CHUNK) for first in range(0, COUNT, CHUNK)]


def _wrong(chunk: range, *, with_torch: bool, allowed: tuple[str, ...] = ("right",)) -> list[str]:
    verdicts = [check(SEED, index, with_training=with_torch, with_torch=with_torch) for index in chunk]
    return [f"{v.index}: {v.verdict}: {v.reason}" for v in verdicts if v.verdict not in allowed]


@pytest.mark.parametrize("chunk", CHUNKS, ids=lambda chunk: f"from {chunk.start}")
def test_random_networks_answer_as_onnxruntime_does(chunk: range) -> None:
    assert _wrong(chunk, with_torch=False) == []


@pytest.mark.parametrize("chunk", CHUNKS, ids=lambda chunk: f"from {chunk.start}")
def test_random_networks_learn_as_torch_does(chunk: range) -> None:
    pytest.importorskip("torch").set_num_threads(1)
    assert _wrong(chunk, with_torch=True, allowed=("right", "refused")) == []


def test_a_random_network_is_always_the_same() -> None:
    first, second = network(SEED, 3), network(SEED, 3)
    assert first.model.SerializeToString() == second.model.SerializeToString()
    assert (first.recipe, first.shapes, first.blocks) == (second.recipe, second.shapes, second.blocks)


def test_every_kind_of_block_is_drawn() -> None:
    from tests.random_networks.network import FLAT, IMAGE, SEQUENCE

    drawn = {block for index in range(400) for block in network(SEED, index).blocks}
    assert {block.__name__ for block in (*IMAGE, *FLAT, *SEQUENCE)} - drawn == set()
