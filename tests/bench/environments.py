"""Every command in every hostile environment, and with every hostile file: one line or an answer, never more.

    python -m tests.bench.environments --json environments.json [--only WORDS]

Each run is a forked process (`tests/hostile.py`). Bad is: a traceback or an internal fault, more than one line of refusal,
300 characters or more, another status than 0, 1, 2, more than 1 GB, or no end within --limit seconds. Summary:
environments_bad, environments_runs; hostile_files_bad, hostile_files_runs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import alula
from alula.demo.networks import ocr_models, pack_networks
from alula.report import Table
from alula.runtime.compiler.loader import library
from alula.runtime.data.opencv import opencv
from tests.bench.output import finish
from tests.hostile import PLAIN, Inputs, Surroundings, commands, good_inputs, hostile_files, run, surroundings

MAX_SHOWN = 300  # characters of a complaint
FOREIGN = ("onnx", "onnxruntime", "rich.console", "rich.progress")
Case = tuple[str, list[str | Path], Surroundings | None]


def preload() -> None:
    """Import what commands import: another user may not be allowed to read it. OpenCV reads its settings then."""
    opencv("pictures")
    for name in FOREIGN:
        importlib.import_module(name)
    for package in ("alula.commands", "alula.runtime", "alula.host", "alula.device", "alula.demo"):
        module = importlib.import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if ".ops." not in found.name and "compiler" not in found.name and "picamera" not in found.name:
                importlib.import_module(found.name)


def keep_pack(folder: Path) -> Path:
    """A copy of this machine's kernels that everybody may read: without one each run would compile them."""
    pack = library().path
    for suffix in (".so", ".json"):
        shutil.copy(pack.with_suffix(suffix), folder / f"pack{suffix}")
    return folder / "pack.so"


def in_surroundings(inputs: Inputs, folder: Path) -> Iterator[Case]:
    """Every command everywhere."""
    out = folder / "out"
    out.mkdir(mode=0o777)
    for everything in surroundings(folder):
        for name, words in commands(inputs, out).items():
            around = everything
            if words and words[0] in ("doctor", "kernels"):  # these look for packs where they usually are
                around = replace(around, variables={**around.variables, "ALULA_PACK": None})
            yield f"{name} / {around.name}", words, around


def on_files(inputs: Inputs, folder: Path, spotter: Path | None) -> Iterator[Case]:
    """Every argument of every command that names a file."""
    import cv2

    out = folder / "out of files"
    out.mkdir()
    archive, picture, metadata = folder / "x.npz", folder / "x.png", folder / "about.json"
    np.savez(archive, x=np.load(inputs.array))
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    metadata.write_text('{"task": "none"}')
    video, data = folder / "x.avi", folder / "data.npz"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(4):
        writer.write(np.full((48, 64, 3), 60 * i, np.uint8))
    writer.release()
    np.savez(data, x_train=np.zeros((8, 8, 8, 3), np.uint8), y_train=np.arange(8) % 2)
    train: list[str | Path] = ["--epochs", "1", "--batch", "2", "-o", out / "t.alula"]
    slots: dict[str, tuple[Path, list[str | Path]]] = {
        "pack": (inputs.onnx, ["pack", "FILE", "-o", out / "p.alula"]),
        "pack --metadata": (metadata, ["pack", inputs.onnx, "-o", out / "p.alula", "--metadata", "FILE"]),
        "info": (inputs.packed, ["info", "FILE"]),
        "verify": (inputs.packed, ["verify", "FILE", "--against", inputs.onnx]),
        "verify --against": (inputs.onnx, ["verify", inputs.packed, "--against", "FILE"]),
        "verify --input": (inputs.array, ["verify", inputs.packed, "--against", inputs.onnx, "--input", "FILE"]),
        "run": (inputs.packed, ["run", "FILE", inputs.array]),
        "run .npy": (inputs.array, ["run", inputs.packed, "FILE"]),
        "run .npz": (archive, ["run", inputs.packed, "FILE"]),
        "run .png": (picture, ["run", inputs.packed, "FILE"]),
        "bench": (inputs.packed, ["bench", "FILE", "--rounds", "1", "--threads", "1"]),
        "bench --against": (
            inputs.onnx,
            ["bench", inputs.packed, "--against", "FILE", "--rounds", "1", "--threads", "1"],
        ),
        "export": (inputs.packed, ["export", "FILE", "-o", out / "e.onnx"]),
        "demo --model": (inputs.packed, ["demo", "--model", "FILE", "--out", out / "demo", "--frames", "1"]),
        "train .alula": (inputs.packed, ["train", "FILE", "--data", inputs.images, *train]),
        "train .onnx": (inputs.onnx, ["train", "FILE", "--data", inputs.images, *train]),
        "train --data .npz": (data, ["train", inputs.onnx, "--data", "FILE", *train]),
    }
    if spotter:
        slots["run spotter .avi"] = (video, ["run", spotter, "FILE", "--frames", "2"])
        slots["run spotter .png"] = (picture, ["run", spotter, "FILE", "--frames", "2"])
    for number, (name, (good, words)) in enumerate(slots.items()):
        for kind, path in hostile_files(_made(folder / f"slot{number}"), good).items():
            yield f"{name} / {kind}", [path if word == "FILE" else word for word in words], None
    for kind, path in hostile_files(_made(folder / "pictures"), picture).items():
        data_set = folder / f"with {kind}"
        shutil.copytree(inputs.images, data_set)
        if os.path.lexists(path):
            path.rename(data_set / "train" / "weg" / path.name)
        yield f"train --data folder / {kind}", ["train", inputs.onnx, "--data", data_set, *train], None


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def measure(cases: Iterator[Case], only: str, limit_s: float) -> list[dict[str, Any]]:
    """What came of each."""
    rows = []
    for name, words, around in cases:
        if only not in name:
            continue
        longer = 6 if words[:1] == ["doctor"] else 1  # it imports what there is in processes of its own
        outcome = run(words, around or PLAIN, limit_s * longer)
        rows.append(
            {"case": name, "bad": outcome.is_bad, "status": outcome.status, "seconds": outcome.seconds,
             "line": outcome.complained[-MAX_SHOWN:]}
        )  # fmt: skip
        if outcome.is_bad:
            print(ascii(f"{name}: {outcome.is_bad}")[1:-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Run all, print what is bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--only", default="", metavar="WORDS", help="cases whose names contain them")
    parser.add_argument("--limit", type=float, default=10.0, metavar="S", help="when a run counts as hung (10 s)")
    args = parser.parse_args()
    os.environ.pop("ALULA_TRACEBACK", None)
    preload()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        inputs = good_inputs(folder)
        os.environ["ALULA_PACK"] = str(keep_pack(folder))
        models = ocr_models()
        spotter = pack_networks(models, folder / "spotter.alula").path if models else None
        around = measure(in_surroundings(inputs, folder), args.only, args.limit)
        files = measure(on_files(inputs, folder, spotter), args.only, args.limit)
    summary = {
        "environments_bad": sum(bool(row["bad"]) for row in around), "environments_runs": len(around),
        "hostile_files_bad": sum(bool(row["bad"]) for row in files), "hostile_files_runs": len(files),
        "longest_s": max((row["seconds"] for row in (*around, *files)), default=0.0),
    }  # fmt: skip
    bad = [(row["case"], row["bad"][:200]) for row in (*around, *files) if row["bad"]]
    finish(summary, {"alula": alula.__version__, "runs": [*around, *files]}, Table(("case", "bad"), bad), args.json)


if __name__ == "__main__":
    main()
