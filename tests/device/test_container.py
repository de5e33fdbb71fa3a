"""Whether a video is whole, and how many frames it lost."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from alula.device.camera import VideoFile
from alula.device.camera.container import is_whole
from alula.device.camera.video import count_packets
from tests.device.test_camera import FRAMES, write_video

DURATION = b"\x44\x89\x88"  # of Matroska: its identity, and a length of 8 bytes


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "MJPG"), ("a.mkv", "MJPG"), ("a.mp4", "mp4v"), ("a.webm", "VP80")]
)
def test_a_file_that_was_cut_anywhere_is_not_whole(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, codec)
    content = path.read_bytes()
    assert is_whole(path) and count_packets(path) == FRAMES
    for end in (len(content) - 1, len(content) // 2, 5):
        path.write_bytes(content[:end])
        assert not is_whole(path)


def test_the_frames_of_a_whole_file_are_its_packets_and_not_its_duration(tmp_path: Path) -> None:
    """As of a variable frame rate: OpenCV's number of frames is a mean rate times the duration."""
    path = write_video(tmp_path / "a.mkv")
    content = bytearray(path.read_bytes())
    at = content.index(DURATION) + len(DURATION)
    content[at : at + 8] = struct.pack(">d", 2 * struct.unpack_from(">d", content, at)[0])
    path.write_bytes(content)
    with VideoFile(path) as source:
        assert len(source) > FRAMES
        assert len(list(source)) == FRAMES and source.counts.unreadable == 0
    path.write_bytes(content[: len(content) // 2])
    with VideoFile(path) as source:
        assert 0 < len(list(source)) < FRAMES and source.counts.unreadable > 0


def test_containers_that_state_no_length_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    for content in (
        b"G" * 188,
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + bytes(9),
        b"\x1a\x45\xdf\xa3" + bytes(20),
    ):
        path.write_bytes(content)
        assert is_whole(path)
    path.write_bytes(
        struct.pack(">I4sI", 1, b"ftyp", 0) + struct.pack(">I", 16) + struct.pack(">I4s", 0, b"mdat") + bytes(9)
    )
    assert is_whole(path)
