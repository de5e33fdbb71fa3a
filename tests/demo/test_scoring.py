"""Readings against the truth, and one run against another."""

from __future__ import annotations

import numpy as np
import pytest

from alula.demo.scoring import agreement, judge, overlap
from alula.device.tasks.recognise import Reading
from alula.device.tasks.spotter import Flight, Sign
from alula.device.tasks.track import Sighting


def sign(text: str, first: int, last: int) -> Sign:
    return Sign(text, 0.9, first, last, first / 9, last / 9, 5, first, [[0, 0], [9, 0], [9, 3], [0, 3]])


TRUTH = {
    "signs": [{"text": "DANGER"}, {"text": "Bath"}, {"text": "K20"}],
    "visible": [{"0": []}, {"0": [], "1": []}, {"1": []}, {"2": []}],
}


def test_exact_near_and_missing_readings_are_told_apart() -> None:
    verdicts, extra = judge([sign("DANCER", 0, 1), sign("Bath", 1, 2)], TRUTH)
    assert [(v.truth, v.read and v.read.text, v.exact) for v in verdicts] == [
        ("DANGER", "DANCER", False), ("Bath", "Bath", True), ("K20", None, False)
    ]  # fmt: skip
    assert extra == [] and [v.frames_visible for v in verdicts] == [2, 2, 1]


def test_each_report_counts_for_one_sign_and_what_is_left_over_is_said() -> None:
    verdicts, extra = judge([sign("DANGER", 0, 1), sign("DANGER", 1, 1), sign("XYZ", 0, 3)], TRUTH)
    assert [v.exact for v in verdicts] == [True, False, False]
    assert [left.text for left in extra] == ["DANGER", "XYZ"]


def test_the_right_word_at_the_wrong_time_is_wrong_and_case_matters() -> None:
    verdicts, extra = judge([sign("DANGER", 3, 3), sign("BATH", 1, 2)], TRUTH)
    assert not any(v.exact for v in verdicts) and len(extra) == 2


def seen(frame: int, x: float, text: str | None) -> Sighting:
    quad = np.array([[x, 0], [x + 60, 0], [x + 60, 20], [x, 20]], np.float32)
    return Sighting(frame, frame / 9, quad, 0.9, True, None if text is None else Reading(text, 0.9))


def run(*sightings: Sighting) -> Flight:
    return Flight([], list(sightings), 9, 1.0, [], {})


def test_runs_that_read_the_same_agree_and_settled_crops_do_not_count() -> None:
    left = run(seen(0, 10, "A"), seen(0, 200, "B"), seen(1, 5, None))
    right = run(seen(0, 201, "B"), seen(0, 11, "A"), seen(1, 5, None))
    assert agreement(left, right) == (1.0, [])


def test_every_kind_of_difference_is_counted_once() -> None:
    left = run(seen(0, 10, "A"), seen(1, 10, "A"), seen(2, 10, "A"), seen(3, 10, "A"))
    right = run(seen(0, 10, "A"), seen(1, 10, "X"), seen(2, 300, "A"), seen(3, 10, None))
    ratio, differences = agreement(left, right)
    assert ratio == pytest.approx(1 / 5) and len(differences) == 4
    assert differences[0] == {"frame": 1, "ours": "A", "onnxruntime": "X"}


def test_runs_without_a_crop_have_nothing_in_common() -> None:
    assert agreement(run(), run()) == (0.0, [])


def test_overlap_is_one_of_itself_and_none_of_a_stranger() -> None:
    a, b = seen(0, 0, "A").quad, seen(0, 30, "A").quad
    assert overlap(a, a) == pytest.approx(1.0)
    assert overlap(a, b) == pytest.approx(1 / 3)
    assert overlap(a, a + 500) == 0.0
