"""In which order a network wants the axes of an image: channels first or last, told by where the channels are."""

from __future__ import annotations

from collections.abc import Sequence

from alula.runtime.errors import ShapeError

CHANNELS = (1, 3)  # grey, or red, green and blue


def image_layout(shape: Sequence[int | str], where: str, chosen: str | None = None) -> str:
    """NCHW or NHWC, of an input (N, ...) of four axes.

    shape  : a free axis holds no channels
    chosen : what the user says; None: recognised
    raise  : ShapeError if the shape allows both
    """
    first, last = (shape[axis] in CHANNELS for axis in (1, 3))
    if chosen is None and first and last:
        raise ShapeError(
            f"{where}: expected 1 or 3 channels on axis 1 or on axis 3, got both in ({', '.join(map(str, shape))}); "
            "say which with --layout NCHW or NHWC"
        )
    return chosen or ("NHWC" if last else "NCHW")


def image_axes(layout: str) -> tuple[int, int, int]:
    """Which axes of an input of four hold height, width and channels."""
    return (1, 2, 3) if layout == "NHWC" else (2, 3, 1)
