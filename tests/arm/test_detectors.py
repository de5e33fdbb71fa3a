"""What is cut off a detector for ncnn, and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from tests.arm.detectors import before_choice
from tests.bench.detector_layers import Layers
from tests.bench.detector_networks import yolo26n, yolov8n
from tests.bench.networks import Network, noise


def made(name: str, folder: Path) -> Network:
    net = Layers(64)
    output, _ = {"yolo26n": lambda: yolo26n(net, 3, most=20), "yolov8n": lambda: yolov8n(net, 3)}[name]()
    path = folder / f"{name}.onnx"
    path.write_bytes(net.model(output).SerializeToString())
    return Network(name, path, folder / "none", {"images": noise((1, 3, 64, 64))})


def run(network: Network) -> np.ndarray:
    (answer,) = ort.InferenceSession(str(network.onnx)).run(None, network.values)
    return answer


def test_what_a_network_chooses_from_is_all_that_comes_before(tmp_path: Path) -> None:
    whole = made("yolo26n", tmp_path)
    rows, chosen = run(before_choice(whole, tmp_path))[0], run(whole)[0]
    assert rows.shape == (64 // 8 * 64 // 8 + 16 + 4, 4 + 3)
    assert np.allclose(np.sort(rows[:, 4:].ravel())[::-1][:20], chosen[:, 4])
    best = rows[np.argmax(rows[:, 4:].max(1))]
    assert np.allclose(best[:4], chosen[0, :4])


def test_a_network_that_chooses_nothing_stays_whole(tmp_path: Path) -> None:
    network = made("yolov8n", tmp_path)
    assert before_choice(network, tmp_path) is network
