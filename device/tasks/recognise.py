"""Crops to words: batches of few distinct shapes for the recogniser, and CTC decoding of its output.

The engine plans a program per shape. To have few shapes, crops are padded to one of a few widths, and batches have one of
a few sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from alula.device.camera.source import Image
from alula.device.tasks.boxes import Floats
from alula.device.tasks.crops import CROP_HEIGHT, normalise, squeeze
from alula.runtime.errors import ShapeError

Network = Callable[[Floats], Floats]

CLASSIFIER_WIDTH = 192  # pixels, of the direction classifier's input


@dataclass(frozen=True)
class Reading:
    """A word and the mean probability of its characters, 0 to 1; 0 for the empty word."""

    text: str
    confidence: float


def charset_from_metadata(character: str) -> list[str]:
    """The recogniser's classes from the metadata entry `character`: one character a line.

    return : blank first (the empty string), the characters, space last, as PaddleOCR has them
    """
    return ["", *character.removesuffix("\n").split("\n"), " "]


def decode(probability: Floats, charset: Sequence[str]) -> list[Reading]:
    """Greedy CTC decoding: the best class of each step, runs joined, blanks (class 0) removed.

    probability : (N, T, len(charset)) float32
    raise       : ShapeError if the number of classes is not that of the charset
    source      : Graves et al., "Connectionist temporal classification", ICML 2006, section 3.2 (best path decoding)
    """
    if probability.ndim != 3 or probability.shape[2] != len(charset):
        raise ShapeError(
            f"recogniser: expected (N, T, {len(charset)}) with one class per character, got {probability.shape}; "
            "the charset belongs to another network"
        )
    best = probability.argmax(axis=2)  # (N, T)
    peak = np.take_along_axis(probability, best[:, :, None], axis=2)[:, :, 0]
    begins = np.ones(best.shape, bool)
    begins[:, 1:] = best[:, 1:] != best[:, :-1]
    kept = begins & (best != 0)
    readings = []
    for classes, peaks, keep in zip(best, peak, kept, strict=True):
        text = "".join(charset[index] for index in classes[keep])
        readings.append(Reading(text, float(peaks[keep].mean()) if keep.any() else 0.0))
    return readings


def upside_down(classify: Network, crops: Sequence[Image], threshold: float, batches: Sequence[int]) -> list[bool]:
    """Which crops stand on their head, by the direction classifier (class 1 is 180 degrees)."""
    turned: list[bool] = []
    for start, stop in _chunks(len(crops), batches):
        fitted = [squeeze(crop, CLASSIFIER_WIDTH) for crop in crops[start:stop]]
        turned += [bool(row[1] > threshold) for row in classify(normalise(fitted, CROP_HEIGHT, CLASSIFIER_WIDTH))]
    return turned


def read(
    recognise: Network, crops: Sequence[Image], charset: Sequence[str], widths: Sequence[int], batches: Sequence[int]
) -> list[Reading]:
    """Read every crop.

    crops   : (48, w, 3) uint8; wider than the last of `widths` is squeezed
    widths  : the input widths to use, ascending, in pixels
    batches : the batch sizes to use
    return  : one reading per crop, in the order of the crops
    """
    readings: list[Reading] = [Reading("", 0.0)] * len(crops)
    by_width: dict[int, list[int]] = {}
    for index, crop in enumerate(crops):
        by_width.setdefault(bucket(crop.shape[1], widths), []).append(index)
    for width, members in sorted(by_width.items()):
        for start, stop in _chunks(len(members), batches):
            chosen = members[start:stop]
            batch = normalise([squeeze(crops[index], width) for index in chosen], CROP_HEIGHT, width)
            for index, reading in zip(chosen, decode(recognise(batch), charset), strict=True):
                readings[index] = reading
    return readings


def bucket(width: int, widths: Sequence[int]) -> int:
    """The smallest of `widths` that holds `width`, else the largest."""
    return next((candidate for candidate in widths if candidate >= width), widths[-1])


def _chunks(count: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Cut `count` items into runs whose lengths are all among `sizes` (1 is always allowed), the largest first."""
    chunks = []
    start = 0
    while start < count:
        size = max((size for size in sizes if size <= count - start), default=1)
        chunks.append((start, start + size))
        start += size
    return chunks
