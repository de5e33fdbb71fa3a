"""A data set as a network sees it: channels in its order, labels that are its outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alula.runtime.data.dataset import Array, Dataset, Labels, Mask
from alula.runtime.errors import DataError


class _Seen:
    """Another set, with all that it says of itself."""

    def __init__(self, data: Dataset) -> None:
        self.name, self.classes, self.labels = data.name, data.classes, data.labels
        self.shape: tuple[int, ...] = data.shape
        self.dtype, self.damaged, self.left_out = data.dtype, data.damaged, data.left_out
        self.files: tuple[str, ...] = getattr(data, "files", ())
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def read(self, index: Labels, out: Array) -> Mask:
        """See `Dataset.read`."""
        return self._data.read(index, out)


class ReversedChannels(_Seen):
    """A set of colour images in the other order of channels."""

    def __init__(self, data: Dataset) -> None:
        if len(data.shape) != 3 or data.shape[2] != 3:
            raise DataError(
                f"{data.name}: expected images of 3 channels for a network of blue, green, red, got {data.shape}"
            )
        super().__init__(data)

    def read(self, index: Labels, out: Array) -> Mask:
        """See `Dataset.read`."""
        good = super().read(index, out)
        out[...] = out[..., ::-1].copy()
        return good


class Relabelled(_Seen):
    """A set whose labels are places among other classes.

    classes : of the network
    places  : of each class of the set among them
    """

    def __init__(self, data: Dataset, classes: tuple[str, ...], places: Sequence[int]) -> None:
        super().__init__(data)
        self.classes = classes
        self.labels = np.array(places, np.int64)[data.labels]
