"""What is changed of a detector for ncnn, and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from tests.arm.for_ncnn import for_ncnn
from tests.bench.detector_layers import Layers
from tests.bench.detector_networks import yolo26n, yolov8n, yolox_nano
from tests.bench.networks import Network, noise


def made(name: str, folder: Path) -> Network:
    net = Layers(64)
    output, _ = {"yolo26n": lambda: yolo26n(net, 3, most=20), "yolov8n": lambda: yolov8n(net, 3),
                 "yolox-nano": lambda: yolox_nano(net, 3)}[name]()  # fmt: skip
    path = folder / f"{name}.onnx"
    path.write_bytes(net.model(output).SerializeToString())
    return Network(name, path, folder / "none", {"images": noise((1, 3, 64, 64))})


def run(network: Network) -> np.ndarray:
    (answer,) = ort.InferenceSession(str(network.onnx)).run(None, network.values)
    return answer


def test_what_a_network_chooses_from_is_all_that_comes_before(tmp_path: Path) -> None:
    whole = made("yolo26n", tmp_path)
    rows, chosen = run(for_ncnn(whole, tmp_path))[0], run(whole)[0]
    assert rows.shape == (64 // 8 * 64 // 8 + 16 + 4, 4 + 3)
    assert np.allclose(np.sort(rows[:, 4:].ravel())[::-1][:20], chosen[:, 4])
    best = rows[np.argmax(rows[:, 4:].max(1))]
    assert np.allclose(best[:4], chosen[0, :4])


def test_a_stem_of_slices_is_one_convolution_with_the_same_answer(tmp_path: Path) -> None:
    sliced = made("yolox-nano", tmp_path)
    joined = for_ncnn(sliced, tmp_path)
    assert "Slice" not in {node.op_type for node in onnx.load(joined.onnx).graph.node}
    answer = run(sliced)
    assert np.abs(run(joined) - answer).max() < 1e-5 * np.abs(answer).max()


def test_a_network_that_needs_nothing_stays_as_it_is(tmp_path: Path) -> None:
    network = made("yolov8n", tmp_path)
    assert for_ncnn(network, tmp_path) is network
