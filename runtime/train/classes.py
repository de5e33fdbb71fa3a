"""Networks that tell classes apart: what they must look like, and the batches of images that they are trained with."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from alula.runtime.data import Augment, Dataset, Loader, holdout, moments, open_data
from alula.runtime.data.layout import image_axes, image_layout
from alula.runtime.data.listing import tell_left_out
from alula.runtime.errors import DataError, GraphError, NoSplitError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Graph, TensorSpec
from alula.runtime.planning.specialise import specialise

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
class Batches:
    """What a run is fed with.

    test  : None if the data set has no test set
    notes : what the user should know of the data, a line each
    """

    train: Loader
    test: Loader | None
    notes: tuple[str, ...] = ()


@frozen
class Images:
    """How a data set becomes batches.

    pad     : border around an image before a random crop
    flip    : mirror every other image
    raw     : leave channels as they are; else they get mean 0 and deviation 1
    holdout : test with this part of the training set
    layout  : NCHW or NHWC, of the network's input; None: told by where its channels are
    alpha   : white, black or drop: what transparent images are laid over
    """

    pad: int = 0
    flip: bool = False
    raw: bool = False
    holdout: float | None = None
    layout: str | None = None
    alpha: str = "white"

    def batches(self, path: Path, graph: Graph, classes: int, batch: int, seed: int) -> Batches:
        """Batches to train and to test with."""
        whole = next(iter(graph.inputs.values())).shape
        shape = tuple(int(dim) for dim in whole[1:])
        layout, crop = "NHWC", None
        options: dict[str, Any] = {"n_classes": classes}
        if len(shape) == 3:
            layout = image_layout(whole, graph.name, self.layout)
            height, width, channels = (int(whole[axis]) for axis in image_axes(layout))
            crop = (height, width)
            options |= {"size": crop, "channels": channels, "alpha": self.alpha}
        data: Dataset = open_data(path, "train", **options)
        test: Dataset | None = None
        if self.holdout:
            data, test = holdout(data, self.holdout, seed)
        else:
            with contextlib.suppress(NoSplitError):
                test = open_data(path, "test", **options)
        notes = [tell_left_out({**data.left_out, **(test.left_out if test else {})})]
        normal: dict[str, Any] = {}
        if not self.raw:
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
        if test is None:
            return Batches(loader, None, tuple(filter(None, notes)))
        plain = Augment(crop=crop, **normal).for_evaluation()
        tester = Loader(test, min(TEST_BATCH, len(test)), shuffle=False, augment=plain, layout=layout)
        return Batches(loader, tester, tuple(filter(None, notes)))

    def __str__(self) -> str:
        """As a checkpoint knows it."""
        others = [f", layout {self.layout}"] if self.layout else []
        others += [f", alpha {self.alpha}"] if self.alpha != "white" else []
        return f"pad {self.pad}, flip {self.flip}, raw {self.raw}, holdout {self.holdout}{''.join(others)}"
