"""What the zoo says of a network: `Entry`. A family of networks is a file with a dictionary `NETWORKS` of entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from alula.host.zoo.layers import Net

Make = Callable[[Net, str, int], str]


@dataclass(frozen=True)
class Entry:
    """A network of the zoo.

    make        : appends it to a `Net`, from its input and the number of classes; returns its output
    input_shape : of one image, (C, H, W)
    parameters  : how many it has with its own number of classes
    names       : whose names its weights have
    task        : classify, detect or segment
    multiple    : what height and width must be multiples of
    output      : name of its output
    decoder     : of a detector: how its output becomes boxes (`runtime/tasks/decoders/`)
    """

    make: Make
    input_shape: tuple[int, int, int]
    num_classes: int
    parameters: int
    names: str = "torchvision"
    task: str = "classify"
    multiple: int = 1
    output: str = "logits"
    decoder: str = ""


CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)
