"""Options that say how a network sees images and what its outputs are: for `pack`, `run`, `eval` and `verify`."""

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
RESIZES = ("stretch", "letterbox", "corner", "crop")
IMAGES = (*FIGURES, "size", "bgr", *RESIZES)  # options on preprocessing
COMPARED = ("colour", "scale", "mean", "std", "resize", "crop", "interpolation")  # of a preset with what a file says
BOXES = ("decoder", "conf", "iou", "anchors", "keypoints")  # options on what becomes of a detector's outputs


def add_imaging(parser: argparse.ArgumentParser) -> None:
    """Task, names of classes, preprocessing, decoder."""
    from alula.runtime.data.choices import TASKS
    from alula.runtime.tasks import decoders

    group = parser.add_argument_group("how the network sees images")
    group.add_argument(
        "--task", choices=TASKS, help="what its outputs are; default: classify if they are scores (N, C)"
    )
    group.add_argument(
        "--labels", type=Path, metavar="FILE", help="names of its classes: one a line, or a list or id2label in JSON"
    )
    group.add_argument("--size", type=size, metavar="H,W", help="of the image, if the network's input leaves it free")
    add_preprocessing(group)
    boxes = parser.add_argument_group("how a detector's outputs become boxes")
    boxes.add_argument("--decoder", choices=decoders.names(), help="the family of its outputs; some presets name it")
    boxes.add_argument("--anchors", type=anchors, metavar="W,H,W,H,...",
                       help="of the raw grids, the finest first; default: those of COCO")  # fmt: skip
    boxes.add_argument("--keypoints", type=keypoints, metavar="K,D",
                       help="of a pose: how many points of D numbers: 2 (x, y) or 3 (and a score; 3)")  # fmt: skip
    boxes.add_argument("--conf", type=part, metavar="X", help="least score of a box (0.25)")
    boxes.add_argument("--iou", type=part, metavar="X", help="greatest overlap of two boxes of a class (0.45)")


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
    how.add_argument("--corner", action="store_true", help="the same, with the image in the upper left corner")
    how.add_argument("--crop", type=share, nargs="?", const=1.0, metavar="X",
                     help="keep the proportions, cut out the centre: X of the short side (1)")  # fmt: skip


def numbers(text: str) -> tuple[float, ...]:
    """`0.485,0.456,0.406`."""
    return tuple(ratio(part) for part in text.split(","))


def anchors(text: str) -> tuple[float, ...]:
    """`10,13,16,30,...`: widths and heights."""
    found = numbers(text)
    if len(found) % 2 or not all(0 < side for side in found):
        raise argparse.ArgumentTypeError(f"expected widths and heights above 0, such as 10,13,16,30, got {text!r}")
    return found


def keypoints(text: str) -> tuple[int, int]:
    """`17,3`."""
    count, _, numbers_each = text.partition(",")
    if not (count.isascii() and count.isdigit() and len(count) <= 4 and int(count) and numbers_each in ("2", "3")):
        raise argparse.ArgumentTypeError(f"expected how many points, and 2 or 3 numbers, such as 17,3, got {text!r}")
    return int(count), int(numbers_each)


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


def part(text: str) -> float:
    """From 0 to 1."""
    value = ratio(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a part from 0 to 1, such as 0.25, got {text!r}")
    return value


def size(text: str) -> tuple[int, int]:
    """`224` or `192,256`: height and width."""
    parts = text.replace("x", ",").split(",")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and 0 < int(part) <= 1 << 14 for part in parts):
        raise argparse.ArgumentTypeError(f"expected H,W or one number for both, got {text!r}")
    return int(parts[0]), int(parts[-1])


def given(args: argparse.Namespace) -> list[str]:
    """The options of this file that were given, as they are written."""
    known = ((name, getattr(args, name, None)) for name in ("task", "labels", *IMAGES, *BOXES))
    return [f"--{name}" for name, value in known if value is not None and value is not False]


