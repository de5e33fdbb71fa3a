"""The demo: pack three OCR networks into one file, fly over the clip, read its signs, log the energy, report.

    alula demo            # or: python demo/run.py

Leaves report.html and report.json in the output folder, and in out/ beneath it the packed file, the signs as JSON
lines, the clip with the signs drawn in, and the samples of the power meter.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `alula demo` loads this file from anywhere

import alula
from alula.commands.run import spotter_charset
from alula.device.camera import VideoFile
from alula.device.power import EnergyLog, select_meter
from alula.device.tasks.crops import CROP_HEIGHT
from alula.device.tasks.recognise import CLASSIFIER_WIDTH, Network
from alula.device.tasks.spotter import Flight, Spotter, SpotterConfig, write_signs
from alula.device.tasks.track import Sighting, Track
from alula.progress import Progress
from alula.runtime.errors import MissingExtraError
from demo.report import build_report
from demo.scoring import agreement, judge

HERE = Path(__file__).resolve().parent
CLIP, TRUTH = HERE / "flight.mp4", HERE / "flight.truth.json"
NETWORKS = {
    "detect": "ch_PP-OCRv4_det_infer.onnx",
    "classify": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "recognise": "ch_PP-OCRv4_rec_infer.onnx",
}
BITS = 8
CONFIG = SpotterConfig(every=2)  # 4.5 frames a second of flight: a sign is still seen seven times


@dataclass(frozen=True)
class Packed:
    """The packed file and what it was made from."""

    path: Path
    original_bytes: int
    report: Any  # alula.host.pack.PackReport


def main(out: Path | None = None) -> dict[str, Any]:
    """Run the demo. return: what report.json holds"""
    began_s = time.perf_counter()
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    folder = Path(out) if out else HERE
    work = folder / "out"
    work.mkdir(parents=True, exist_ok=True)
    models = find_models()
    packed = pack_networks(models, work / "spotter.alula")
    say(f"packed {len(models)} networks: {packed.original_bytes} bytes of ONNX into {packed.report.size_bytes}")
    networks, charset = load_networks(packed.path)
    planned_s = warm_up(networks)
    say(f"kernels ready and programs planned in {planned_s:.1f} s")
    seen: dict[int, list[tuple[Track, Sighting]]] = {}
    flight, energy = fly(networks, charset, work, seen)
    write_signs(flight.signs, work / "signs.jsonl")
    say(f"read {len(flight.signs)} signs in {flight.frames} frames, {flight.duration_s:.1f} s")
    reference = fly_reference(packed.path, charset, networks["detect"].threads)
    say(f"the same networks through onnxruntime: {len(reference.signs)} signs, {reference.duration_s:.1f} s")
    truth = json.loads(TRUTH.read_text(encoding="utf-8"))
    verdicts, extra = judge(flight.signs, truth)
    same_ratio, differences = agreement(flight, reference)
    document = build_report(
        folder, CLIP, flight, energy, work / "power.csv", packed, verdicts, extra, same_ratio, differences,
        seen, {"planned_s": planned_s, "total_s": time.perf_counter() - began_s, "bits": BITS, "every": CONFIG.every},
    )  # fmt: skip
    summary = document["summary"]
    say(f"signs read exactly: {summary['signs_exact_ratio']:.3f}; same as onnxruntime: {same_ratio:.3f}")
    say(f"report: {folder / 'report.html'}")
    return document


def find_models() -> dict[str, Path]:
    """The ONNX files inside the wheel of rapidocr-onnxruntime, found without importing it.

    raise : MissingExtraError if it is not installed
    """
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    folders = [Path(folder) / "models" for folder in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        files = {name: folder / file for name, file in NETWORKS.items()}
        if all(path.is_file() for path in files.values()):
            return files
    raise MissingExtraError(
        "demo: expected the OCR networks, got no package rapidocr_onnxruntime; "
        "install it with: pip install --no-deps rapidocr-onnxruntime==1.4.4"
    )


def pack_networks(models: dict[str, Path], path: Path) -> Packed:
    """Three ONNX files into one `.alula` file with weights of 8 bits."""
    from alula.host.onnx_import import import_onnx
    from alula.host.pack import pack

    with Progress("packing") as progress:
        imported = {name: import_onnx(file, name) for name, file in models.items()}
        metadata = {
            "task": "text spotting",
            "packed_by": f"alula {alula.__version__}",
            "sources": {name: {"file": file.name, **imported[name].metadata} for name, file in models.items()},
        }
        report = pack(imported, path, BITS, metadata, progress)
    return Packed(path, sum(file.stat().st_size for file in models.values()), report)


def load_networks(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The packed networks on our engine, and the recogniser's characters."""
    from alula.runtime.artifact import open_artifact

    return alula.load_all(path), spotter_charset(open_artifact(path))


