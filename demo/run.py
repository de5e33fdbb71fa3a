"""The demo: pack three OCR networks into one file, read the signs in the video, log the energy, write a report.

    alula demo            # or: python demo/run.py

Writes report.json to the output folder, and the packed file, the signs as JSON lines and the samples of the power meter to
its out/. With matplotlib it adds report.html, with OpenCV the clip with the signs drawn on it, with onnx and onnxruntime a
comparison. Without OpenCV it reads stored crops of the clip (lines.py).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as a script it may be started anywhere

from alula.demo import lines
from alula.demo.networks import BITS, NAME, NETWORKS, Packed, load_networks, packed_networks
from alula.demo.report import build_report, machine, write_json
from alula.demo.scoring import agreement, judge
from alula.device.camera import VideoFile
from alula.device.power import EnergyLog, select_meter
from alula.device.tasks.crops import CROP_HEIGHT
from alula.device.tasks.networks import assemble
from alula.device.tasks.recognise import CLASSIFIER_WIDTH, Network
from alula.device.tasks.spotter import Flight, SpotterConfig, write_signs
from alula.device.tasks.track import Sighting, Track
from alula.progress import Progress
from alula.runtime.files import printable

HERE = Path(__file__).resolve().parent
CLIP, TRUTH = HERE / "flight.mp4", HERE / "flight.truth.json"
CONFIG = SpotterConfig(every=2)  # 4.5 frames a second of flight: a sign is still seen seven times
NEEDS = {"comparison with onnxruntime": ("onnx", "onnxruntime"), "report.html": ("matplotlib",)}


def default_folder() -> Path:
    """The demo's own folder in a checkout; a new one here where Alula was installed."""
    return HERE if (HERE.parent / "pyproject.toml").is_file() else Path("alula-demo")


def main(out: Path | None = None, frames: int | None = None, model: Path | None = None) -> dict[str, Any]:
    """Run the demo.

    frames : at most this many are looked at; all if None
    model  : the packed networks; see `packed_networks` if None
    return : what report.json holds
    """
    began_s = time.perf_counter()
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    folder = Path(out) if out else default_folder()
    work = folder / "out"
    work.mkdir(parents=True, exist_ok=True)
    packed = packed_networks(model, work / NAME)
    if packed.report:
        say(f"packed {len(NETWORKS)} networks: {packed.original_bytes} bytes of ONNX into {packed.report.size_bytes}")
    else:
        say(f"packed networks: {printable(packed.path)}")
    networks, charset = load_networks(packed.path)
    if not installed("cv2"):
        say(
            "no OpenCV (pip install 'alula[vision]'): the clip and the detector are left out, stored crops of it are read"
        )
        return read_stored(folder, packed, networks, charset, frames)
    planned_s = warm_up(networks, CONFIG if frames is None else None)
    say(f"kernels ready and programs planned in {planned_s:.1f} s")
    seen: dict[int, list[tuple[Track, Sighting]]] = {}
    flight, energy = fly(networks, charset, work, seen, frames)
    write_signs(flight.signs, work / "signs.jsonl")
    say(f"read {len(flight.signs)} signs in {flight.frames} frames, {flight.duration_s:.1f} s")
    lacking = {what: [name for name in names if not installed(name)] for what, names in NEEDS.items()}
    for what, names in lacking.items():
        if names:
            say(f"no {what}: it needs {' and '.join(names)}")
    same_ratio: float | None = None
    differences: list[dict[str, Any]] = []
    if not lacking["comparison with onnxruntime"]:
        reference = fly_reference(packed.path, charset, networks["detect"].threads, frames)
        say(f"the same networks through onnxruntime: {len(reference.signs)} signs, {reference.duration_s:.1f} s")
        same_ratio, differences = agreement(flight, reference)
    verdicts, extra = judge(flight.signs, truth_of(flight))
    document = build_report(
        folder, CLIP, flight, energy, work / "power.csv", packed, verdicts, extra, same_ratio, differences, seen,
        {"planned_s": planned_s, "total_s": time.perf_counter() - began_s, "bits": BITS, "every": CONFIG.every},
        with_page=not lacking["report.html"],
    )  # fmt: skip
    summary = document["summary"]
    agreeing = "" if same_ratio is None else f"; same as onnxruntime: {same_ratio:.3f}"
    say(f"signs read exactly: {summary['signs_exact_ratio']:.3f}{agreeing}")
    say(f"report: {folder / ('report.json' if lacking['report.html'] else 'report.html')}")
    return document


def installed(module: str) -> bool:
    """Whether a package is here, without importing it."""
    return importlib.util.find_spec(module) is not None


