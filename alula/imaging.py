"""Options that say how a network sees images and what its outputs are called: for `pack`, `run`, `eval` and `verify`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alula.runtime.errors import DataError, GraphError

if TYPE_CHECKING:
    from alula.runtime.artifact.task import Task
    from alula.runtime.data.preprocessing import Preprocessing
    from alula.runtime.graph import Graph

FIGURES = ("preset", "mean", "std", "scale")  # options on the figures of preprocessing
IMAGES = (*FIGURES, "size", "bgr", "stretch", "letterbox", "crop")  # options on preprocessing


def add_imaging(parser: argparse.ArgumentParser) -> None:
    """Task, names of classes, preprocessing."""
    from alula.runtime.data.choices import TASKS

    group = parser.add_argument_group("how the network sees images")
    group.add_argument(
        "--task", choices=TASKS, help="what its outputs are; default: classify if they are scores (N, C)"
    )
    group.add_argument(
        "--labels", type=Path, metavar="FILE", help="names of its classes: one a line, or a list or id2label in JSON"
    )
    group.add_argument("--size", type=size, metavar="H,W", help="of the image, if the network's input leaves it free")
    add_preprocessing(group)


def add_preprocessing(group: argparse._ActionsContainer) -> None:
    """Colours, figures, resize."""
    from alula.runtime.tasks.presets import PRESETS

    group.add_argument("--preset", choices=PRESETS, help="a usual preprocessing; the options below change it")
    group.add_argument(
        "--mean", type=numbers, metavar="X[,X,X]", help="(x * scale - mean) / std, for all channels or each"
    )
    group.add_argument("--std", type=numbers, metavar="X[,X,X]")
    group.add_argument("--scale", type=ratio, metavar="X", help="default 1/255; 1 for values from 0 to 255")
    group.add_argument("--bgr", action="store_true", help="channels blue, green, red; default: red, green, blue")
    how = group.add_mutually_exclusive_group()
    how.add_argument("--stretch", action="store_true", help="bring the whole image to the size")
    how.add_argument("--letterbox", action="store_true", help="keep the proportions, with a grey border")
    how.add_argument("--crop", type=share, nargs="?", const=1.0, metavar="X",
                     help="keep the proportions, cut out the centre: X of the short side (1)")  # fmt: skip


def numbers(text: str) -> tuple[float, ...]:
    """`0.485,0.456,0.406`."""
    return tuple(ratio(part) for part in text.split(","))


def ratio(text: str) -> float:
    """`0.5` or `1/255`."""
    above, slash, below = text.partition("/")
    try:
        value = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = float("nan")
    if not abs(value) < 1e30:
        raise argparse.ArgumentTypeError(f"expected a number, or a fraction such as 1/255, got {text!r}")
    return value


def share(text: str) -> float:
    """Above 0, up to 1."""
    value = ratio(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a part above 0, up to 1, such as 0.875, got {text!r}")
    return value


def size(text: str) -> tuple[int, int]:
    """`224` or `192,256`: height and width."""
    parts = text.replace("x", ",").split(",")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and 0 < int(part) <= 1 << 14 for part in parts):
        raise argparse.ArgumentTypeError(f"expected H,W or one number for both, got {text!r}")
    return int(parts[0]), int(parts[-1])


def given(args: argparse.Namespace) -> list[str]:
    """The options of this file that were given, as they are written."""
    return [f"--{name}" for name in ("task", "labels", *IMAGES) if getattr(args, name, None) not in (None, False)]


def chosen_preprocessing(args: argparse.Namespace, found: Preprocessing | None, where: str) -> Preprocessing | None:
    """What the options say, on the ground of what was found; None if neither says anything.

    raise : DataError if a preset contradicts what was found
    """
    from alula.runtime.data.preprocessing import Preprocessing
    from alula.runtime.tasks.presets import preset

    if not any(f"--{name}" in given(args) for name in IMAGES):
        return found
    made = preset(args.preset) if args.preset else found or Preprocessing()
    figures = ("colour", "scale", "mean", "std")
    if args.preset and found and any(getattr(made, name) != getattr(found, name) for name in figures):
        raise DataError(
            f"{where}: expected no preset but what the file says ({found}), got --preset {args.preset}; leave it out, or "
            "give --mean, --std, --scale to overrule the file"
        )
    for name in ("mean", "std", "scale", "size"):
        if getattr(args, name, None) is not None:
            made = replace(made, **{name: getattr(args, name)})
    if args.bgr:
        made = replace(made, colour="bgr")
    for resize in ("stretch", "letterbox"):
        if getattr(args, resize):
            made = replace(made, resize=resize)
    return made if args.crop is None else replace(made, resize="crop", crop=args.crop)


def chosen_task(
    args: argparse.Namespace, found: Task | None, graph: Graph, where: str, layout: str | None = None
) -> Task | None:
    """The task of a graph by what was found and what the options say; None if neither says anything.

    layout : of the image, if the input's shape does not tell
    raise  : DataError, ShapeError or GraphError if it does not fit the graph
    """
    from alula.runtime.artifact.task import ARRAYS, CLASSIFY, Task
    from alula.runtime.tasks.classify import check_classes_fit, count_scores
    from alula.runtime.tasks.labels import read_labels

    if found is None and not given(args):
        return None
    how = chosen_preprocessing(args, found.preprocessing if found else None, where)
    if how is not None:
        if len(graph.inputs) != 1:
            raise GraphError(
                f"{where}: expected one input to feed images to, got {', '.join(graph.inputs)}; leave the options out"
            )
        how = how.for_input(next(iter(graph.inputs.values())), where, layout)
    classes = read_labels(args.labels) if args.labels else found.classes if found else ()
    kind = args.task or (found.kind if found else None)
    outputs = None
    if how is not None and kind != ARRAYS:
        try:
            outputs = count_scores(graph, how, where)
        except GraphError:
            if kind or classes:
                raise
            kind = ARRAYS
    check_classes_fit(classes, outputs, where)
    return Task(kind or CLASSIFY, classes, how)
