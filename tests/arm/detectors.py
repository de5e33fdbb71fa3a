"""Whole detectors at 320 x 320 for the instruction counts: from an image's values to the network's output, without decoding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx.utils
from onnx.shape_inference import infer_shapes

from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack
from alula.runtime.graph import TensorSpec
from alula.runtime.tasks.presets import preset
from tests.bench.detector_networks import NETWORKS
from tests.bench.detectors import PRESETS, network, photograph
from tests.bench.networks import Network

DETECTORS = tuple(NETWORKS)
SIZE = 320


def prepare(name: str, folder: Path) -> Network:
    """The ONNX file, the packed one, and a photograph as the detector's preset makes it an input."""
    path, packed = folder / f"{name}.onnx", folder / f"{name}.alula"
    path.write_bytes(network(name, SIZE))
    imported = import_onnx(path, name)
    pack({name: imported}, packed)
    decoder = NETWORKS[name][1]
    how = preset(PRESETS.get(decoder, decoder)).for_input(TensorSpec((1, 3, SIZE, SIZE)), name)
    (key,) = imported.graph.inputs
    return Network(name, path, packed, {key: how(photograph())})


def before_choice(network: Network, folder: Path) -> Network:
    """The network up to where it chooses the best boxes by itself: pnnx cannot convert TopK and what follows to ncnn.

    return : what it chooses from, side by side, (1, N, 4 + C), not packed; the network itself if it does not choose
    """
    model = onnx.load(network.onnx)
    known = {value.name for value in model.graph.initializer}
    chosen: set[str] = set()
    sources: list[str] = []  # the last one first: of YOLO26, scores are read before boxes
    for node in model.graph.node:
        if node.op_type == "TopK":
            chosen |= set(node.output)
        elif chosen & set(node.input):
            sources = [*(name for name in node.input if name not in chosen | known | set(sources)), *sources]
            chosen |= set(node.output)
    if not sources:
        return network
    part = onnx.utils.Extractor(infer_shapes(model)).extract_model(list(network.values), sources)
    part.graph.node.append(onnx.helper.make_node("Concat", sources, ["sources"], "sources", axis=-1))
    del part.graph.output[:]
    part.graph.output.append(onnx.helper.make_tensor_value_info("sources", onnx.TensorProto.FLOAT, None))
    name = f"{network.name} before its choice"
    path = folder / f"{name}.onnx"
    onnx.save(part, path)
    return replace(network, name=name, onnx=path)
