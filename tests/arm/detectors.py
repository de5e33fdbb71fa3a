"""Whole detectors at 320 x 320 for the instruction counts: from an image's values to the network's output, without decoding."""

from __future__ import annotations

from pathlib import Path

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
