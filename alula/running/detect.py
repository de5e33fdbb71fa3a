"""`alula run` for networks that find things: boxes with names and scores."""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from alula.report import Cell, Report, Table
from alula.running.looking import look, report

if TYPE_CHECKING:
    from alula.device.tasks.annotate import AnnotatedVideo
    from alula.device.tasks.painting import Paint
    from alula.device.tasks.watch import Seen
    from alula.runtime.tasks.detect import Detections, Detector

OPTIONS = ("classes_only", "agnostic", "no_tracks")
SHOWN = 5  # names in a row of a folder's table


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which boxes."""
    parser.add_argument("--classes-only", type=names, action="extend", metavar="NAME,NAME",
                        help="boxes: only of these classes; may be repeated; a name with a comma in double quotes")  # fmt: skip
    parser.add_argument(
        "--agnostic", action="store_true", help="boxes: those of different classes drop each other, too"
    )
    parser.add_argument("--no-tracks", action="store_true", help="boxes: each frame of a video for itself")


def names(text: str) -> tuple[str, ...]:
    """`person,car`, `"car, red",dog`: one line of CSV."""
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error:
        rows = []
    found = tuple(name.strip() for row in rows for name in row if name.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"expected names of classes, such as person,car, got {text!r}")
    return found


def run(
    args: argparse.Namespace, detector: Detector, draw: Callable[[AnnotatedVideo, Seen[Any]], None] | None = None
) -> Report:
    """Every box of one image, the names in each of a folder's, how many of each there are in a video. draw : boxes, if not said"""
    from alula.device.tasks.detect import BoxWatch

    looked, watch = look(
        args,
        detector,
        lambda log: BoxWatch(
            detector, args.classes_only or (), args.agnostic, args.every or 1, log, not args.no_tracks
        ),
        draw or draw_boxes,
        lambda answer: f"{len(answer)} boxes",
    )
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    boxes = watch.counts.total()
    if watch.frames == 1:
        columns = ("class", "name", "score", "left", "top", "right", "bottom")
        rows = [
            (one["class"], one["name"], f"{one['score']:.4f}", *(f"{edge:.1f}" for edge in one["box"]))
            for one in looked.answers[0]["results"]
        ]
    elif looked.source.sequence:
        tracked = not args.no_tracks and detector.has_things
        columns = ("name", *(("objects",) if tracked else ()), "boxes", "per frame")
        rows = [
            (name, *((watch.objects[name],) if tracked else ()), count, f"{count / watch.frames:.2f}")
            for name, count in watch.counts.most_common()
        ]
    else:
        columns = ("image", "boxes", "names")
        rows = [(answer["image"], len(answer["results"]), _names(answer["results"])) for answer in looked.answers]
    made = report(
        args,
        looked,
        watch,
        Table(columns, rows),
        "boxes",
        boxes=boxes,
        names=dict(watch.counts),
        objects=dict(watch.objects),
    )
    made.parts.append(f"{boxes} boxes, {boxes / watch.frames:.1f} per {'frame' if looked.source.sequence else 'image'}")
    return made


def _names(results: list[dict[str, Any]]) -> str:
    """Those in an image, the most frequent first."""
    counts = Counter(one["name"] for one in results).most_common()
    shown = ", ".join(f"{name} ({count})" for name, count in counts[:SHOWN])
    return shown + (", ..." if len(counts) > SHOWN else "")


def draw_boxes(drawn: AnnotatedVideo, seen: Seen[Any], paint: Paint | None = None) -> None:
    """Boxes with their names into a video. paint : draws what lies under them"""
    answer: Detections = seen.answer
    tracks = [""] * len(answer) if answer.tracks is None else [f"{track} " for track in answer.tracks]
    labels = [
        f"{track}{name} {score:.2f}" for track, name, score in zip(tracks, answer.names, answer.scores, strict=True)
    ]
    drawn.watch_boxes(seen.frame, answer.boxes, labels, paint)
