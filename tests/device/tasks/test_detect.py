"""Boxes over the frames of a source: numbers of tracks where frames follow each other, and none where they do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from alula.device.camera.source import Frame
from alula.device.tasks.detect import BoxWatch
from alula.runtime.tasks.detect import Detections

pytest.importorskip("cv2")
NAMES = ("car", "dog")
Found = tuple[float, int, tuple[float, float, float, float]]  # score, class, corners


class Script:
    """A detector that finds what the script says, frame by frame; the first pixel is the frame's number."""

    def __init__(self, frames: Sequence[Sequence[Found]], conf: float = 0.5) -> None:
        self.frames, self.task, self.asked = frames, SimpleNamespace(conf=conf, kind="detect"), set[float | None]()

    has_things = True

    def places(self, only: Sequence[str]) -> list[int]:
        return [NAMES.index(name) for name in only]

    def __call__(self, image: np.ndarray, conf: float | None, agnostic: bool, only: Sequence[str]) -> Detections:
        self.asked.add(conf)
        least = self.task.conf if conf is None else conf
        rows = [row for row in self.frames[image[0, 0, 0]] if row[0] > least]
        scores, kinds, boxes = (list(part) for part in zip(*rows, strict=True)) if rows else ([], [], [])
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(kinds, np.int64),
            tuple(NAMES[kind] for kind in kinds),
        )  # fmt: skip


class Frames:
    """A source. times_s : of its frames"""

    name = "script"

    def __init__(self, times_s: Sequence[float], sequence: bool, channels: int = 3) -> None:
        self.times_s, self.sequence, self.channels = times_s, sequence, channels

    def __iter__(self) -> Iterator[Frame]:
        ground = np.random.default_rng(0).integers(0, 255, (60, 80, self.channels)).astype(np.uint8)
        for index, time_s in enumerate(self.times_s):
            image = ground.copy()
            image[0, 0] = index
            yield Frame(image, index, time_s, 0.0)


def moving(k: int, score: float = 0.9) -> Found:
    return score, 0, (5.0 + 3 * k, 10.0, 25.0 + 3 * k, 22.0)


@pytest.mark.parametrize("channels", [3, 1])
def test_frames_that_follow_each_other_have_tracks_and_low_scores_continue_them(channels: int) -> None:
    still = (0.8, 1, (50.0, 40.0, 70.0, 55.0))
    script = Script([[moving(0), still], [moving(1), still], [moving(2), still, (0.3, 1, (1.0, 1.0, 9.0, 9.0))],
                     [moving(3, 0.25), still], [moving(4)], [moving(5), still]])  # fmt: skip
    watch = BoxWatch(script)  # type: ignore
    seen = list(watch.run(Frames([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], True, channels)))  # type: ignore
    assert [one.answer.tracks.tolist() for one in seen] == [[1, 2], [1, 2], [1, 2], [1, 2], [1], [1, 2]]
    assert [row["track"] for row in seen[3].document()["results"]] == [1, 2]
    assert seen[3].answer.scores.tolist() == pytest.approx([0.25, 0.8]) and seen[3].answer.names == NAMES
    assert watch.objects == {"car": 1, "dog": 1} and watch.counts == {"car": 6, "dog": 5}


def test_images_that_have_nothing_to_do_with_each_other_have_no_tracks() -> None:
    script = Script([[moving(0)], [moving(0, 0.3)]])
    watch = BoxWatch(script)  # type: ignore
    seen = list(watch.run(Frames([0.0, 1.0], False)))  # type: ignore
    assert [len(one.answer) for one in seen] == [1, 0] and seen[0].answer.tracks is None
    assert "track" not in seen[0].document()["results"][0] and script.asked == {None}
    assert watch.objects == {}


def test_times_that_go_back_and_corners_in_another_order_do_not_end_a_run() -> None:
    script = Script([[(0.9, 0, (30.0, 22.0, 10.0, 10.0))] for _ in range(4)])
    seen = list(BoxWatch(script).run(Frames([0.0, 0.1, 0.05, 0.2], True)))  # type: ignore
    assert [one.answer.tracks.tolist() for one in seen] == [[1]] * 4
    assert seen[0].answer.boxes.tolist() == [[30.0, 22.0, 10.0, 10.0]]
