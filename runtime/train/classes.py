"""Networks that tell classes apart: what they must look like, and the batches of images that they are trained with."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.data import Augment, Dataset, Loader, Preprocessing, check_classes, holdout, moments, open_data
from alula.runtime.data.choices import DTYPES
from alula.runtime.data.layout import CHANNELS, image_axes, image_layout
from alula.runtime.data.listing import tell_left_out
from alula.runtime.data.seen_as import Relabelled
from alula.runtime.errors import DataError, GraphError, NoSplitError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Graph, TensorSpec
from alula.runtime.planning.specialise import specialise
from alula.runtime.tasks.evaluate import tell_imbalance

TEST_BATCH = 100


def count_classes(graph: Graph, where: str) -> int:
    """How many classes a network tells apart.

    raise : GraphError unless it goes from one image of fixed size to scores (N, C)
    """
    name, shape = next((name, spec.shape) for name, spec in graph.inputs.items())
    if len(graph.inputs) != 1 or len(shape) not in (2, 4) or any(isinstance(dim, str) for dim in shape[1:]):
        raise GraphError(
            f"{where}: expected a network of one image of fixed size, got {', '.join(map(str, graph.inputs.values()))}; "
            "train others with alula.runtime.train"
        )
    fixed = specialise(graph, {name: TensorSpec((1, *shape[1:]), graph.inputs[name].dtype)})
    dims = fixed.specs[graph.outputs[0]].dims
    if len(dims) != 2:
        raise GraphError(f"{where}: expected scores (N, C), got {dims}; train others with alula.runtime.train")
    return dims[1]


@frozen
class Opened:
    """The sets of a run.

    test : None if there is none
    how  : what the network expects of an image; None if it takes none, or none of 1 or 3 channels
    """

    train: Dataset
    test: Dataset | None
    how: Preprocessing | None
    crop: tuple[int, int] | None = None
    layout: str = "NHWC"

    def relabelled(self, classes: tuple[str, ...], places: tuple[int, ...]) -> Opened:
        """With labels that are places among the classes of a network."""
        test = self.test and Relabelled(self.test, classes, places)
        return replace(self, train=Relabelled(self.train, classes, places), test=test)


@frozen
class Batches:
    """What a run is fed with.

    test          : None if the data set has no test set
    notes         : what the user should know of the data, a line each
    preprocessing : with which an image becomes what the network is trained on; None if the data are no images in bytes
    """

    train: Loader
    test: Loader | None
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


@frozen
class Images:
    """How a data set becomes batches.

    pad     : border around an image before a random crop
    flip    : mirror every other image
    raw     : leave channels as they are; else they get mean 0 and deviation 1
    holdout : test with this part of the training set
    layout  : NCHW or NHWC, of the network's input; None: told by where its channels are
    alpha   : white, black or drop: what transparent images are laid over
    seen    : how the network sees images, where that is known
    figures : whether scale, mean and deviation of `seen` are known, too; else they are the data's
    """

    pad: int = 0
    flip: bool = False
    raw: bool = False
    holdout: float | None = None
    layout: str | None = None
    alpha: str = "white"
    seen: Preprocessing | None = None
    figures: bool = False

    @property
    def known(self) -> Preprocessing | None:
        """What the network was trained with, which stays."""
        return self.seen if self.figures else None

    def open(self, path: Path, graph: Graph, seed: int, classes: int | None = None) -> Opened:
        """The sets, in the size that the network takes.

        classes : of the network, to refuse labels that it has no output for
        """
        if self.known and self.raw:
            raise DataError(f"--raw: expected the network's own preprocessing ({self.known}), got --raw; leave it out")
        spec = next(iter(graph.inputs.values()))
        how: Preprocessing | None = None
        crop: tuple[int, int] | None = None
        layout = "NHWC"
        options: dict[str, Any] = {"n_classes": classes}
        if len(spec.shape) == 4:
            layout = image_layout(spec.shape, graph.name, self.layout)
            height, width, channels = (int(spec.shape[axis]) for axis in image_axes(layout))
            crop = (height, width)
            options |= {"size": crop, "channels": channels, "alpha": self.alpha}
            if channels in CHANNELS:
                colour = "grey" if channels == 1 else self.seen.colour if self.seen else "rgb"
                dtype = spec.dtype if spec.dtype in DTYPES else "float32"
                how = replace(self.seen or Preprocessing(), colour=colour, size=crop, layout=layout, dtype=dtype)
                options |= {"images": how}
        data: Dataset = open_data(path, "train", **options)
        test: Dataset | None = None
        if self.holdout:
            data, test = holdout(data, self.holdout, seed)
        else:
            with contextlib.suppress(NoSplitError):
                test = open_data(path, "test", **options)
        return Opened(data, test, how, crop, layout)

    def batches(self, path: Path, graph: Graph, classes: int, batch: int, seed: int) -> Batches:
        """Batches to train and to test with."""
        return self.loaders(self.open(path, graph, seed, classes), graph, classes, batch, seed)

    def loaders(self, opened: Opened, graph: Graph, classes: int, batch: int, seed: int) -> Batches:
        """Batches of sets whose labels are outputs of the network."""
        data, test, how, crop, layout = opened.train, opened.test, opened.how, opened.crop, opened.layout
        for part in filter(None, (data, test)):
            check_classes(part, classes, complete=False)
        shape = tuple(int(dim) for dim in next(iter(graph.inputs.values())).shape[1:])
        notes = [tell_left_out({**data.left_out, **(test.left_out if test else {})}), tell_imbalance(data)]
        normal: dict[str, Any] = {}
        if self.known:
            if data.dtype != np.uint8:
                raise DataError(
                    f"{data.name}: expected images in bytes, for the network's preprocessing ({self.known}), got {data.dtype}; "
                    "convert them to uint8"
                )
            normal = {"mean": self.known.mean, "std": self.known.std, "scale": self.known.scale}
        elif not self.raw:
            found = moments(data)
            normal = dict(found.as_options())
            if found.constant:
                which = ", ".join(map(str, found.constant))
                notes.append(f"channels that never change: {which}; they get deviation 1 instead of 0")
        if crop and self.pad > max(crop):
            raise DataError(f"--pad: expected at most the image's size {max(crop)}, got {self.pad}; make it smaller")
        augment = Augment(crop=crop, padding=self.pad, flip=self.flip, **normal)
        loader = Loader(data, batch, seed=seed, drop_last=True, augment=augment, layout=layout, reuse=True)
        if loader.sample_shape != shape:
            raise DataError(
                f"{data.name}: expected samples {shape}, got {loader.sample_shape}; choose another network, or --layout"
            )
        made = replace(how, **normal) if how and data.dtype == np.uint8 and how.dtype != "uint8" else None
        said = tuple(filter(None, notes))
        if test is None:
            return Batches(loader, None, said, made)
        plain = Augment(crop=crop, **normal).for_evaluation()
        tester = Loader(test, min(TEST_BATCH, len(test)), shuffle=False, augment=plain, layout=layout)
        return Batches(loader, tester, said, made)

    def __str__(self) -> str:
        """As a checkpoint knows it."""
        others = [f", layout {self.layout}"] if self.layout else []
        others += [f", alpha {self.alpha}"] if self.alpha != "white" else []
        others += [f", {self.seen!r}, figures {self.figures}"] if self.seen else []
        return f"pad {self.pad}, flip {self.flip}, raw {self.raw}, holdout {self.holdout}{''.join(others)}"
