"""Image sources: a video file, a folder of images, a camera. One protocol; see `source.py`."""

from __future__ import annotations

from alula.device.camera.folder import ImageFolder
from alula.device.camera.live import LiveCamera
from alula.device.camera.opening import open_source
from alula.device.camera.source import Counts, Frame, FrameSource
from alula.device.camera.video import VideoFile

__all__ = ["Counts", "Frame", "FrameSource", "ImageFolder", "LiveCamera", "VideoFile", "open_source"]
