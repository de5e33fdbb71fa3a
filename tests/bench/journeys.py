"""From photographs in folders to a network that names what it sees: the commands that people type, and the figures they must agree on.

    python -m tests.bench.journeys --json journeys.json [--images 100]

ResNet-20 is trained for one epoch, evaluated, run on the test images as files, exported to ONNX, and run by onnxruntime on the
same files with the preprocessing that the ONNX file carries. The images are CIFAR-10's as JPEG files where ALULA_DATA holds them,
else noise in ten colours. Summary: eval_accuracy, run_equals_eval_ratio (accuracy of `alula run` over that of `alula eval`),
predict_equals_run_ratio (images on which `predict` says the same), onnx_equals_run_ratio (images on which onnxruntime says the same),
train_s, run_images_per_s; with foolbox installed (`make oracles`) photographs_right of its 20, of EfficientNet-Lite0 by `alula run`, and
photographs_right_onnxruntime with the same preprocessing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import alula
from alula.cli import main as command
from alula.host.onnx.importer import import_onnx
from alula.host.ort import OrtModel
from alula.report import Table
from alula.runtime.artifact.task import ONNX_KEY, parse_task
from alula.runtime.data.decoder import open_image
from alula.runtime.data.opencv import opencv
from tests.bench.output import finish

ARCHIVE = "cifar10.tar.gz"
NETWORK = "zoo:resnet20-cifar"


def photographs(folder: Path, count: int) -> str:
    """Class folders train/ and test/ with `count` and `count` / 2 images for each class; what they are."""
    archive = Path(os.environ.get("ALULA_DATA", "")) / ARCHIVE
    if os.environ.get("ALULA_DATA") and archive.is_file():
        taken: dict[str, int] = {}
        with tarfile.open(archive) as content:
            for member in content:
                place = Path(member.name)
                if not member.isfile() or place.suffix != ".jpg":
                    continue
                split = place.parts[-3]
                key = f"{split}/{place.parts[-2]}"
                if taken.get(key, 0) < (count if split == "train" else count // 2):
                    taken[key] = taken.get(key, 0) + 1
                    content.extract(member, folder, filter="data")
        return "CIFAR-10"
    cv2 = opencv("images for the benchmark")
    rng = np.random.default_rng(0)
    for split, many in (("train", count), ("test", count // 2)):
        for label in range(10):
            place = folder / "noise" / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(many):
                image = rng.integers(0, 180, (32, 32, 3)) + np.array([label % 3, label // 3, label % 4]) * 8
                cv2.imwrite(str(place / f"{number:04}.jpg"), image.astype(np.uint8))
    return "noise"


def asked(*words: object) -> dict[str, Any]:
    """What a command answers."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = command([*map(str, words), "--json"])
    if status:
        raise SystemExit(f"alula {' '.join(map(str, words))}: ended with {status}")
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def journey(folder: Path, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole way; summary and details."""
    what = photographs(folder, count)
    (data,) = (place for place in folder.iterdir() if place.is_dir())
    packed, exported = folder / "net.alula", folder / "net.onnx"
    began = time.perf_counter()
    asked("train", NETWORK, "--data", data, "--epochs", 1, "--batch", 32, "--lr", 0.05, "--threads", 1, "-o", packed)
    train_s = time.perf_counter() - began
    evaluated = asked("eval", packed, "--data", data, "--threads", 1)
    asked("export", packed, "-o", exported)
    task = parse_task(import_onnx(exported).metadata[ONNX_KEY], exported.name)
    assert task.preprocessing is not None
    model, session = alula.load(packed, threads=1), OrtModel(exported, 1)
    right = same_predict = same_onnx = total = 0
    run_s = 0.0
    for place in sorted((data / "test").iterdir()):
        answers = asked("run", packed, place, "--top", 1, "--threads", 1)
        run_s += answers["duration_s"]
        for answer in answers["answers"]:
            path, name = place / answer["image"], answer["results"][0]["name"]
            x = task.preprocessing(open_image(path, task.preprocessing.channels))
            theirs = next(iter(session({session.inputs[0]: x}).values()))
            total, right = total + 1, right + (name == place.name)
            same_predict += model.predict(path).name == name
            same_onnx += task.classes[int(theirs.argmax())] == name
    summary = {
        "eval_accuracy": evaluated["accuracy"],
        "run_equals_eval_ratio": right / total / evaluated["accuracy"] if evaluated["accuracy"] else float(right == 0),
        "predict_equals_run_ratio": same_predict / total,
        "onnx_equals_run_ratio": same_onnx / total,
        "train_s": train_s,
        "run_images_per_s": total / run_s,
    }
    return summary, {"images": what, "tested": total, "evaluation": evaluated}


def photographs_right(folder: Path) -> dict[str, Any]:
    """EfficientNet-Lite0 on the labelled photographs of foolbox, as files, by `alula run` and by onnxruntime; {} without the package."""
    found = find_spec("foolbox")
    if found is None or not found.origin:
        return {}
    model, place = folder / "lite0.onnx", folder / "photographs"
    place.mkdir()
    for path in (Path(found.origin).parent / "data").glob("imagenet_*.jpg"):
        shutil.copy(path, place)
    asked("zoo", "efficientnet-lite0", "--pretrained", "-o", model)
    asked("pack", model, "-o", folder / "lite0.alula")
    answers = asked("run", folder / "lite0.alula", place, "--top", 1)["answers"]
    ours = sum(
        Path(answer["image"]).stem.rpartition("_")[2] == str(answer["results"][0]["class"]) for answer in answers
    )
    how = parse_task(import_onnx(model).metadata[ONNX_KEY], model.name).preprocessing
    assert how is not None
    session, theirs = OrtModel(model), 0
    for path in place.iterdir():
        scores = next(iter(session({session.inputs[0]: how(open_image(path, 3))}).values()))
        theirs += path.stem.rpartition("_")[2] == str(int(scores.argmax()))
    return {"photographs": len(answers), "photographs_right": ours, "photographs_right_onnxruntime": theirs}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images", type=int, default=100, help="training images of each class (100); half as many are tested"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary, details = journey(Path(folder), args.images)
        summary |= photographs_right(Path(folder))
    rows = [(row["name"], row["samples"], row["right"]) for row in details["evaluation"]["classes"]]
    finish(summary, details, Table(("class", "samples", "right"), rows), args.json)


if __name__ == "__main__":
    main()