def read_stored(
    folder: Path, packed: Packed, networks: dict[str, Any], charset: list[str], frames: int | None
) -> dict[str, Any]:
    """Read the stored crops of the first `frames` stored frames, with the energy logged."""
    work = folder / "out"
    with (
        closing(select_meter("auto")) as meter,
        EnergyLog(meter, work / "power.csv", work / "power.json") as log,
        Progress("reading") as progress,
    ):
        found, took_ms = lines.read_lines(networks, charset, CONFIG, frames, log, progress)
        log.close()
        energy = log.summary()
    document = lines.document(found, took_ms, energy, packed.path.stat().st_size)
    document |= {"machine": machine()}
    rows = (json.dumps(sign, ensure_ascii=False) + "\n" for sign in document["signs"])
    (work / "signs.jsonl").write_text("".join(rows), encoding="utf-8")
    write_json(document, folder / "report.json")
    summary = document["summary"]
    say(f"signs read exactly: {summary['signs_exact']} of {summary['signs']} in {summary['frames']} frames")
    say(f"report: {folder / 'report.json'}")
    return document


def truth_of(flight: Flight) -> dict[str, Any]:
    """The truth about the frames that were flown."""
    truth: dict[str, Any] = json.loads(TRUTH.read_text(encoding="utf-8"))
    flown = max((times.frame for times in flight.times), default=-1) + 1
    visible = truth["visible"] if flown + CONFIG.every > len(truth["visible"]) else truth["visible"][:flown]
    return truth | {"visible": visible}


def warm_up(networks: dict[str, Any], config: SpotterConfig | None) -> float:
    """Plan a program for every shape that the flight can ask for, so that the flight's figures are those of flying.

    config : of the crops; None plans the detector alone, as is enough for a short flight
    return : seconds, in a first run with the compiling of the kernels
    """
    began_s = time.perf_counter()
    with VideoFile(CLIP) as clip:
        height, width = next(iter(clip)).image.shape[:2]
    shapes = [("detect", (1, 3, height, width))]
    if config:
        shapes += [("classify", (n, 3, CROP_HEIGHT, CLASSIFIER_WIDTH)) for n in config.batches]
        shapes += [("recognise", (n, 3, CROP_HEIGHT, w)) for n in config.batches for w in config.widths]
    with Progress("planning") as progress:
        for done, (name, shape) in enumerate(shapes):
            progress(done, len(shapes), f"{name} {shape}")
            networks[name](np.zeros(shape, np.float32))
    return time.perf_counter() - began_s


def fly(
    networks: dict[str, Any], charset: list[str], work: Path, seen: dict[int, list[tuple[Track, Sighting]]],
    frames: int | None,
) -> tuple[Flight, dict[str, Any]]:  # fmt: skip
    """Fly over the clip on our engine, with the energy logged; `seen` gets what was seen in each frame."""
    with (
        closing(select_meter("auto")) as meter,
        VideoFile(CLIP) as clip,
        EnergyLog(meter, work / "power.csv", work / "power.json") as log,
    ):
        flight = _spot(networks, charset, clip, "flying", seen, log, frames)
        log.close()
        return flight, log.summary()


def fly_reference(path: Path, charset: list[str], threads: int, frames: int | None) -> Flight:
    """The same flight with the same weights, taken out of the packed file, through onnxruntime."""
    from alula.host.onnx.exporter import export_onnx
    from alula.host.ort import OrtModel
    from alula.runtime.artifact import open_artifact

    def network(name: str) -> Network:
        model = OrtModel(export_onnx(graphs[name]).SerializeToString(), threads)
        return lambda x: model({model.inputs[0]: x})[model.outputs[0]]

    graphs = open_artifact(path).graphs
    with VideoFile(CLIP) as clip:
        return _spot(
            {name: network(name) for name in NETWORKS}, charset, clip, "flying with onnxruntime", {}, None, frames
        )


def _spot(
    networks: dict[str, Any], charset: list[str], clip: VideoFile, title: str,
    seen: dict[int, list[tuple[Track, Sighting]]], log: EnergyLog | None, frames: int | None,
) -> Flight:  # fmt: skip
    spotter = assemble(networks, charset, CONFIG, log)
    with Progress(title) as progress:

        def watch(frame: Any, sightings: list[tuple[Track, Sighting]]) -> None:
            seen[frame.index] = sightings
            total = len(clip) if frames is None else frames * CONFIG.every
            progress(min(frame.index + 1, total), total, f"{len(sightings)} signs in sight")

        return spotter.run(clip, frames, watch)


def say(line: str) -> None:
    """A line for people; only the document goes to standard output."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)["summary"], indent=2))