def warm_up(networks: dict[str, Any]) -> float:
    """Plan a program for every shape that the flight can ask for, so that the flight's figures are those of flying.

    return : seconds, in a first run with the compiling of the kernels
    """
    began_s = time.perf_counter()
    with VideoFile(CLIP) as clip:
        height, width = next(iter(clip)).picture.shape[:2]
    shapes = [("detect", (1, 3, height, width))]
    shapes += [("classify", (n, 3, CROP_HEIGHT, CLASSIFIER_WIDTH)) for n in CONFIG.batches]
    shapes += [("recognise", (n, 3, CROP_HEIGHT, w)) for n in CONFIG.batches for w in CONFIG.widths]
    with Progress("planning") as progress:
        for done, (name, shape) in enumerate(shapes):
            progress(done, len(shapes), f"{name} {shape}")
            networks[name](np.zeros(shape, np.float32))
    return time.perf_counter() - began_s


def fly(
    networks: dict[str, Any], charset: list[str], work: Path, seen: dict[int, list[tuple[Track, Sighting]]]
) -> tuple[Flight, dict[str, Any]]:
    """Fly over the clip on our engine, with the energy logged; `seen` gets what was seen in each frame."""
    with (
        closing(select_meter("auto")) as meter,
        VideoFile(CLIP) as clip,
        EnergyLog(meter, work / "power.csv", work / "power.json") as log,
    ):
        flight = _spot(networks, charset, clip, "flying", seen, log)
        log.close()
        return flight, log.summary()


def fly_reference(path: Path, charset: list[str], threads: int) -> Flight:
    """The same flight with the same weights, taken out of the packed file, through onnxruntime."""
    from alula.host.onnx_export import export_onnx
    from alula.host.ort import OrtModel
    from alula.runtime.artifact import open_artifact

    def network(name: str) -> Network:
        model = OrtModel(export_onnx(graphs[name]).SerializeToString(), threads)
        return lambda x: model({model.inputs[0]: x})[model.outputs[0]]

    graphs = open_artifact(path).graphs
    with VideoFile(CLIP) as clip:
        return _spot({name: network(name) for name in NETWORKS}, charset, clip, "flying with onnxruntime", {}, None)


def _spot(
    networks: dict[str, Any], charset: list[str], clip: VideoFile, title: str,
    seen: dict[int, list[tuple[Track, Sighting]]], log: EnergyLog | None,
) -> Flight:  # fmt: skip
    spotter = Spotter(networks["detect"], networks["classify"], networks["recognise"], charset, CONFIG, log)
    with Progress(title) as progress:

        def watch(frame: Any, sightings: list[tuple[Track, Sighting]]) -> None:
            seen[frame.index] = sightings
            progress(frame.index + 1, len(clip), f"{len(sightings)} signs in sight")

        return spotter.run(clip, watch=watch)


def say(line: str) -> None:
    """A line for whoever watches; the document alone goes to standard output."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)["summary"], indent=2))
