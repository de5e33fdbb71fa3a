"""Following signs over a moving ground."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alula.device.tasks.boxes import Box
from alula.device.tasks.recognise import Reading
from alula.device.tasks.track import Sighting, Track, TrackConfig, Tracker, edit_distance


def box(x: float, y: float, width: float = 80, height: float = 20) -> Box:
    quad = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float32)
    return Box(quad, 0.9)


def look(tracker: Tracker, frame: int, shift: tuple[float, float] | None, *seen: tuple[Box, str]) -> list[Track]:
    """One frame: boxes and the words in them."""
    tracker.move(shift)
    tracks = tracker.assign([one for one, _ in seen])
    for track, (one, text) in zip(tracks, seen, strict=True):
        whole = not text.endswith("|")
        track.sightings.append(Sighting(frame, frame / 10, one.quad, 0.9, whole, Reading(text.rstrip("|"), 0.95)))
    return tracks


def texts(tracker: Tracker) -> list[str]:
    return [track.text() for track in tracker.signs()]


def test_two_signs_that_move_with_the_ground_keep_their_tracks() -> None:
    tracker = Tracker()
    numbers = [
        [
            t.number
            for t in look(
                tracker, k, (-60, 5), (box(500 - 60 * k, 100 + 5 * k), "LEFT"), (box(640 - 60 * k, 90 + 5 * k), "RIGHT")
            )
        ]
        for k in range(6)
    ]
    assert numbers == [[1, 2]] * 6
    assert texts(tracker) == ["LEFT", "RIGHT"]


def test_a_sign_that_is_missed_for_some_frames_is_the_same_sign() -> None:
    tracker = Tracker()
    for k in range(9):
        seen = [(box(500 - 40 * k, 100), "PERTH")] if k not in (3, 4, 5) else []
        look(tracker, k, (-40, 0), *seen)
    assert [len(track.sightings) for track in tracker.signs()] == [6]


def test_where_the_motion_is_unknown_a_box_at_the_same_place_is_another_sign() -> None:
    tracker = Tracker()
    for k in range(3):
        look(tracker, k, (0, 0), (box(100, 100), "NORTH"))
    for k in range(3, 6):
        look(tracker, k, None if k == 3 else (0, 0), (box(100, 100), "RUNWAY"))
    assert texts(tracker) == ["NORTH", "RUNWAY"]


def test_a_sign_that_comes_back_later_is_reported_once() -> None:
    tracker = Tracker()
    for k in range(40):
        look(tracker, k, (-90, 0), *([(box(100, 50), "DERBY")] if k in (2, 3, 30, 31) else []))
    (sign,) = tracker.signs()
    assert [seen.frame for seen in sign.sightings] == [2, 3, 30, 31]


def test_readings_vote_and_cut_off_words_hardly_count() -> None:
    tracker = Tracker(TrackConfig(settle_after=0))
    for k, text in enumerate(["TON|", "TON|", "TON|", "BOSTON", "B0STON", "BOSTON"]):
        look(tracker, k, (0, 0), (box(200, 100), text))
    (sign,) = tracker.signs()
    assert sign.text() == "BOSTON" and sign.best().frame in (3, 5)


def test_fragments_at_one_place_are_one_sign_and_strangers_elsewhere_are_not() -> None:
    tracker = Tracker(TrackConfig(patience_frames=2))
    for k in range(9):
        text = {0: "SHEFF", 1: "SHEFF", 6: "SHEFFIELD", 7: "SHEFFIELD", 8: "SHEFFIELD"}.get(k)
        look(tracker, k, (0, 0), *([(box(200, 100), text)] if text else []), (box(600, 300), "SHED"))
    assert sorted(texts(tracker)) == ["SHED", "SHEFFIELD"]


def test_single_weak_meaningless_and_cut_off_sightings_are_not_reported() -> None:
    tracker = Tracker()
    look(tracker, 0, (0, 0), (box(100, 100), "ONCE"))
    for k in range(3):
        look(tracker, 20 + k, (0, 0), (box(300, 100), "---"), (box(0, 300), "CUT|"))
    assert texts(tracker) == []


def test_a_track_settles_after_agreeing_confident_readings() -> None:
    config = TrackConfig(settle_after=3, settle_confidence=0.9)
    tracker = Tracker(config)
    settled = []
    for k, text in enumerate(["AB", "AC", "AC", "AC", "AC"]):
        (track,) = look(tracker, k, (0, 0), (box(100, 100), text))
        settled.append(track.settled(config))
    assert settled == [False, False, False, True, True]
    assert not track.settled(TrackConfig(settle_after=0))


def test_asking_for_the_signs_changes_nothing() -> None:
    tracker = Tracker()
    for k in range(4):
        look(tracker, k, (0, 0), (box(100, 100), "BASE"))
        tracker.signs()
    assert [len(track.sightings) for track in tracker.signs()] == [4]
    tracker.finish()
    assert [len(track.sightings) for track in tracker.signs()] == [4]


@pytest.mark.parametrize(("a", "b", "distance"), [("", "", 0), ("kitten", "sitting", 3), ("", "abc", 3), ("A", "a", 1)])
def test_edit_distance_of_known_words(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == distance


@given(st.text("ab1", max_size=8), st.text("ab1", max_size=8), st.text("ab1", max_size=8))
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
