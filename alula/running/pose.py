"""`alula run` for networks that find things and their key points."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from alula.report import Cell, Report, Table
from alula.running import detect

if TYPE_CHECKING:
    from alula.device.tasks.annotate import AnnotatedVideo
    from alula.device.tasks.watch import Seen
    from alula.runtime.tasks.pose import PoseFinder, Poses

OPTIONS = detect.OPTIONS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of boxes."""


def run(args: argparse.Namespace, finder: PoseFinder) -> Report:
    """As for boxes; of one image also the points."""
    from alula.runtime.tasks.pose import COCO_POINTS

    made = detect.run(args, finder, _draw)
    if made.document["frames"] == 1:
        rows: list[tuple[Cell, ...]] = []
        for number, one in enumerate(made.document["answers"][0]["results"], 1):
            points = one["keypoints"]
            names = COCO_POINTS if len(points) == len(COCO_POINTS) else [str(place) for place in range(len(points))]
            for name, (x, y, *score) in zip(names, points, strict=True):
                rows.append((number, name, f"{x:.1f}", f"{y:.1f}", *(f"{value:.2f}" for value in score or [1.0])))
        made.parts.insert(1, Table(("box", "point", "x", "y", "score"), rows))
    return made


def _draw(drawn: AnnotatedVideo, seen: Seen[Any]) -> None:
    from alula.device.tasks.painting import paint_points
    from alula.runtime.tasks.pose import COCO_LINES, COCO_POINTS

    answer: Poses = seen.answer
    lines = COCO_LINES if answer.keypoints.shape[1] == len(COCO_POINTS) else ()
    detect.draw_boxes(drawn, seen, paint_points(answer.keypoints, answer.seen(), lines))
