"""Sources of images: what they deliver, what they count, and what they refuse."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from alula.device.camera import FrameSource, ImageFolder, LiveCamera, VideoFile, open_source
from alula.runtime.data.opencv import opencv
from alula.runtime.errors import MissingExtraError, SourceError

cv2 = opencv("these tests")
FRAMES = 20


def images(count: int = FRAMES, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (160, 120)) for _ in range(count)]


def write_video(path: Path, codec: str = "MJPG") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), 10, (160, 120))
    for image in images():
        writer.write(image)
    writer.release()
    return path


def zero_frames(path: Path, numbers: list[int]) -> None:
    """Blank the JPEG data of some frames of an MJPG file."""
    data = bytearray(path.read_bytes())
    starts = [k for k in range(len(data) - 2) if data[k : k + 3] == b"\xff\xd8\xff"]
    assert len(starts) == FRAMES
    for number in numbers:
        end = starts[number + 1] - 8  # the header of the next chunk stays
        data[starts[number] : end] = bytes(end - starts[number])
    path.write_bytes(data)


def test_a_video_gives_its_frames_in_order_with_their_times(tmp_path: Path) -> None:
    with open_source(write_video(tmp_path / "a.avi")) as source:
        assert isinstance(source, VideoFile) and isinstance(source, FrameSource)
        assert len(source) == FRAMES and source.fps == 10 and not source.live
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(FRAMES))
    assert [round(frame.time_s, 3) for frame in frames] == [k / 10 for k in range(FRAMES)]
    assert frames[0].image.shape == (120, 160, 3) and frames[0].age_s() >= 0
    assert source.counts.as_dict() | {"oldest_s": 0} == {"delivered": 20, "dropped": 0, "unreadable": 0, "oldest_s": 0}
    for frame, image in zip(frames, images(), strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 12  # MJPG loses something


def test_broken_frames_in_the_middle_are_counted_and_survived(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi")
    zero_frames(path, [5, 6, 11])
    with VideoFile(path) as source:
        frames = list(source)
    assert source.counts.delivered == FRAMES - 3 and source.counts.unreadable == 3
    assert frames[-1].time_s == pytest.approx(1.9)


def test_a_video_that_was_cut_short_gives_what_is_left_and_counts_the_rest(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoFile(path) as source:
        delivered = len(list(source))
    assert 0 < delivered < FRAMES
    assert source.counts.unreadable == FRAMES - delivered


@pytest.mark.parametrize(
    ("name", "content"), [("a.mp4", b""), ("a.mp4", b"no video" * 500), ("a.txt", "frames".encode("utf-16"))]
)
def test_a_file_that_is_no_video_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=rf"{name}: expected a video, got {len(content)} bytes") as caught:
        open_source(path)
    assert "\n" not in str(caught.value)


def test_a_video_without_its_index_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", "mp4v")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match="is the file whole"):
        open_source(path)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(SourceError, match=r"nowhere\.mp4: expected a video file, got no such file"):
        open_source("nowhere.mp4")


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number, image in enumerate(images(12)):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), image)
    (tmp_path / "notes.txt").write_text("not an image")
    with open_source(tmp_path) as source:
        assert isinstance(source, ImageFolder) and len(source) == 12
        frames = list(source)
    assert all((frame.image == image).all() for frame, image in zip(frames, images(12), strict=True))


def test_unreadable_images_of_a_folder_are_counted_and_keep_their_numbers(tmp_path: Path) -> None:
    for number, image in enumerate(images(4)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "2.png").write_bytes((tmp_path / "3.png").read_bytes()[:20])
    with ImageFolder(tmp_path) as source:
        assert [frame.index for frame in source] == [0, 3]
    assert source.counts.unreadable == 2


def test_folders_without_a_readable_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected images"):
        open_source(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(SourceError, match="1 files of which none can be read"), ImageFolder(tmp_path) as source:
        list(source)


def test_grey_images_come_out_with_three_channels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((8, 9), 77, np.uint8))
    with ImageFolder(tmp_path) as source:
        assert next(iter(source)).image.shape == (8, 9, 3)


class Replay:
    """A camera that gives a frame whenever the test lets it."""

    def __init__(self, frames: list[np.ndarray | None], opened: bool = True) -> None:
        self.frames, self.opened, self.released = list(frames), opened, False
        self.asked = threading.Event()
        self.silent = threading.Event()

    def isOpened(self) -> bool:
        return self.opened

    def read(self) -> tuple[bool, np.ndarray | None]:
        if not self.frames:
            self.asked.set()
            self.silent.wait(0.02)
            return False, None
        image = self.frames.pop(0)
        return image is not None, image

    def get(self, _: int) -> float:
        return 30.0

    def release(self) -> None:
        self.released = True


def test_of_a_camera_the_latest_frame_wins_and_the_others_are_counted_as_dropped() -> None:
    replay = Replay([*images(5)])
    with LiveCamera(0, timeout_s=5.0, capture=replay) as source:
        assert replay.asked.wait(5.0)
        frame = next(iter(source))
        assert source.live and len(source) == 0
    assert frame.index == 4 and (frame.image == images(5)[4]).all()
    assert source.counts.dropped == 4 and source.counts.delivered == 1
    assert replay.released


def test_a_camera_that_gives_broken_frames_counts_them() -> None:
    replay = Replay([None, np.zeros((0, 0, 3), np.uint8), images(1)[0]])
    with LiveCamera(0, timeout_s=5.0, capture=replay) as source:
        assert next(iter(source)).index == 2
        assert source.counts.unreadable >= 2


def test_a_camera_that_goes_silent_is_an_error_and_no_hang() -> None:
    replay = Replay([])
    with (
        LiveCamera(3, timeout_s=0.1, capture=replay) as source,
        pytest.raises(SourceError, match="camera 3: expected a frame within"),
    ):
        next(iter(source))


def test_a_camera_that_does_not_open_is_refused() -> None:
    with pytest.raises(SourceError, match="expected a camera"):
        LiveCamera("/dev/video63", capture=Replay([], opened=False))
    with pytest.raises(SourceError, match="expected a camera"):
        open_source("/dev/video63")
    with pytest.raises(SourceError, match="camera 63"):
        open_source("63")


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"alula\[vision\]"):
        open_source(tmp_path / "a.mp4")
