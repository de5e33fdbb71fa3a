"""The demo without OpenCV: crops that the spotter cut out of the clip are rotated upright and read.

`crops.npz` (made by make_crops.py) holds the crops of some frames; video and detector need OpenCV and are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alula.device.camera.source import Image
from alula.device.power import EnergyLog
from alula.device.tasks.recognise import Network, Reading, read, upside_down
from alula.device.tasks.spotter import SpotterConfig

CROPS = Path(__file__).resolve().parent / "crops.npz"


@dataclass(frozen=True)
class Line:
    """One crop: where it is from, what is written on it, and what was read."""

    frame: int
    truth: str
    text: str
    confidence: float


def stored_crops(path: Path = CROPS) -> dict[int, list[tuple[str, Image]]]:
    """The crops of each frame, in order, each with what is written on it. A crop is (48, W, 3) uint8."""
    with np.load(path) as file:
        ends = np.cumsum(file["widths"])[:-1]
        crops = [np.ascontiguousarray(crop) for crop in np.split(file["pixels"], ends, axis=1)]
        frames, texts = file["frames"].tolist(), file["texts"].tolist()
    by_frame: dict[int, list[tuple[str, Image]]] = {}
    for frame, text, crop in zip(frames, texts, crops, strict=True):
        by_frame.setdefault(frame, []).append((text, crop))
    return by_frame


def read_frame(
    crops: list[Image], classify: Network, recognise: Network, charset: list[str], config: SpotterConfig
) -> list[Reading]:
    """The words of one frame's crops."""
    turned = upside_down(classify, crops, config.turned, config.batches)
    upright = [
        np.ascontiguousarray(crop[::-1, ::-1]) if turn else crop for crop, turn in zip(crops, turned, strict=True)
    ]
    return read(recognise, upright, charset, config.widths, config.batches)


def read_lines(
    networks: dict[str, Any], charset: list[str], config: SpotterConfig, frames: int | None, log: EnergyLog,
    watch: Callable[[int, int, str], None],
) -> tuple[list[Line], list[float]]:  # fmt: skip
    """Read the crops of the first `frames` stored frames. return: the lines, and milliseconds per frame"""
    stored = list(stored_crops().items())[:frames]
    lines: list[Line] = []
    took_ms = []
    for done, (frame, crops) in enumerate(stored):
        began_s = time.perf_counter()
        with log.phase("recognise"):
            readings = read_frame(
                [crop for _, crop in crops], networks["classify"], networks["recognise"], charset, config
            )
        took_ms.append(1000 * (time.perf_counter() - began_s))
        log.count("frame")
        lines += [Line(frame, text, got.text, got.confidence) for (text, _), got in zip(crops, readings, strict=True)]
        watch(done + 1, len(stored), f"{len(crops)} crops in frame {frame}")
    return lines, took_ms


def document(lines: list[Line], took_ms: list[float], energy: dict[str, Any], packed_bytes: int) -> dict[str, Any]:
    """What report.json holds."""
    exact = sum(line.text == line.truth for line in lines)
    summary = {
        "mode": "stored crops",
        "signs_exact_ratio": exact / len(lines),
        "signs": len(lines),
        "signs_exact": exact,
        "frames": len(took_ms),
        "fps": 1000 * len(took_ms) / max(sum(took_ms), 1e-6),
        "recognise_ms": float(np.median(took_ms)),
        "j_per_frame": energy["energy_j"] / len(took_ms),
        "energy_source": energy["source"],
        "energy_accuracy": energy["accuracy"],
        "packed_bytes": packed_bytes,
    }
    return {"summary": summary, "signs": [asdict(line) for line in lines], "energy": energy}
