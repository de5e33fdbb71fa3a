"""Choose the source that an argument of the command line names."""

from __future__ import annotations

import re
from pathlib import Path

from alula.device.camera.folder import ImageFolder
from alula.device.camera.live import LiveCamera
from alula.device.camera.source import FrameSource
from alula.device.camera.video import VideoFile


def open_source(where: str | int | Path) -> FrameSource:
    """Open a camera (`0`, `/dev/video0`), a stream (`rtsp://...`), a folder of images, or a video file.

    raise : SourceError if it is none of these
    """
    text = str(where)
    if re.fullmatch(r"\d+", text) and not Path(text).exists():
        return LiveCamera(int(text))
    if text.startswith("/dev/video") or re.match(r"(rtsp|rtmp|udp|tcp|https?)://", text):
        return LiveCamera(text)
    if Path(text).is_dir():
        return ImageFolder(text)
    return VideoFile(text)
