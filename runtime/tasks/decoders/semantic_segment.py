"""Networks that say of each pixel of which class it is: scores (1, C, h, w), or classes (1, h, w) or (1, 1, h, w) in whole numbers.

Each class that is seen is one candidate: a box around its pixels, and as its score the mean of their probabilities. The prototype of a
class is by how much its score is above the best other one, so a mask is where the class is the best. One class alone, as of a
U-Net, is above its threshold: 0, or 0.5 after a sigmoid.
Source: Long et al., "Fully convolutional networks for semantic segmentation", CVPR 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from alula.runtime.graph import Array
from alula.runtime.tasks.decoding import Candidates, Fit, Outputs, numbers_of

LAYOUT = "(1, classes, h, w), or (1, h, w) in whole numbers"
PROBABILITIES = ("Softmax", "Sigmoid")
TIE = np.float32(1e-6)  # by how much the first of equal classes is ahead, for its pixels to be in its mask


def fit(outputs: Outputs) -> Fit | None:
    """See `Decoder`."""
    whole = len(outputs.dtypes) == 1 and "int" in outputs.dtypes[0]
    shape = outputs.only(4) or (outputs.only(3) if whole else ())
    if not shape or min(shape) < 1 or (whole and len(shape) == 4 and shape[1] != 1):
        return None
    if whole:
        return Fit(partial(_decode_classes, outputs.size), None, is_apart=True)
    if shape[1] != (outputs.classes or shape[1]):
        return None
    return Fit(partial(_decode, outputs.size, outputs.ends[0] if outputs.ends else ""), shape[1], is_apart=True)


def _decode(size: tuple[int, int], end: str, arrays: Sequence[Array], conf: float) -> Candidates:
    """Of scores. end : the network's last op"""
    scores = np.asarray(arrays[0][0], np.float32)  # (C, h, w)
    if len(scores) == 1:  # beside a class that has the rest
        half = np.float32(0.5)
        margins = scores - half if end in PROBABILITIES else scores
        shares = scores[0] if end in PROBABILITIES else 1 / (1 + np.exp(-scores[0]))
        return _candidates(np.where(scores[0] > half * (end in PROBABILITIES), 0, -1), [0], margins, shares, size)
    best, top, second = np.zeros(scores.shape[1:], np.int64), scores[0], np.full_like(scores[0], -np.inf)
    for kind in range(1, len(scores)):  # class by class: what is looked at stays in the cache
        own = scores[kind]
        best[own > top] = kind
        second, top = np.maximum(second, np.minimum(top, own)), np.maximum(top, own)
    best = np.where(np.isfinite(top), best, -1)
    shares = top if end in PROBABILITIES else 1 / sum(np.exp(own - top) for own in scores)
    kinds, lead = [int(kind) for kind in np.unique(best) if kind >= 0], np.maximum(top - second, TIE)
    margins = np.stack([np.where(best == kind, lead, scores[kind] - top) for kind in kinds] or [lead])
    return _candidates(best, kinds, margins, shares, size)


def _decode_classes(size: tuple[int, int], arrays: Sequence[Array], conf: float) -> Candidates:
    """Of classes, which are certain."""
    best = numbers_of(arrays[0].reshape(arrays[0].shape[-2:]))
    kinds = [int(kind) for kind in np.unique(best) if kind >= 0]
    margins = np.stack(
        [np.where(best == kind, 1, -1).astype(np.float32) for kind in kinds] or [np.zeros(best.shape, np.float32)]
    )
    return _candidates(best, kinds, margins, np.ones(best.shape, np.float32), size)


def _candidates(best: Array, kinds: Sequence[int], margins: Array, shares: Array, size: tuple[int, int]) -> Candidates:
    """One candidate for each class that is seen.

    best    : (h, w) classes; -1 is none
    margins : (K, h, w) by how much each class is ahead
    shares  : (h, w) probabilities of the best classes
    size    : (H, W) of the input
    """
    (h, w), found = best.shape, [kind for kind in kinds if (best == kind).any()]
    boxes, scores = np.zeros((len(found), 4), np.float32), np.zeros(len(found), np.float32)
    for row, kind in enumerate(found):
        inside = best == kind
        down, across = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        # Half a cell more on each side: between cells the class may still be ahead
        edges = np.array([across[0] - 0.5, down[0] - 0.5, across[-1] + 1.5, down[-1] + 1.5])
        boxes[row] = np.clip(edges, 0, [w, h, w, h]) * np.array([size[1] / w, size[0] / h] * 2)
        scores[row] = shares[inside].mean()
    rows = [kinds.index(kind) for kind in found]
    return Candidates(boxes, scores, np.array(found, np.int64), np.eye(len(margins), dtype=np.float32)[rows], margins)
