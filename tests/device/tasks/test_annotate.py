"""The annotated video holds every frame that was given, whatever their sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alula.device.camera import Frame, VideoFile
from alula.device.tasks import annotate
from alula.device.tasks.annotate import AnnotatedVideo
from alula.device.tasks.track import Sighting, Track
from alula.runtime.errors import SourceError


def frame(height: int, width: int, value: int = 200) -> Frame:
    return Frame(np.full((height, width, 3), value, np.uint8), 0, 0.0, 0.0)


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_frames_of_other_sizes_are_scaled_to_fit_and_said(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"seen{suffix}"
    with AnnotatedVideo(path, 10.0) as video:
        for size in ((48, 64), (96, 64), (24, 32), (1, 64), (48, 64)):
            video.watch(frame(*size), [])
    assert (video.frames, video.fitted) == (5, 3)
    assert "3 of 5 frames had another size and were scaled to fit 64x48" in video.note()
    with VideoFile(path) as source:
        images = [one.image for one in source]
    assert [image.shape for image in images] == [(48, 64, 3)] * 5
    assert images[1][24, 4].max() < 40 and images[1][24, 32].min() > 160  # a tall frame between black borders
    assert images[2].min() > 160


def test_boxes_are_drawn_where_the_scaled_frame_shows_them(tmp_path: Path) -> None:
    quad = np.array([[40, 40], [120, 40], [120, 160], [40, 160]], np.float32)
    seen = [(Track(1, np.zeros(2), 1.0), Sighting(0, 0.0, quad, 0.9, True, None))]
    path = tmp_path / "seen.avi"
    with AnnotatedVideo(path, 10.0) as video:
        video.watch(frame(100, 100, 0), [])
        video.watch(frame(200, 200, 0), seen)
    with VideoFile(path) as source:
        green = list(source)[1].image[:, :, 1] > 120
    rows, columns = np.nonzero(green[18:, :])
    assert abs(rows.max() + 18 - 80) <= 2 and abs(columns.max() - 60) <= 2


@pytest.mark.parametrize("size", [(1, 1), (9, 15), (40, 9000)])
def test_a_first_frame_of_any_size_starts_a_video(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "seen.mp4"
    with AnnotatedVideo(path, 10.0) as video:
        video.watch(frame(*size), [])
        video.watch(frame(*size), [])
    with VideoFile(path) as source:
        assert len(list(source)) == 2


def test_a_file_with_fewer_frames_than_were_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotate, "count_packets", lambda path: 0)
    with (
        pytest.raises(SourceError, match="expected 1 frames, got 0 in the file"),
        AnnotatedVideo(tmp_path / "seen.avi", 10.0) as video,
    ):
        video.watch(frame(48, 64), [])
