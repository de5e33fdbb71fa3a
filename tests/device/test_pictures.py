"""One image, folders of images, frames of odd cameras: they become frames of three channels, and what is left out is said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from alula.device.camera import ImageFolder, LiveCamera, VideoFile, open_source
from alula.runtime.data.opencv import opencv
from alula.runtime.errors import SourceError
from tests.device.test_camera import Replay
from tests.runtime.data.pictures import letters, png

cv2 = opencv("these tests")


def test_one_image_is_a_source_of_one_frame_and_no_video(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.full((8, 9, 3), 77, np.uint8))
    (tmp_path / "x.png").rename(tmp_path / "bare")
    with open_source(tmp_path / "bare") as source:
        (frame,) = list(source)
    assert isinstance(source, ImageFolder) and not source.sequence and len(source) == 1
    assert frame.name == "bare" and (frame.image == 77).all()


def test_a_gif_of_several_images_is_a_video(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    first, second = (image.fromarray(np.full((64, 64, 3), value, np.uint8)) for value in (10, 200))
    first.save(tmp_path / "x.gif", save_all=True, append_images=[second], duration=100)
    with open_source(tmp_path / "x.gif") as source:
        assert isinstance(source, VideoFile) and len(list(source)) == 2 and source.counts.unreadable == 0


def test_a_folder_says_what_it_left_out_and_what_it_could_not_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((8, 9, 3), 77, np.uint8))
    (tmp_path / os.fsdecode(b"gr\xfcn.png")).write_bytes(png(100_000, 100_000))
    for name in ("._0.png", "Thumbs.db", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "inner.png").mkdir()
    with open_source(tmp_path) as source:
        assert len(list(source)) == 1
    assert source.counts.unreadable == 1 and list(source.damaged) == ["gr\\xfcn.png"]
    assert "100000x100000" in source.damaged["gr\\xfcn.png"]
    assert sorted(source.left_out.values()) == ["a folder", "hidden", "hidden", "not an image"]
    with pytest.raises(SourceError, match="100000x100000"), open_source(next(tmp_path.glob("gr*"))) as alone:
        list(alone)


def test_transparent_images_are_laid_over_white_unless_asked_otherwise(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), letters())
    for alpha, seen in (("white", [255] * 3), ("black", [0] * 3), ("drop", [200, 120, 40])):
        with open_source(tmp_path, alpha=alpha) as source:
            assert next(iter(source)).image[0, 5].tolist() == seen


@pytest.mark.parametrize("shape", [(120, 160), (120, 160, 1), (120, 160, 4)])
def test_grey_cameras_and_those_with_a_fourth_channel_work(shape: tuple[int, ...]) -> None:
    with LiveCamera(0, timeout_s=5.0, capture=Replay([np.full(shape, 60, np.uint8)])) as source:
        image = next(iter(source)).image
    assert image.shape == (120, 160, 3) and (image == 60).all()
