"""When two results differ: what float32 may be off, and by how much it is.

The rule: ours may be off by a share of the values' range, or by twice as much as another float32 is off from float64. Of
updated weights less is asked for first: a share of the update, which is much smaller than the weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from alula.runtime.graph import Array

SHARE = 1e-5  # of a tensor's range
UPDATE_SHARE = 1e-3  # of the greatest change of a weight, which is much smaller than the weight
ULPS = 4 * float(np.finfo(np.float32).eps)  # of a weight's range: what storing it may cost in a few steps
RIVAL = 2.0  # how much further off than another float32 we may be


@dataclass
class Verdict:
    """What became of one network.

    verdict : right, inference_wrong, training_wrong, crashed, refused, or unusable (no oracle runs it, or they differ)
    excused : it differed only by what torch differs, too, when what every node makes is rounded once more
    coarse  : an updated weight is within the rule, but further off than is asked for first
    """

    index: int
    verdict: str = "right"
    reason: str = ""
    ops: str = ""
    excused: bool = False
    coarse: bool = False
    seconds: float = 0.0
    blocks: tuple[str, ...] = field(default=())


class NotFinite(Exception):
    """A number that is none, where the oracle has one."""


def gap(ours: Array, truth: Array) -> float:
    """The greatest difference.

    raise : NotFinite if ours holds NaN or infinity where the truth does not
    """
    ours, truth = np.asarray(ours, np.float64), np.asarray(truth, np.float64)
    if ours.size and not np.isfinite(ours[np.isfinite(truth)]).all():
        raise NotFinite
    return float(np.abs(ours - truth).max(initial=0.0))


def span(array: Array) -> float:
    """The greatest absolute value."""
    return float(np.abs(np.asarray(array, np.float64)).max(initial=0.0))


def value_floor(truth: Array) -> float:
    """What a result may be off, whoever else is off."""
    return SHARE * span(truth)


def loss_floor(loss: float, output: Array) -> float:
    """What a loss may be off: cross-entropy is a difference of numbers as large as the scores."""
    return SHARE * abs(loss) + ULPS * span(output)


def weight_floor(before: Array, truth: Array) -> float:
    """What an updated weight may be off: little of the update, and what float32 loses on the weight itself."""
    return min(SHARE * span(truth), UPDATE_SHARE * span(truth - before)) + ULPS * max(span(truth), span(before))


@dataclass(frozen=True)
class Difference:
    """Two results that differ by more than they may."""

    what: str
    gap: float
    allowed: float
    span: float

    def __str__(self) -> str:
        return f"{self.what} off by {self.gap:.2g}, allowed {self.allowed:.2g}, range {self.span:.2g}"


def compare(what: str, ours: Array, truth: Array, rival: float, floor: float) -> Difference | None:
    """The difference if it is too great.

    rival : how far another float32 is off
    """
    if np.shape(ours) != np.shape(truth):
        return Difference(f"{what} has shape {np.shape(ours)} instead of {np.shape(truth)}", np.inf, 0.0, span(truth))
    off, allowed = gap(ours, truth), max(floor, RIVAL * rival)
    return Difference(what, off, allowed, span(truth)) if off > allowed else None
