"""Real street photographs, read by the real networks on our engine and on onnxruntime. ALULA_DATA names their folder's parent."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from alula.device.camera import open_source
from alula.device.tasks.recognise import charset_from_metadata
from alula.device.tasks.spotter import Spotter, SpotterConfig

PHOTOGRAPHS = Path(os.environ.get("ALULA_DATA", "")) / "scenetext"
MODELS = ("ch_PP-OCRv4_det_infer.onnx", "ch_ppocr_mobile_v2.0_cls_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx")

pytestmark = [
    pytest.mark.skipif(not os.environ.get("ALULA_DATA"), reason="ALULA_DATA does not name a folder of real images"),
    pytest.mark.skipif(
        importlib.util.find_spec("rapidocr_onnxruntime") is None, reason="the OCR networks are not installed"
    ),
]


def words_of(networks, charset):
    """What the spotter sees in each photograph: (image, word) pairs."""
    seen = []
    with open_source(str(PHOTOGRAPHS)) as images:
        Spotter(*networks, charset, SpotterConfig()).run(
            images,
            watch=lambda frame, sightings: seen.extend(
                (frame.index, s.reading.text) for _, s in sightings if s.reading
            ),
        )
    return sorted(seen)


def test_our_engine_reads_the_same_words_in_photographs_as_onnxruntime() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from alula.host.onnx.importer import import_onnx
    from alula.runtime.model import Model
    from alula.runtime.passes import optimise

    folder = Path(importlib.util.find_spec("rapidocr_onnxruntime").submodule_search_locations[0]) / "models"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(str(folder / n), options, providers=["CPUExecutionProvider"]) for n in MODELS
    ]
    theirs = [lambda x, s=s: s.run(None, {s.get_inputs()[0].name: np.ascontiguousarray(x)})[0] for s in sessions]
    ours = [Model(optimise(import_onnx(folder / name).graph)) for name in MODELS]
    charset = charset_from_metadata(sessions[2].get_modelmeta().custom_metadata_map["character"])
    expected = words_of(theirs, charset)
    assert len(expected) >= 15
    assert words_of(ours, charset) == expected
