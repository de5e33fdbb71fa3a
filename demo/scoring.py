"""Compare what was read with what is on the signs, and one run with another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alula.device.tasks.spotter import Flight, Sign
from alula.device.tasks.track import Sighting, edit_distance

MIN_OVERLAP = 0.5  # intersection over union of two boxes that show the same crop


@dataclass(frozen=True)
class Verdict:
    """A sign of the truth, and what was reported for it; `read` is None if nothing like it was."""

    truth: str
    read: Sign | None
    frames_visible: int

    @property
    def exact(self) -> bool:
        """Character by character, case and all."""
        return self.read is not None and self.read.text == self.truth


def judge(signs: Sequence[Sign], truth: Mapping[str, Any]) -> tuple[list[Verdict], list[Sign]]:
    """Give each true sign the report that fits it best, each report once; also the reports that fit none.

    A report fits if its text is the truth's, or less than half of it differs and the sign was in view meanwhile.
    """
    visible = truth["visible"]
    pairs = []
    for row, entry in enumerate(truth["signs"]):
        text = entry["text"]
        for column, sign in enumerate(signs):
            distance = edit_distance(text, sign.text)
            in_view = any(str(row) in frame for frame in visible[sign.first_frame : sign.last_frame + 1])
            if in_view and 2 * distance < len(text):
                pairs.append((distance, row, column))
    found: dict[int, Sign] = {}
    used: set[int] = set()
    for _, row, column in sorted(pairs):
        if row not in found and column not in used:
            found[row] = signs[column]
            used.add(column)
    verdicts = [
        Verdict(entry["text"], found.get(row), sum(str(row) in frame for frame in visible))
        for row, entry in enumerate(truth["signs"])
    ]
    return verdicts, [sign for column, sign in enumerate(signs) if column not in used]


def agreement(ours: Flight, theirs: Flight) -> tuple[float, list[dict[str, Any]]]:
    """The part of all crops of which two runs read the same word, 0 to 1, and the crops of which they did not.

    A crop that only one of them found, or only one of them read, counts as different.
    """
    by_frame: dict[int, tuple[list[Sighting], list[Sighting]]] = {}
    for side, flight in enumerate((ours, theirs)):
        for sighting in flight.sightings:
            by_frame.setdefault(sighting.frame, ([], []))[side].append(sighting)
    same = crops = 0
    differences: list[dict[str, Any]] = []
    for frame, (left, right) in sorted(by_frame.items()):
        rest = list(right)
        for one in left:
            other = max(rest, key=lambda sighting: overlap(one.quad, sighting.quad), default=None)
            if other is not None and overlap(one.quad, other.quad) >= MIN_OVERLAP:
                rest.remove(other)
            else:
                other = None
            a, b = _word(one), _word(other)
            if a is None and b is None and other is not None:
                continue  # neither read it: its track was settled
            crops += 1
            same += a == b and a is not None
            if a != b:
                differences.append({"frame": frame, "ours": a, "onnxruntime": b})
        crops += len(rest)
        differences += [{"frame": frame, "ours": None, "onnxruntime": _word(other)} for other in rest]
    return (same / crops if crops else 0.0), differences


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of the upright rectangles around two quads (4, 2)."""
    low, high = np.maximum(a.min(axis=0), b.min(axis=0)), np.minimum(a.max(axis=0), b.max(axis=0))
    common = float(np.prod(np.maximum(high - low, 0.0)))
    area_a, area_b = float(np.prod(np.ptp(a, axis=0))), float(np.prod(np.ptp(b, axis=0)))
    return common / max(area_a + area_b - common, 1e-9)


def _word(sighting: Sighting | None) -> str | None:
    return None if sighting is None or sighting.reading is None else sighting.reading.text
