"""What decoders of detectors know and give: `Outputs` of a network, `Fit` of a decoder to them, `Candidates` for boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alula.runtime.artifact.task import MAX_CLASSES
from alula.runtime.compiler.loader import library, word_of
from alula.runtime.errors import DataError, GraphError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array
from alula.runtime.kernels.boxes import BLOCK
from alula.runtime.tasks import decoders
from alula.runtime.tasks.classify import check_classes_fit

STRIDES = ((8, 16, 32), (8, 16, 32, 64))  # of the grids of a detector without anchors


@frozen
class Outputs:
    """What a network gives for one image.

    shapes  : of its outputs, in order
    dtypes  : of these
    size    : (H, W) of its input
    classes : how many are named; 0 if their names are not known
    ops     : in the network
    points  : (K, D) of a pose, as `Task` has them; () if they are not known
    anchors : of the grids, as `Task` has them; () if they are not known
    ends    : of each output, the last op that changes numbers; () if they are not known
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    size: tuple[int, int]
    classes: int = 0
    ops: frozenset[str] = frozenset()
    points: tuple[int, ...] = ()
    anchors: tuple[float, ...] = ()
    ends: tuple[str, ...] = ()

    def only(self, rank: int = 3) -> tuple[int, ...]:
        """The shape of the only output, for one image; () if there are others or it is of another rank."""
        shape = self.shapes[0] if len(self.shapes) == 1 else ()
        return shape if len(shape) == rank and shape[0] == 1 else ()

    def are_points(self, numbers: int, boxes: int) -> bool:
        """Whether so many numbers of a box are its key points. If these are not known, each has three, and boxes are more."""
        if self.points:
            return numbers == math.prod(self.points)
        return 0 < numbers < boxes and numbers % 3 == 0

    def with_prototypes(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The shapes of boxes (1, A, B) and of prototypes (1, M, h, w), in any order; None if the outputs are others."""
        shapes = sorted(self.shapes, key=len)
        if [len(shape) for shape in shapes] != [3, 4] or any(shape[0] != 1 or min(shape) < 1 for shape in shapes):
            return None
        return shapes[0], shapes[1]

    def are(self, classes: int, boxes: int) -> bool:
        """Whether so many classes agree with the names. Where there are none, they must be fewer than boxes."""
        return 1 <= classes == (self.classes or classes) and (self.classes > 0 or classes < boxes)


@dataclass(frozen=True, slots=True, eq=False)  # a few for each frame: made faster than by `frozen`
class Candidates:
    """Boxes in pixels of the network's input.

    boxes   : (N, 4) float32 of left, top, right, bottom
    scores  : (N,) float32
    classes : (N,) int64
    details : (N, E) float32, more of each box: key points, or factors of the prototypes; None if there is nothing more
    shared  : (M, h, w) float32, prototypes of the masks of all boxes; None if there are none
    """

    boxes: Array
    scores: Array
    classes: Array
    details: Array | None = None
    shared: Array | None = None

    def at(self, rows: Array) -> Candidates:
        """Some of them, by their places (K,)."""
        details = None if self.details is None else self.details.take(rows, axis=0)
        return Candidates(
            self.boxes.take(rows, axis=0), self.scores.take(rows), self.classes.take(rows), details, self.shared
        )


@frozen
class Fit:
    """A decoder that fits.

    decode   : (outputs, conf) -> candidates, among them all whose score is above conf
    classes  : of the network; None if its outputs do not tell
    is_apart : whether the network itself has dropped boxes that overlap
    """

    decode: Callable[[Sequence[Array], float], Candidates]
    classes: int | None
    is_apart: bool = False


def fit_of(name: str, outputs: Outputs) -> Fit | None:
    """How a decoder reads the outputs; None if it does not fit. Grids beside decoded boxes, as some exports have them, are left out."""
    decoder = decoders.find(name)
    if found := decoder.fit(outputs):
        return found
    kept = [place for place, shape in enumerate(outputs.shapes) if not _is_grid(shape, outputs.size)]
    if not kept or len(kept) == len(outputs.shapes):
        return None
    picked: dict[str, Any] = {
        field: tuple(getattr(outputs, field)[place] for place in kept)
        for field in ("shapes", "dtypes", "ends")
        if getattr(outputs, field)
    }
    if (fit := decoder.fit(replace(outputs, **picked))) is None:
        return None
    return replace(fit, decode=lambda arrays, conf: fit.decode([arrays[place] for place in kept], conf))


def _is_grid(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether an output is the map of a grid: (1, K, h, w), or (1, A, h, w, K)."""
    cells = {(-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES[-1]}
    return len(shape) in (4, 5) and shape[2:4] in cells


def fit_decoder(name: str, outputs: Outputs, where: str, kind: str = "detect") -> Fit:
    """The decoder of a name, for the outputs of a network. kind : of its task

    raise : GraphError if the outputs are of another family, DataError if their classes are not those that are named
    """
    if name and (found := fit_of(name, outputs)):
        return found
    shown = ", ".join(str(shape) for shape in outputs.shapes[:4]) + (", ..." if len(outputs.shapes) > 4 else "")
    if name and outputs.classes and (free := fit_of(name, replace(outputs, classes=0))):
        check_classes_fit(("",) * outputs.classes, free.classes, where)
        raise DataError(f"{where}: expected outputs for {outputs.classes} classes, got {shown}; correct the labels")
    fitting = [other for other in decoders.names(kind) if fit_of(other, outputs)]
    advice = " or ".join(f"--decoder {other}" for other in fitting)
    advice = f"{advice} would fit" if advice else "no decoder fits, --task arrays gives them as they are"
    wanted = f"the decoder {name}, {decoders.find(name).LAYOUT}," if name else "a decoder that is named,"
    raise GraphError(f"{where}: expected outputs of {wanted} got {shown}; {advice}")


Best = tuple[Array, Array, Array]  # places (K,) int64 ascending, classes (K,) int64, their scores (K,) float32


def best_of_columns(scores: Array, conf: float) -> Best:
    """Columns of (C, N) float32 whose best score is above conf, and its row; of equal scores the first."""
    return _table(_scan(scores, conf, scores, scores, False))


def boxes_of_columns(columns: Array, conf: float, classes: int | None = None) -> Candidates:
    """The same of (4 + C + E, N) float32 whose first rows are centre x, centre y, width and height, as boxes.

    classes : C, after which come E details; None if there are none
    """
    boxes = np.empty((columns.shape[1], 4), np.float32)
    end = len(columns) if classes is None else 4 + classes
    places, kinds, scores = _table(_scan(columns[4:end], conf, columns, boxes, True))
    found = Candidates(boxes[: len(kinds)], scores, kinds)
    return found if classes is None else with_details(found, columns[end:].take(places, axis=1).T)


def with_details(found: Candidates, details: Array, shared: Array | None = None) -> Candidates:
    """The candidates with details (N, E), without those whose details are not finite."""
    good = np.flatnonzero(np.isfinite(details).all(axis=1))
    return replace(found, details=np.ascontiguousarray(details), shared=shared).at(good)


def with_prototypes(arrays: Sequence[Array], read: Callable[[Array], Candidates]) -> Candidates:
    """Candidates of boxes (1, A, B) and prototypes (1, M, h, w), in any order. read : the boxes"""
    boxes, prototypes = sorted(arrays, key=lambda array: array.ndim)
    return replace(read(boxes), shared=plain(prototypes))


def _scan(scores: Array, conf: float, centres: Array, boxes: Array, corners: bool) -> Array:
    (classes, n), best = scores.shape, np.empty(2 * BLOCK, np.int32)
    found = np.empty(1 + 3 * n, np.int64)
    library().call("best_of_columns", scores, classes, n, _bits(conf), best, centres, corners, boxes, found)
    return found


def best_of_rows(rows: Array, first: int, classes: int, conf: float, gate: int = -1) -> Best:
    """Rows of (N, K) float32 whose best score, from column `first` on, is above conf, and its class.

    gate : a column that must be above conf in its place
    """
    n, width = rows.shape
    found = np.empty(1 + 3 * n, np.int64)
    library().call("best_of_rows", rows, n, width, first, classes, gate, _bits(conf), found)
    return _table(found)


def _table(found: Array) -> Best:
    """What the kernels found: three columns, each with room for all."""
    n, count = len(found) // 3, found[0]
    places, kinds, values = (found[1 + k * n : 1 + k * n + count] for k in range(3))
    return places, kinds, values.astype(np.int32).view(np.float32)


def apart(candidates: Candidates, conf: float, iou: float, classes: int | None = None, agnostic: bool = False) -> Array:
    """Rows of the candidates that count and that no better one overlaps by more than iou, best first; of equal ones the first.

    What is not finite or ends before it begins is no box, and a score above conf counts.
    classes  : of the network: others do not count; None if they are not known
    agnostic : a box of another class drops it, too
    """
    scores, kinds = np.ascontiguousarray(candidates.scores), np.ascontiguousarray(candidates.classes)
    boxes, n = np.ascontiguousarray(candidates.boxes), len(scores)
    n_kinds = 1 + int(kinds.max(initial=0)) if classes is None else classes
    kept = np.empty(1 + 3 * n + n_kinds, np.int64)
    library().call("keep_apart", boxes, scores, kinds, n, n_kinds, _bits(conf), float(iou), agnostic, kept)
    return kept[1 : 1 + kept[0]]


def plain(output: Array) -> Array:
    """The output of one image without its first axis: float32, in C order."""
    return np.ascontiguousarray(output[0], np.float32)


def numbers_of(labels: Array) -> Array:
    """Classes (K,) as an output has them, int64; -1, which is none, for what is no number of a class."""
    return np.where((labels > -1) & (labels < MAX_CLASSES), labels, -1).astype(np.int64)


def from_centres(boxes: Array) -> Array:
    """(4, N) of centre x, centre y, width, height as (N, 4) of left, top, right, bottom."""
    half, corners = boxes[2:] * np.float32(0.5), np.empty(boxes.shape, boxes.dtype)
    np.subtract(boxes[:2], half, out=corners[:2])
    np.add(boxes[:2], half, out=corners[2:])
    return corners.T


def strides_of(size: tuple[int, int], count: int) -> tuple[int, ...] | None:
    """The strides whose grids have so many cells in all."""
    return next((some for some in STRIDES if sum(_cells(size, stride) for stride in some) == count), None)


def grid(size: tuple[int, int], strides: Sequence[int]) -> tuple[Array, Array]:
    """Each cell of the grids: its place (N, 2) in cells (x, y) and its stride (N, 1), float32."""
    places = []
    for stride in strides:
        y, x = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
        places.append(np.stack([x.ravel(), y.ravel()], axis=1))
    steps = np.repeat(strides, [len(some) for some in places])
    return np.concatenate(places).astype(np.float32), steps.astype(np.float32)[:, None]


def from_distances(centres: Array, figures: Array, strides: Array) -> Array:
    """Boxes (N, 4) around centres, from distributions of the distance to each side.

    centres : (N, 2) x, y in pixels
    figures : (N, 4 * BINS), left, top, right, bottom; a softmax makes distributions of them
    strides : (N, 1), of a bin
    source  : Li et al., "Generalized focal loss", NeurIPS 2020, section 3
    """
    bins = figures.reshape(len(figures), 4, figures.shape[1] // 4)
    powers = np.exp(bins - bins.max(axis=2, keepdims=True))
    shares = powers / powers.sum(axis=2, keepdims=True)
    away = (shares @ np.arange(bins.shape[2], dtype=np.float32)) * strides
    return np.concatenate([centres - away[:, :2], centres + away[:, 2:]], axis=1)


def _cells(size: tuple[int, int], stride: int) -> int:
    return -(-size[0] // stride) * -(-size[1] // stride)


def _bits(conf: float) -> int:
    return word_of(float(conf))
