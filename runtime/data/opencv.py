"""OpenCV, where it is installed, and quiet."""

from __future__ import annotations

import os
from types import ModuleType

from alula.runtime.errors import require

# OpenCV and its decoders talk on stderr about every broken packet. What goes wrong we count and say, in one line.
# They look at the environment once, when they are loaded.
QUIET = {"OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "SILENT", "OPENCV_VIDEOIO_LOG_LEVEL": "SILENT"}


def opencv(purpose: str) -> ModuleType:
    """OpenCV, or an error that names the extra.

    raise : MissingExtraError
    """
    for name, level in QUIET.items():
        os.environ.setdefault(name, level)
    return require("cv2", "vision", purpose)
