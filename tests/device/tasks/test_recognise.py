"""Batches for the recogniser, and what its answers mean."""

from __future__ import annotations

import numpy as np
import pytest

from alula.device.tasks.recognise import bucket, charset_from_metadata, decode, read, upside_down
from alula.runtime.errors import ShapeError

CHARSET = ["", "a", "b", "c", " "]


def steps(classes: list[int], peak: float = 0.9) -> np.ndarray:
    """(T, 5) probabilities with the given best classes."""
    probability = np.full((len(classes), len(CHARSET)), (1 - peak) / (len(CHARSET) - 1), np.float32)
    probability[np.arange(len(classes)), classes] = peak
    return probability


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        ([0, 1, 1, 0, 1, 2], "aab"),
        ([1, 1, 1], "a"),
        ([0, 0], ""),
        ([3, 4, 3, 3], "c c"),
        ([2, 0, 2, 0], "bb"),
        ([1, 2, 1], "aba"),
    ],
)
def test_runs_are_joined_and_blanks_removed(classes: list[int], text: str) -> None:
    (reading,) = decode(steps(classes)[None], CHARSET)
    assert reading.text == text
    assert reading.confidence == pytest.approx(0.9 if text else 0.0)


def test_a_charset_of_another_network_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(N, T, 4\)"):
        decode(steps([1])[None], CHARSET[:-1])


def test_the_charset_begins_with_blank_ends_with_space_and_keeps_odd_lines() -> None:
    assert charset_from_metadata("'\n疗\n\u3000\n\u2028\nz\n") == ["", "'", "疗", "\u3000", "\u2028", "z", " "]


def test_widths_are_few_and_the_last_takes_the_rest() -> None:
    assert [bucket(width, (96, 160)) for width in (1, 96, 97, 160, 900)] == [96, 96, 160, 160, 160]


def test_crops_are_batched_by_width_and_come_back_in_order() -> None:
    """Each crop says its number in its first pixels; the network answers with it."""
    rng = np.random.default_rng(5)
    letters = [""] + [chr(ord("A") + k) for k in range(25)] + [" "]
    crops = []
    for number in range(13):
        crop = np.full((48, int(rng.integers(8, 300)), 3), 128, np.uint8)
        crop[:, :4] = 10 * (number + 1)
        crops.append(crop)
    shapes = []

    def recognise(x: np.ndarray) -> np.ndarray:
        shapes.append(x.shape)
        classes = np.round((x[:, 0, 0, 1] + 1) * 12.75).astype(int)
        probability = np.zeros((len(x), 2, len(letters)), np.float32)
        probability[np.arange(len(x)), 0, classes] = 1.0
        probability[:, 1, 0] = 1.0
        return probability

    readings = read(recognise, crops, letters, (64, 128, 256), (1, 4))
    assert "".join(reading.text for reading in readings) == "ABCDEFGHIJKLM"
    assert {shape[0] for shape in shapes} <= {1, 4} and {shape[3] for shape in shapes} <= {64, 128, 256}
    assert sum(shape[0] for shape in shapes) == len(crops)


def test_a_batch_size_of_one_is_always_allowed() -> None:
    seen = []

    def classify(x: np.ndarray) -> np.ndarray:
        seen.append(len(x))
        return np.tile(np.array([[0.05, 0.95]], np.float32), (len(x), 1))

    crops = [np.zeros((48, 300, 3), np.uint8)] * 7
    assert upside_down(classify, crops, 0.9, (4,)) == [True] * 7
    assert upside_down(classify, crops, 0.96, (4,)) == [False] * 7
    assert seen == [4, 1, 1, 1] * 2
    assert upside_down(classify, [], 0.9, (4,)) == []
