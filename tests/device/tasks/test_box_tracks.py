"""Numbers of objects: through crossings, occlusions, lost frames and moving cameras."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from alula.device.tasks.box_tracks import BoxTrackConfig, BoxTracker
from alula.runtime.errors import AlulaError, DataError, ShapeError

Path = Callable[[float], tuple[float, float]]


def box(x: float, y: float, width: float = 40.0, height: float = 30.0) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def look(
    tracker: BoxTracker, time_s: float, *boxes: list[float], score: float = 0.9, kinds: object = None
) -> list[int]:
    kinds = np.zeros(len(boxes), np.int64) if kinds is None else np.asarray(kinds)
    return tracker.update(np.array(boxes, np.float32), np.full(len(boxes), score), kinds, time_s).tolist()


def follow(path: Path, times: Iterable[float], tracker: BoxTracker | None = None) -> list[int]:
    """The number of one object at each of these times."""
    tracker = tracker or BoxTracker()
    return [number for time_s in times for number in look(tracker, time_s, box(*path(time_s)))]


def test_an_object_keeps_its_number_and_others_have_theirs() -> None:
    tracker = BoxTracker()
    for k in range(10):
        assert look(tracker, k / 10, box(100 + 12 * k, 50), box(300, 200 - 9 * k)) == [1, 2]
    assert [(track.number, track.sightings, track.missed, track.confirmed) for track in tracker.tracks] == [
        (1, 10, 0, True), (2, 10, 0, True)]  # fmt: skip
    assert tracker.tracks[0].velocity == pytest.approx((120, 0), abs=10)
    assert tracker.tracks[1].box == pytest.approx(box(300, 119), abs=3)
    assert tracker.counted == {0: 2}


@pytest.mark.parametrize("hidden_s", [0.3, 0.8, 1.5])
def test_an_object_that_comes_out_of_an_occlusion_has_the_number_it_went_in_with(hidden_s: float) -> None:
    times = [k / 15 for k in range(60) if not 1.0 < k / 15 < 1.0 + hidden_s]
    assert set(follow(lambda t: (100 + 90 * t, 50 + 20 * t), times)) == {1}


def test_an_object_that_was_out_of_sight_for_longer_than_the_patience_is_a_new_one() -> None:
    times = [0.1 * k for k in range(60) if not 1.0 < 0.1 * k < 3.5]
    assert set(follow(lambda t: (100.0, 50.0), times)) == {1, 2}
    patient = BoxTracker(BoxTrackConfig(patience_s=3.0))
    assert set(follow(lambda t: (100.0, 50.0), times, patient)) == {1}


def test_two_that_cross_keep_their_numbers_though_one_hides_the_other() -> None:
    tracker = BoxTracker()
    for k in range(40):
        left, right = box(100 + 10 * k, 100), box(500 - 10 * k, 104)
        if abs(k - 20) < 3:
            assert look(tracker, k / 15, left) == [1]
        else:
            assert look(tracker, k / 15, left, right) == [1, 2]


def test_classes_never_share_a_number() -> None:
    tracker = BoxTracker()
    for k in range(8):
        assert look(tracker, k / 10, box(100, 50), box(103, 52), kinds=[0, 1]) == [1, 2]
    assert look(tracker, 0.8, box(100, 50), kinds=[2]) == [3]


def test_what_stands_still_is_found_again_after_any_motion_of_the_camera() -> None:
    """The camera turns back while the object is hidden; without its shift the object would be expected elsewhere."""
    tracker, x = BoxTracker(), 300.0
    for k in range(30):
        shift = -20.0 if k < 15 else 20.0
        tracker.move((shift, 0.0) if k else None)
        x += shift if k else 0.0
        if not 12 < k < 22:
            assert look(tracker, k / 10, box(x, 100)) == [1]
        else:
            look(tracker, k / 10)
    assert tracker.tracks[0].velocity == pytest.approx((0, 0), abs=5)


def test_a_lost_frame_is_a_longer_step() -> None:
    """Steps of 0.05 to 0.6 s at 200 pixels a second, 5 boxes a second: boxes of neighbouring frames often do not touch."""
    times = np.cumsum([0.05] * 8 + [0.3, 0.05, 0.6, 0.1, 0.5])
    assert set(follow(lambda t: (50 + 200 * t, 80.0), times)) == {1}


def test_low_scores_continue_a_track_and_start_none() -> None:
    tracker = BoxTracker()
    for k in range(4):
        look(tracker, k / 10, box(100 + 5 * k, 50))
    assert look(tracker, 0.4, box(120, 50), box(400, 50), score=0.2) == [1, 0]
    assert look(tracker, 0.5, box(125, 50), score=0.05) == [0]
    assert look(tracker, 0.6, box(130, 50)) == [1]


def test_a_false_alarm_ends_soon_and_is_not_counted() -> None:
    tracker = BoxTracker()
    look(tracker, 0.0, box(100, 50))
    for k in range(1, 4):
        look(tracker, k / 10)
    assert tracker.tracks == [] and tracker.counted == {}


def test_frames_without_boxes_are_frames() -> None:
    tracker = BoxTracker()
    assert tracker.update([], [], [], 0.0).shape == (0,)
    assert tracker.update(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), 1.0).dtype == np.int64
    assert tracker.tracks == []
    assert look(tracker, 1.0, box(50, 50)) == [1]


@pytest.mark.parametrize(
    ("boxes", "scores", "classes", "time_s", "error", "words"),
    [
        ([[0, 0, np.nan, 5]], [0.9], [0], 1.0, DataError, "not finite"),
        ([[0, 0, np.inf, 5]], [0.9], [0], 1.0, DataError, "not finite"),
        ([[9, 0, 5, 5]], [0.9], [0], 1.0, DataError, "smaller corner first"),
        ([[0, 0, 5, 5]], [np.nan], [0], 1.0, DataError, "for box 0"),
        ([[0, 0, 5, 5]], [0.9], [0.5], 1.0, DataError, "integers"),
        ([[0, 0, 5, 5]], [0.9, 0.8], [0], 1.0, ShapeError, "for each box"),
        ([0, 0, 5, 5], [0.9], [0], 1.0, ShapeError, "for each box"),
        ([[0, 0, 5, 5]], [0.9], [0], 0.5, DataError, "in order"),
        ([[0, 0, 5, 5]], [0.9], [0], np.nan, DataError, "in order"),
    ],
)
def test_what_is_no_frame_is_refused_in_one_line_and_changes_nothing(
    boxes: object, scores: object, classes: object, time_s: float, error: type[AlulaError], words: str
) -> None:
    tracker = BoxTracker()
    assert look(tracker, 0.9, box(100, 50)) == [1]
    with pytest.raises(error, match=words) as refusal:
        tracker.update(boxes, scores, classes, time_s)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300
    assert look(tracker, 1.0, box(100, 50)) == [1]
    with pytest.raises(DataError, match="None says"):
        tracker.move((np.nan, 0.0))


def test_a_thousand_boxes_keep_their_numbers_and_runs_agree() -> None:
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(np.arange(40) * 30.0, np.arange(25) * 30.0), axis=-1).reshape(-1, 2)
    boxes = np.concatenate([corners, corners + rng.uniform(15, 25, (1000, 2))], axis=1)
    first, second = BoxTracker(), BoxTracker()
    kinds, scores = rng.integers(0, 2, 1000), np.full(1000, 0.9)
    for k in range(3):
        seen = boxes + rng.normal(0, 0.5, boxes.shape)
        numbers = first.update(seen, scores, kinds, k / 10)
        assert (numbers == second.update(seen, scores, kinds, k / 10)).all()
        assert (numbers == np.arange(1, 1001)).all()
