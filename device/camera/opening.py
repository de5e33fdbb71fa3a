"""Choose the source that an argument of the command line names."""

from __future__ import annotations

import re
from pathlib import Path

from alula.device.camera.folder import ImageFolder
from alula.device.camera.live import LiveCamera
from alula.device.camera.source import FrameSource
from alula.device.camera.video import VideoFile
from alula.runtime.data.image import is_still
from alula.runtime.files import check_name


def open_source(
    where: str | int | Path, sequence: bool = False, alpha: str = "white", channels: int = 3
) -> FrameSource:
    """Open a camera (`0`, `/dev/video0`), a stream (`rtsp://...`), a folder of images, one image, or a video file.

    sequence : a folder's images are frames of a video; by default each is looked at alone
    alpha    : white, black or drop: what transparent images are laid over
    channels : of image files: 3, or 1 for networks that see grey
    raise    : SourceError if it is none of these
    """
    text = str(where)
    if re.fullmatch(r"[0-9]+", text) and not Path(text).exists():
        return LiveCamera(int(text))
    if text.startswith("/dev/video") or re.match(r"(rtsp|rtmp|udp|tcp|https?)://", text):
        check_name(text)
        return LiveCamera(text)
    path = Path(text)
    if path.is_dir() or (path.is_file() and is_still(path)):
        return ImageFolder(path, sequence=sequence, alpha=alpha, channels=channels)
    return VideoFile(path)
