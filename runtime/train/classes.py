"""Networks that tell classes apart: what they must look like, and the batches of images that they are trained with."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from alula.runtime.data import Augment, Dataset, Loader, holdout, moments, open_data
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
class Images:
    """How a data set becomes batches.

    pad     : border around an image before a random crop
    flip    : mirror every other image
    raw     : leave channels as they are; else they get mean 0 and deviation 1
    holdout : test with this part of the training set
    """

    pad: int = 0
    flip: bool = False
    raw: bool = False
    holdout: float | None = None

    def loaders(self, path: Path, graph: Graph, classes: int, batch: int, seed: int) -> tuple[Loader, Loader | None]:
        """Batches to train and to test with; None if the data set has no test set."""
        shape = tuple(int(dim) for dim in next(iter(graph.inputs.values())).shape[1:])
        options: dict[str, Any] = {"n_classes": classes}
        if len(shape) == 3:
            options |= {"size": shape[1:], "channels": shape[0]}
        data: Dataset = open_data(path, "train", **options)
        test: Dataset | None = None
        if self.holdout:
            data, test = holdout(data, self.holdout, seed)
        else:
            with contextlib.suppress(NoSplitError):
                test = open_data(path, "test", **options)
        normal: dict[str, Any] = {} if self.raw else dict(moments(data).as_options())
        crop = shape[1:] if len(shape) == 3 else None
        if crop and self.pad > max(crop):
            raise DataError(f"--pad: expected at most the image's size {max(crop)}, got {self.pad}; make it smaller")
        augment = Augment(crop=crop, padding=self.pad, flip=self.flip, **normal)
        layout = "NCHW" if len(shape) == 3 else "NHWC"
        loader = Loader(data, batch, seed=seed, drop_last=True, augment=augment, layout=layout, reuse=True)
        if loader.sample_shape != shape:
            raise DataError(f"{data.name}: expected samples {shape}, got {loader.sample_shape}; choose another network")
        if test is None:
            return loader, None
        plain = Augment(crop=crop, **normal).for_evaluation()
        return loader, Loader(test, min(TEST_BATCH, len(test)), shuffle=False, augment=plain, layout=layout)

    def __str__(self) -> str:
        """As a checkpoint knows it."""
        return f"pad {self.pad}, flip {self.flip}, raw {self.raw}, holdout {self.holdout}"
