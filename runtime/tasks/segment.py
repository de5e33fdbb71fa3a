"""Which pixels belong to the things in an image: boxes with masks.

found = alula.load("net.alula").predict("photo.jpg")
found.mask(0)     # (H, W) bool of the image, of the best thing; boxes as in `detect.py`
found.masks[0]    # the same within its box: left, top, pixels (h, w) bool
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np

from alula.runtime.artifact.task import SEGMENT, Task
from alula.runtime.data.placement import Placement
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph
from alula.runtime.tasks.decoding import Candidates
from alula.runtime.tasks.detect import Detections, Detector
from alula.runtime.tasks.masks import Mask, mask_of
from alula.runtime.tasks.predictor import Run


@frozen
class Segments(Detections):
    """What was found in one image, best first: see `Detections`.

    masks : of the boxes
    size  : (H, W) of the image
    """

    masks: tuple[Mask, ...] = ()
    size: tuple[int, int] = (0, 0)

    def at(self, rows: Array) -> Self:
        """Some of them, by their places (K,)."""
        return replace(super().at(rows), masks=tuple(self.masks[row] for row in rows))

    def mask(self, row: int) -> Array:
        """(H, W) bool: the pixels of one thing."""
        return self.masks[row].whole(*self.size)

    def class_map(self) -> Array:
        """(H, W) int64: of which class each pixel is, of the better thing where two share it; -1 where there is none."""
        out = np.full(self.size, -1, np.int64)
        for mask, kind in zip(reversed(self.masks), reversed(self.classes.tolist()), strict=True):
            h, w = mask.pixels.shape
            out[mask.top : mask.top + h, mask.left : mask.left + w][mask.pixels] = kind
        return out

    def results(self) -> list[dict[str, Any]]:
        """As the lines of `alula run --out` have them."""
        results = super().results()
        for result, mask in zip(results, self.masks, strict=True):
            result["area"] = mask.area
            result["mask"] = {"size": list(self.size), "counts": mask.run_lengths(*self.size)}
        return results


class Segmenter(Detector):
    """Finds things and their pixels with a network: see `Detector`."""

    kind = SEGMENT

    @property
    def has_things(self) -> bool:
        """Whether a box is one thing; else it is all of its class."""
        return self.task.decoder != "semantic_segment"

    def answer(self, found: Candidates, where: Placement, size: tuple[int, ...]) -> Segments:
        """What was found, in pixels of the image."""
        assert found.details is not None and found.shared is not None
        boxes = super().answer(found, where, size)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is outside
            masks = tuple(
                mask_of(factors, found.shared, box, where, size)
                for factors, box in zip(found.details, boxes.boxes, strict=True)
            )
        return Segments(boxes.boxes, boxes.scores, boxes.classes, boxes.names, None, masks, where.image)


def predictor(run: Run, graph: Graph, task: Task, where: str) -> Segmenter:
    """What `open_predictor` asks for."""
    return Segmenter(run, graph, task, where)
