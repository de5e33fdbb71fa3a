"""How the things in an image stand: boxes with key points.

found = alula.load("net.alula").predict("photo.jpg")
found.keypoints   # (N, K, 3): x, y in pixels of the image, and how likely the point is seen; boxes as in `detect.py`
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any, Self

import numpy as np

from alula.runtime.artifact.task import POSE, Task
from alula.runtime.data.placement import Placement
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph
from alula.runtime.tasks.decoding import Candidates
from alula.runtime.tasks.detect import Detections, Detector
from alula.runtime.tasks.predictor import Run

# COCO's points of a person, and the pairs of them that are joined (Lin et al., "Microsoft COCO", ECCV 2014)
COCO_POINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow", "right elbow",
    "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
)  # fmt: skip
COCO_LINES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10), (1, 2), (0, 1),
    (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
SEEN = 0.5  # a point that scores less is hidden


@frozen
class Poses(Detections):
    """What was found in one image, best first: see `Detections`.

    keypoints : (N, K, 3) float32 of x, y in pixels of the image, and a score from 0 to 1; (N, K, 2) where the network gives none
    """

    keypoints: Array = field(default_factory=lambda: np.zeros((0, 0, 3), np.float32))

    def at(self, rows: Array) -> Self:
        """Some of them, by their places (K,)."""
        return replace(super().at(rows), keypoints=self.keypoints[rows])

    def seen(self) -> Array:
        """(N, K) bool: the points that are seen; all where the network gives no score."""
        if self.keypoints.shape[2] == 2:
            return np.ones(self.keypoints.shape[:2], bool)
        seen: Array = self.keypoints[:, :, 2] >= SEEN
        return seen

    def results(self) -> list[dict[str, Any]]:
        """As the lines of `alula run --out` have them."""
        results = super().results()
        for result, points in zip(results, self.keypoints.tolist(), strict=True):
            result["keypoints"] = [
                [round(x, 2), round(y, 2), *(round(value, 4) for value in score)] for x, y, *score in points
            ]
        return results


class PoseFinder(Detector):
    """Finds things and their key points with a network: see `Detector`."""

    kind = POSE

    def answer(self, found: Candidates, where: Placement, size: tuple[int, ...]) -> Poses:
        """What was found, in pixels of the image."""
        assert found.details is not None
        numbers = self.task.keypoints[1] if self.task.keypoints else 3
        points = found.details.reshape(len(found.details), found.details.shape[1] // numbers, numbers)
        moved = np.concatenate([where.points_to_image(points[:, :, :2]), points[:, :, 2:]], axis=2)
        boxes = super().answer(found, where, size)
        return Poses(boxes.boxes, boxes.scores, boxes.classes, boxes.names, None, moved.astype(np.float32, copy=False))


def predictor(run: Run, graph: Graph, task: Task, where: str) -> PoseFinder:
    """What `open_predictor` asks for."""
    return PoseFinder(run, graph, task, where)
