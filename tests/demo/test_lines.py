"""The demo without OpenCV: the stored crops, and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alula.demo import lines, run
from alula.demo.networks import Packed
from alula.device.tasks.crops import CROP_HEIGHT
from alula.device.tasks.recognise import CLASSIFIER_WIDTH
from alula.device.tasks.spotter import SpotterConfig

TRUTH = Path(__file__).parents[2] / "demo" / "flight.truth.json"
CHARSET = ["", "A", "B"]


def networks(turned: bool = False) -> dict[str, Any]:
    """Stand-ins: everything reads "A", upright or not."""
    classify = lambda x: np.tile(np.array([[0.0, 1.0] if turned else [1.0, 0.0]], np.float32), (len(x), 1))  # noqa: E731
    recognise = lambda x: np.tile(np.array([[[0.0, 0.9, 0.1]]], np.float32), (len(x), 1, 1))  # noqa: E731
    return {"classify": classify, "recognise": recognise}


def test_the_stored_crops_are_of_the_clip_and_need_no_opencv() -> None:
    truth = json.loads(TRUTH.read_text(encoding="utf-8"))
    names = [sign["text"] for sign in truth["signs"]]
    stored = lines.stored_crops()
    assert len(stored) >= 10 and lines.CROPS.stat().st_size < 400_000
    for frame, crops in stored.items():
        for text, crop in crops:
            assert str(names.index(text)) in truth["visible"][frame]
            assert crop.shape[0] == CROP_HEIGHT and crop.shape[1] <= CLASSIFIER_WIDTH and crop.dtype == np.uint8


def test_a_crop_that_lies_upside_down_is_turned_before_it_is_read() -> None:
    crop = np.arange(CROP_HEIGHT * 20 * 3, dtype=np.uint32).astype(np.uint8).reshape(CROP_HEIGHT, 20, 3)
    seen: list[np.ndarray] = []
    nets = networks(turned=True)

    def recognise(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return np.asarray(nets["recognise"](x))

    (reading,) = lines.read_frame([crop], nets["classify"], recognise, CHARSET, SpotterConfig())
    assert reading.text == "A"
    np.testing.assert_allclose((seen[0][0, :, :, :20].transpose(1, 2, 0) + 1) * 127.5, crop[::-1, ::-1], atol=1e-3)


@pytest.mark.parametrize("frames", [3, 1000])
def test_reading_stored_crops_leaves_a_report_and_the_signs(tmp_path: Path, frames: int) -> None:
    (tmp_path / "out").mkdir()
    model = tmp_path / "m.alula"
    model.write_bytes(b"12345")
    document = run.read_stored(tmp_path, Packed(model), networks(), CHARSET, frames)
    summary = document["summary"]
    assert summary["frames"] == min(frames, len(lines.stored_crops()))
    assert (summary["mode"], summary["signs_exact"], summary["packed_bytes"]) == ("stored crops", 0, 5)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == document
    assert len((tmp_path / "out" / "signs.jsonl").read_text(encoding="utf-8").splitlines()) == summary["signs"]


def test_the_truth_of_a_short_flight_is_that_of_its_frames() -> None:
    flight = SimpleNamespace(times=[SimpleNamespace(frame=frame) for frame in (0, 2, 4)])
    whole = SimpleNamespace(times=[SimpleNamespace(frame=232)])
    assert len(run.truth_of(flight)["visible"]) == 5  # type: ignore[arg-type]
    assert len(run.truth_of(whole)["visible"]) == 234  # type: ignore[arg-type]
