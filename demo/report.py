"""The demo's report: one self-contained HTML page, and the same figures as JSON."""

from __future__ import annotations

import base64
import html
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.demo.scoring import Verdict
from alula.device.camera import VideoFile
from alula.device.tasks.annotate import AnnotatedVideo
from alula.device.tasks.crops import crop_quad
from alula.device.tasks.spotter import Flight, Sign
from alula.device.tasks.track import Sighting, Track
from alula.runtime.errors import require

if TYPE_CHECKING:
    from alula.demo.networks import Packed

PACKAGES = ("alula", "numpy", "opencv-python-headless", "onnxruntime", "numba", "llvmlite")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { margin-bottom: 0 } h2 { margin-top: 2.2rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: middle }
td.n, th.n { text-align: right } img { max-width: 100% } td img { height: 34px; border-radius: 3px }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0 }
.tile { background: #f3f5f7; border-radius: 8px; padding: .6rem 1rem } .tile b { display: block; font-size: 1.4rem }
.good { color: #17803d } .bad { color: #b3261e } .note { color: #666 }
"""


def build_report(
    folder: Path, clip: Path, flight: Flight, energy: dict[str, Any], samples: Path, packed: Packed,
    verdicts: Sequence[Verdict], extra: Sequence[Sign], same_ratio: float | None, differences: Sequence[dict[str, Any]],
    seen: dict[int, list[tuple[Track, Sighting]]], run: dict[str, Any], with_page: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Write report.json, and report.html if `with_page`, into `folder`. return: what report.json holds"""
    document = {
        "summary": summarise(flight, energy, packed, verdicts, extra, same_ratio) | run,
        "signs": [
            {"truth": verdict.truth, "frames_visible": verdict.frames_visible, "exact": verdict.exact,
             "read": None if verdict.read is None else asdict(verdict.read)}
            for verdict in verdicts
        ],
        "not_in_truth": [asdict(sign) for sign in extra],
        "differences": list(differences),
        "energy": energy,
        "latency": [asdict(times) for times in flight.times],
        "tensor_classes": tensor_classes(packed.report.tensors if packed.report else ()),
        "machine": machine(),
    }  # fmt: skip
    crops = cut_crops(
        clip, [verdict.read for verdict in verdicts if verdict.read], seen, folder / "out" / "annotated.mp4"
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(document, folder / "report.json")
    if with_page:
        (folder / "report.html").write_text(page(document, flight, verdicts, crops, samples), encoding="utf-8")
    return document


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write a document for people to read as well."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def summarise(
    flight: Flight, energy: dict[str, Any], packed: Packed, verdicts: Sequence[Verdict],
    extra: Sequence[Sign], same_ratio: float | None,
) -> dict[str, Any]:  # fmt: skip
    """The figures, flat. `compression_ratio` is packed over original; latencies are medians over the frames.

    A figure that was not found out is left out: same_ratio where nothing was compared, sizes where nothing was packed.
    """
    verdicts = [verdict for verdict in verdicts if verdict.frames_visible]
    medians = {
        f"{stage}_ms": float(np.median([getattr(times, f"{stage}_ms") for times in flight.times]))
        for stage in ("capture", "detect", "recognise")
    }
    original_bytes, packed_bytes = packed.original_bytes, packed.report.size_bytes if packed.report else 0
    sizes = {} if not packed_bytes else {
        "original_bytes": original_bytes,
        "packed_bytes": packed_bytes,
        "compression_ratio": packed_bytes / original_bytes,
        "times_smaller": original_bytes / packed_bytes,
    }  # fmt: skip
    return {
        "mode": "flight",
        "signs_exact_ratio": sum(verdict.exact for verdict in verdicts) / max(1, len(verdicts)),
        **({} if same_ratio is None else {"same_as_onnxruntime_ratio": same_ratio}),
        "signs": len(verdicts),
        "signs_exact": sum(verdict.exact for verdict in verdicts),
        "signs_not_in_truth": len(extra),
        "frames": flight.frames,
        "fps": flight.frames / flight.duration_s,
        **medians,
        "j_per_frame": energy["energy_j"] / flight.frames,
        "energy_source": energy["source"],
        "energy_accuracy": energy["accuracy"],
        **sizes,
    }


def tensor_classes(tensors: Sequence[Any]) -> list[dict[str, Any]]:
    """Bytes before and after packing, by graph and kind of tensor, the largest first.

    tensors : rows with graph, shape, raw_bytes and stored_bytes, as packing reports them
    """
    totals: dict[tuple[str, str], list[int]] = {}
    for tensor in tensors:
        entry = totals.setdefault((tensor.graph, _kind(tensor.shape)), [0, 0, 0])
        entry[0] += 1
        entry[1] += tensor.raw_bytes
        entry[2] += tensor.stored_bytes
    rows = [
        {"graph": graph, "kind": kind, "tensors": count, "raw_bytes": raw, "stored_bytes": stored}
        for (graph, kind), (count, raw, stored) in totals.items()
    ]
    return sorted(rows, key=lambda row: -int(str(row["raw_bytes"])))


def _kind(shape: tuple[int, ...]) -> str:
    """Weights are channels-last: a depthwise kernel has one input channel, a pointwise one is 1 by 1."""
    if len(shape) == 4:
        return "depthwise kernels" if shape[-1] == 1 else "1x1 kernels" if shape[1:3] == (1, 1) else "kernels"
    return "matrices" if sum(dim > 1 for dim in shape) >= 2 else "biases and scales"


def machine() -> dict[str, str]:
    """What it ran on."""
    facts = {"system": platform.platform(), "machine": platform.machine(), "python": platform.python_version()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        facts["cpu"] = next(line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model")))
    except (OSError, StopIteration):
        facts["cpu"] = platform.processor() or "unknown"
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def cut_crops(
    clip: Path, signs: Sequence[Sign], seen: dict[int, list[tuple[Track, Sighting]]], video: Path
) -> dict[str, bytes]:
    """One JPEG per text, from the frame where it was read best; also draws the annotated video, in the same pass."""
    cv2 = require("cv2", "vision", "the report")
    wanted: dict[int, list[Sign]] = {}
    for sign in signs:
        wanted.setdefault(sign.frame, []).append(sign)
    crops: dict[str, bytes] = {}
    video.parent.mkdir(parents=True, exist_ok=True)
    with VideoFile(clip) as source, AnnotatedVideo(video, source.fps / 2) as drawn:
        for frame in source:
            if frame.index in seen:
                drawn.watch(frame, seen[frame.index])
            for sign in wanted.get(frame.index, []):
                crop = crop_quad(frame.image, np.array(sign.quad, np.float32), 640)
                crops[sign.text] = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    return crops


def page(
    document: dict[str, Any], flight: Flight, verdicts: Sequence[Verdict], crops: dict[str, bytes], samples: Path
) -> str:
    """The HTML page."""
    from alula.demo.plots import draw_latency, draw_power, draw_sizes  # they need matplotlib

    summary, energy = document["summary"], document["energy"]
    accuracy = energy["accuracy"]
    tiles = [
        (f"{summary['signs_exact']} of {summary['signs']}", "signs read exactly"),
        *([(f"{summary['same_as_onnxruntime_ratio']:.1%}", "of crops read as onnxruntime does")]
          if "same_as_onnxruntime_ratio" in summary else []),
        (f"{summary['j_per_frame']:.2f} J", f"per frame, {accuracy}"),
        (f"{summary['fps']:.1f}", "frames a second"),
        *([(f"{summary['times_smaller']:.1f} x", "smaller than the ONNX files")] if "times_smaller" in summary else []),
    ]  # fmt: skip
    phases = [
        (name, f"{phase['seconds']:.2f} s", f"{phase['energy_j']:.2f} J", f"{phase['energy_j'] / flight.frames:.3f} J")
        for name, phase in [*energy["phases"].items(), ("other", energy["other"])]
    ]
    classes = [
        (row["graph"], row["kind"], str(row["tensors"]), f"{row['raw_bytes']:,}", f"{row['stored_bytes']:,}")
        for row in document["tensor_classes"]
    ]
    lost = {name: flight.counts[name] for name in ("dropped", "unreadable")}
    sections = [
        "<h1>Signs read in flight</h1>",
        f'<p class="note">{flight.frames} frames looked at, every {_ordinal(summary["every"])} of the clip; '
        + ", ".join(f"{int(count)} {name}" for name, count in lost.items()) + "</p>",
        '<div class="tiles">' + "".join(f'<div class="tile"><b>{a}</b>{html.escape(b)}</div>' for a, b in tiles) + "</div>",
        "<h2>The signs</h2>", _signs(verdicts, crops),
        _extra(document["not_in_truth"]),
        "<h2>Power</h2>",
        f'<p>Source: <b>{html.escape(energy["source"])}</b>, '
        + ("measured" if accuracy == "measured" else f"<b>{html.escape(accuracy)}</b>, not measured")
        + f'; covers {html.escape(str(energy["covers"]))}.</p>',
        _image(draw_power(samples)),
        '<p class="note">Each interval has the colour of the phase in which it ended; the table splits it exactly.</p>',
        _table(("phase", "time", "energy", "per frame"), phases, numeric=(1, 2, 3)),
        "".join(f'<p class="note">{html.escape(note)}</p>' for note in energy.get("notes", [])),
        "<h2>Latency</h2>", _image(draw_latency(flight.times)),
        f"<p>Median: capture {summary['capture_ms']:.1f} ms, detect {summary['detect_ms']:.1f} ms, "
        f"recognise {summary['recognise_ms']:.1f} ms.</p>",
        *([
            "<h2>The packed file</h2>",
            f"<p>{summary['original_bytes']:,} bytes of ONNX, {summary['packed_bytes']:,} bytes packed.</p>",
            _image(draw_sizes(document["tensor_classes"])),
            _table(("graph", "kind", "tensors", "bytes before", "bytes packed"), classes, numeric=(2, 3, 4)),
        ] if classes else []),
        "<h2>Machine</h2>", _table(("", ""), [(key, value) for key, value in document["machine"].items()]),
    ]  # fmt: skip
    body = "\n".join(sections)
    head = f'<meta charset="utf-8"><title>Alula: signs read in flight</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en">{head}\n{body}\n</html>\n'


def _signs(verdicts: Sequence[Verdict], crops: dict[str, bytes]) -> str:
    rows = []
    for verdict in verdicts:
        sign = verdict.read
        crop = _image(crops[sign.text], "jpeg") if sign is not None and sign.text in crops else ""
        read = "not found" if sign is None else html.escape(sign.text)
        mark = "good" if verdict.exact else "bad"
        figures = (
            ("", "", "") if sign is None else (f"{sign.confidence:.2f}", sign.sightings, f"{sign.first_time_s:.1f} s")
        )
        rows.append(
            f"<tr><td>{crop}</td><td>{html.escape(verdict.truth)}</td><td class={mark}>{read}</td>"
            + "".join(f"<td class=n>{figure}</td>" for figure in figures) + "</tr>"
        )  # fmt: skip
    head = "<tr><th>best crop</th><th>truth</th><th>read</th><th class=n>confidence</th><th class=n>seen</th><th class=n>from</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _extra(extra: Sequence[dict[str, Any]]) -> str:
    if not extra:
        return '<p class="note">Nothing was reported that is not there.</p>'
    texts = ", ".join(html.escape(sign["text"]) for sign in extra)
    return f'<p class="bad">Reported, but no sign of the truth: {texts}</p>'


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if column in numeric else ''}>{html.escape(cell)}</{tag}>"
            for column, cell in enumerate(row)
        )

    return (
        f"<table><tr>{cells('th', columns)}</tr>" + "".join(f"<tr>{cells('td', row)}</tr>" for row in rows) + "</table>"
    )


def _image(data: bytes, kind: str = "png") -> str:
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def _ordinal(number: int) -> str:
    return {1: "one", 2: "second", 3: "third"}.get(number, f"{number}th")
