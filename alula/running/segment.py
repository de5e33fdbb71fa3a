"""`alula run` for networks that find things and their pixels."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from alula.report import Cell, Report, Table
from alula.running import detect

if TYPE_CHECKING:
    from alula.device.tasks.annotate import AnnotatedVideo
    from alula.device.tasks.watch import Seen
    from alula.runtime.tasks.segment import Segmenter

OPTIONS = detect.OPTIONS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of boxes."""


def run(args: argparse.Namespace, segmenter: Segmenter) -> Report:
    """As for boxes; of one image also the area of each mask."""
    made = detect.run(args, segmenter, _draw)
    if made.document["frames"] == 1:
        rows: list[tuple[Cell, ...]] = []
        for number, one in enumerate(made.document["answers"][0]["results"], 1):
            height, width = one["mask"]["size"]
            rows.append((number, one["name"], one["area"], f"{one['area'] / (height * width):.1%}"))
        made.parts.insert(1, Table(("box", "name", "pixels", "of the image"), rows))
    return made


def _draw(drawn: AnnotatedVideo, seen: Seen[Any]) -> None:
    from alula.device.tasks.painting import paint_masks

    detect.draw_boxes(drawn, seen, paint_masks(seen.answer.masks, seen.answer.classes))
