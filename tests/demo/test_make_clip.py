"""The clip's generator, and the clip that is in the repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alula.device.camera import VideoFile
from alula.runtime.data.opencv import opencv

cv2 = opencv("these tests")
pytest.importorskip("matplotlib")
features = pytest.importorskip("PIL.features")
DEMO = Path(__file__).parents[2] / "demo"


def truth() -> dict:
    return json.loads((DEMO / "flight.truth.json").read_text())


def test_the_clip_is_small_and_holds_what_its_truth_says() -> None:
    facts = truth()
    assert (DEMO / "flight.mp4").stat().st_size <= 1_500_000
    with VideoFile(DEMO / "flight.mp4") as clip:
        frames = list(clip)
    assert len(frames) == facts["frames"] == len(facts["visible"]) and clip.counts.unreadable == 0
    assert frames[0].image.shape == (facts["height"], facts["width"], 3)
    assert clip.fps == facts["fps"]


def test_there_are_over_twenty_different_signs_and_each_is_wholly_visible_for_some_frames() -> None:
    facts = truth()
    words = [sign["text"] for sign in facts["signs"]]
    assert len(words) >= 20 and len(set(words)) == len(words)
    for number in range(len(words)):
        assert sum(str(number) in frame for frame in facts["visible"]) >= 6
    for frame in facts["visible"]:
        for quad in frame.values():
            assert np.array(quad).shape == (4, 2)
            assert np.min(quad) > 0 and np.max(np.array(quad)[:, 0]) < 640 and np.max(np.array(quad)[:, 1]) < 480


def test_half_of_the_signs_are_seen_upside_down() -> None:
    facts = truth()
    rightwards = {}
    for frame in facts["visible"]:
        for number, quad in frame.items():
            rightwards[number] = quad[1][0] > quad[0][0]
    assert 8 <= sum(rightwards.values()) <= len(facts["signs"]) - 8


def test_the_truth_lies_where_the_boards_are() -> None:
    """Two views of one board, straightened by their quads, look alike."""
    facts = truth()
    with VideoFile(DEMO / "flight.mp4") as clip:
        frames = [frame.image for frame in clip]
    size = np.array([[0, 0], [128, 0], [128, 32], [0, 32]], np.float32)
    likeness = []
    for number in range(len(facts["signs"])):
        seen = [k for k, frame in enumerate(facts["visible"]) if str(number) in frame]
        views = []
        for k in seen[2:6:3]:
            matrix = cv2.getPerspectiveTransform(np.array(facts["visible"][k][str(number)], np.float32), size)
            views.append(cv2.cvtColor(cv2.warpPerspective(frames[k], matrix, (128, 32)), cv2.COLOR_BGR2GRAY))
        likeness.append(np.corrcoef(views[0].ravel(), views[1].ravel())[0, 1])
    assert np.median(likeness) > 0.9 and min(likeness) > 0.5


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow lays out text otherwise without the library fribidi")
def test_the_generator_draws_the_truth_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    from alula.demo import make_clip

    monkeypatch.setattr(make_clip, "shoot", lambda *_: np.zeros((480, 640, 3), np.uint8))  # the dear part
    photograph = cv2.imread(str(DEMO / "ground.jpg"))
    _, same = make_clip.film(truth()["seed"], photograph)
    _, other = make_clip.film(1, photograph)
    facts = truth()
    assert [sign["text"] for sign in same["signs"]] == [sign["text"] for sign in facts["signs"]]
    for drawn, kept in zip(same["signs"], facts["signs"], strict=True):
        # Another release of the font renderer may make a board a pixel larger.
        assert np.abs(np.array(drawn["ground"]) - np.array(kept["ground"])).max() < 3.0
    assert len(same["visible"]) == facts["frames"]
    assert other["signs"] != same["signs"]


def test_a_pose_looks_at_its_centre_and_turns_with_its_heading() -> None:
    from alula.demo.make_clip import Pose

    def at(pose: Pose, x: float, y: float) -> list[float]:
        return cv2.perspectiveTransform(np.array([[[x, y]]], np.float64), pose.homography())[0, 0].tolist()

    assert at(Pose(500, 400, 0.9, 0.3, 1e-4, 2e-4), 500, 400) == pytest.approx([320, 240])
    assert at(Pose(500, 400, 1.0, 0.0, 0, 0), 510, 400) == pytest.approx([330, 240])
    assert at(Pose(500, 400, 2.0, np.pi, 0, 0), 510, 400) == pytest.approx([300, 240])