def chosen_preprocessing(args: argparse.Namespace, found: Preprocessing | None, where: str) -> Preprocessing | None:
    """What the options say, on the ground of what was found; None if neither says anything.

    raise : DataError if a preset contradicts what was found
    """
    from alula.runtime.data.preprocessing import Preprocessing
    from alula.runtime.tasks.presets import preset

    if not any(f"--{name}" in given(args) for name in IMAGES):
        return found
    made = preset(args.preset) if args.preset else found or Preprocessing()
    told = [name for name in ("scale", "mean", "std") if getattr(args, name) is not None]
    told += [*(("colour",) if args.bgr else ()), *(("resize", "crop") if any(map(args.__dict__.get, RESIZES)) else ())]
    kept = [name for name in COMPARED if name not in told]
    if args.preset and found and any(getattr(made, name) != getattr(found, name) for name in kept):
        raise DataError(
            f"{where}: expected no preset but what the file says ({found}), got --preset {args.preset}; leave it out, or "
            "give --mean, --std, --scale in its place"
        )
    for name in ("mean", "std", "scale", "size"):
        if getattr(args, name, None) is not None:
            made = replace(made, **{name: getattr(args, name)})
    if args.bgr:
        made = replace(made, colour="bgr")
    for resize in RESIZES[:-1]:
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
    from alula.runtime.artifact.task import ARRAYS, CLASSIFY, OF_THINGS, Task
    from alula.runtime.tasks import decoders
    from alula.runtime.tasks.detect import check_decoder
    from alula.runtime.tasks.labels import read_labels
    from alula.runtime.tasks.presets import preset_decoder

    if found is None and not given(args):
        return None
    how = chosen_preprocessing(args, found.preprocessing if found else None, where)
    if how is not None:
        if len(graph.inputs) != 1:
            raise GraphError(
                f"{where}: expected one input to feed images to, got {', '.join(graph.inputs)}; leave the options out"
            )
        how = how.for_input(next(iter(graph.inputs.values())), where, layout)
    classes = read_labels(args.labels) if args.labels else found.classes if found and args.task != ARRAYS else ()
    decoder = args.decoder or preset_decoder(args.preset)
    kind = args.task or (decoders.kind_of(decoder) if decoder else found.kind if found else None)
    if kind not in OF_THINGS:
        if unused := [f"--{name}" for name in BOXES if f"--{name}" in given(args)]:
            raise DataError(
                f"{unused[0]}: expected it for a network that finds things, got one for {kind or CLASSIFY}; add --task detect"
            )
        return Task(_checked(kind, graph, how, classes, where), classes, how)
    before = found if found is not None and found.kind == kind else Task(str(kind))
    thresholds = {
        name: getattr(args, name) for name in ("conf", "iou", "anchors", "keypoints") if getattr(args, name) is not None
    }
    made = replace(before, classes=classes, preprocessing=how, decoder=decoder or before.decoder, **thresholds)
    check_decoder(graph, made, where)
    return made


def refuse_unread(task: Task | None, note: str, where: str) -> None:
    """Refuse images for a network whose exporter said something that was left out, and say why.

    note  : what was left out, "" if nothing
    raise : DataError unless the options say how it sees images
    """
    if note and (task is None or task.preprocessing is None):
        raise DataError(
            f"{where}: expected preprocessing for an image, got none ({note}); say it with --preset, --labels, --size"
        )


def _checked(kind: str | None, graph: Graph, how: Preprocessing | None, classes: tuple[str, ...], where: str) -> str:
    """The task of a network that finds no things: the one that is named, else by its outputs.

    raise : DataError if classes do not fit it, GraphError if its outputs are no scores and someone says they are
    """
    from alula.runtime.artifact.task import ARRAYS, CLASSIFY
    from alula.runtime.tasks.classify import check_classes_fit, count_scores

    outputs = None
    if how is not None and kind != ARRAYS:
        try:
            outputs = count_scores(graph, how, where)
        except GraphError:
            if kind or classes:
                raise
            kind = ARRAYS
    check_classes_fit(classes, outputs, where)
    return kind or CLASSIFY
