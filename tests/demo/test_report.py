"""The report: from the parts of a flight to one page and one JSON file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from alula.demo.report import build_report, tensor_classes
from alula.demo.scoring import Verdict
from alula.device.power import EnergyLog, select_meter
from alula.device.tasks.recognise import Reading
from alula.device.tasks.spotter import Flight, FrameTimes, Sign
from alula.device.tasks.track import Sighting, Track

CLIP = Path(__file__).parents[2] / "demo" / "flight.mp4"
QUAD = [[100.0, 100.0], [260.0, 100.0], [260.0, 140.0], [100.0, 140.0]]


@dataclass
class Tensor:
    graph: str
    shape: tuple[int, ...]
    raw_bytes: int
    stored_bytes: int


TENSORS = [
    Tensor("detect", (8, 3, 3, 4), 4000, 900), Tensor("detect", (8, 3, 3, 1), 300, 100), Tensor("detect", (8,), 32, 32),
    Tensor("recognise", (64, 1, 1, 32), 8192, 2000), Tensor("recognise", (64, 1, 1, 16), 4096, 1000),
    Tensor("recognise", (32, 99), 12672, 3000), Tensor("recognise", (1, 1, 7), 28, 28),
]  # fmt: skip


def report(folder: Path) -> dict:
    sign = Sign("<STOP> & go", 0.93, 0, 4, 0.0, 0.4, 3, 2, QUAD)
    sighting = Sighting(2, 0.2, np.array(QUAD, np.float32), 0.9, True, Reading(sign.text, 0.93))
    times = [FrameTimes(k, 1.0 + k, 30.0, 10.0 * k, 1, 1) for k in (0, 2, 4)]
    flight = Flight([sign], [sighting], 3, 1.5, times, {"delivered": 5, "dropped": 0, "unreadable": 1, "oldest_s": 0.0})
    with EnergyLog(select_meter("model,idle=2,full=10"), folder / "power.csv", rate_hz=0) as log:
        for phase in ("capture", "detect", "recognise"):
            with log.phase(phase):
                log.sample()
        log.sample()
    packed = SimpleNamespace(original_bytes=20000, report=SimpleNamespace(size_bytes=5000, tensors=TENSORS))
    track = Track(1, np.zeros(2), 160.0, sightings=[sighting])
    verdicts = [Verdict("<STOP> & go", sign, 5), Verdict("LOST", None, 2)]
    return build_report(
        folder, CLIP, flight, log.summary(), folder / "power.csv", packed, verdicts, [], 0.75, [{"frame": 2}],
        {2: [(track, sighting)]}, {"every": 2, "bits": 8},
    )  # fmt: skip


def test_the_summary_is_flat_and_right(tmp_path: Path) -> None:
    document = report(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(document))
    summary = document["summary"]
    assert not any(isinstance(value, dict | list) for value in summary.values())
    expected = {
        "signs_exact_ratio": 0.5, "same_as_onnxruntime_ratio": 0.75, "signs": 2, "frames": 3, "fps": 2.0,
        "original_bytes": 20000, "packed_bytes": 5000, "compression_ratio": 0.25, "times_smaller": 4.0,
        "capture_ms": 3.0, "detect_ms": 30.0, "recognise_ms": 20.0, "energy_accuracy": "modelled", "every": 2,
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == expected
    assert summary["j_per_frame"] == document["energy"]["energy_j"] / 3
    assert summary["energy_source"] == document["energy"]["source"]


def test_the_page_needs_nothing_beside_it_and_says_that_energy_is_modelled(tmp_path: Path) -> None:
    report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("data:image/png;base64,") == 3 and page.count("data:image/jpeg;base64,") == 1
    assert "modelled</b>, not measured" in page and "not found" in page
    assert "&lt;STOP&gt; &amp; go" in page and "<STOP>" not in page
    assert (tmp_path / "out" / "annotated.mp4").stat().st_size > 1000


def test_tensors_are_summed_by_network_and_kind() -> None:
    rows = {
        (row["graph"], row["kind"]): (row["tensors"], row["raw_bytes"], row["stored_bytes"])
        for row in tensor_classes(TENSORS)
    }
    assert rows == {
        ("recognise", "matrices"): (1, 12672, 3000), ("recognise", "1x1 kernels"): (2, 12288, 3000),
        ("detect", "kernels"): (1, 4000, 900), ("detect", "depthwise kernels"): (1, 300, 100),
        ("detect", "biases and scales"): (1, 32, 32), ("recognise", "biases and scales"): (1, 28, 28),
    }  # fmt: skip
