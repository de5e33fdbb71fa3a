"""An image file as a network expects it, for data sets and for whatever runs on files."""

from __future__ import annotations

from pathlib import Path

from alula.runtime.data.dataset import Array
from alula.runtime.data.image import check_alpha, read_image
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import SourceError
from alula.runtime.files import printable


class Decoder:
    """Reads image files.

    how   : their colours, and how they reach their size
    alpha : as in `read_image`
    raise : DataError if there is no such alpha
    """

    def __init__(self, how: Preprocessing, alpha: str = "white") -> None:
        check_alpha(alpha)
        self._how, self._alpha = how, alpha

    def __call__(self, path: Path) -> Array | str:
        """The image (H, W, C) uint8, or why it cannot be read."""
        try:
            image = read_image(path, self._how.channels, self._alpha)
        except ValueError as error:
            return str(error)
        return self._how.fit(image)


def open_image(path: Path, channels: int, alpha: str = "white") -> Array:
    """One image file, (H, W, channels) uint8, blue green red.

    raise : SourceError if it cannot be read, DataError if there is no such alpha
    """
    check_alpha(alpha)
    try:
        return read_image(path, channels, alpha)
    except ValueError as error:
        raise SourceError(
            f"{printable(path)}: expected an image that can be decoded, got one that is not: {error}; is it damaged?"
        ) from error
