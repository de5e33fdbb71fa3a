"""The zoo beside the implementations whose names its weights have: parameters, answers, steps of training, photographs.

    python -m tests.bench.zoo --json zoo.json [--only SUBSTRING]

Weights of torchvision's and timm's networks (random, with statistics and biases as training leaves them) go through a
checkpoint into the zoo's networks; the answers of onnxruntime and of Alula are compared with torch's, and those to one
image with those to another (between_images), which must differ. Every network is
trained for some steps at a small size; it learns if its loss falls. Trained weights that are installed look at the
photographs of `foolbox`. Needs the extra `exporters`; what is absent is left out and said.

Summary: compared, parameters_equal_ratio, answers_equal_ratio (within 1e-4 of the answer's range), difference_ratio_max,
between_images_ratio_min, trained, learns_ratio, photographs_right_<network>.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from alula.host.onnx.importer import import_onnx
from alula.host.ort import OrtModel
from alula.host.torch_weights import load_torch_weights
from alula.host.verify import TOLERANCE_RATIO
from alula.host.zoo import PRETRAINED, ZOO, build
from alula.report import Cell, Table
from alula.runtime.artifact.task import ONNX_KEY, parse_task
from alula.runtime.data.decoder import open_image
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.train import MSE, SGD, Trainer
from tests.bench.exporters import import_torchvision
from tests.bench.output import finish

# network of the zoo -> package and name there
REFERENCES = {
    "resnet18": ("torchvision", "resnet18"),
    "resnet50": ("torchvision", "resnet50"),
    "mobilenetv2-224": ("torchvision", "mobilenet_v2"),
    "mobilenetv3-small": ("torchvision", "mobilenet_v3_small"),
    "mobilenetv3-large": ("torchvision", "mobilenet_v3_large"),
    "shufflenetv2-x0.5": ("torchvision", "shufflenet_v2_x0_5"),
    "shufflenetv2-x1.0": ("torchvision", "shufflenet_v2_x1_0"),
    "efficientnet-b0": ("torchvision", "efficientnet_b0"),
    "mobilevit-xxs": ("timm", "mobilevit_xxs"),
    "mobilevit-xs": ("timm", "mobilevit_xs"),
    "deit-tiny": ("timm", "deit_tiny_patch16_224"),
}
STEPS, BATCH, SMALL = 8, 8, 64


def reference(package: str, name: str, shape: tuple[int, ...]) -> Any:
    """A torch network with biases and statistics as training leaves them: a fresh one answers all images alike."""
    import torch

    torch.manual_seed(0)
    if package == "timm":
        import timm

        net = timm.create_model(name)
    else:
        net = import_torchvision()[0].models.get_model(name)
    for key, value in net.state_dict().items():
        if key.endswith(("bias", "pos_embed", "cls_token")):
            value.add_(0.1 * torch.randn(value.shape))
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(4, *shape))
    return net.eval()


def compare(name: str, folder: Path) -> dict[str, Any]:
    """The zoo's network with a reference's weights: parameters, and how far the answers are from torch's."""
    import torch

    net = reference(*REFERENCES[name], ZOO[name].input_shape)
    checkpoint, model = folder / "net.pth", folder / "net.onnx"
    torch.save(net.state_dict(), checkpoint)
    proto = build(name, weights=load_torch_weights(checkpoint))
    model.write_bytes(proto.SerializeToString())
    x = np.random.default_rng(0).standard_normal((2, *ZOO[name].input_shape)).astype(np.float32)
    with torch.no_grad():
        want = net(torch.from_numpy(x)).numpy()
    (theirs,) = OrtModel(model, 1)({"input": x}).values()
    ours = np.asarray(Model(optimise(import_onnx(proto).graph))(x))
    parameters = sum(value.numel() for value in net.parameters())
    off = {
        key: float(np.abs(got - want).max() / np.ptp(want)) for key, got in (("onnxruntime", theirs), ("alula", ours))
    }
    between = float(np.abs(want[0] - want[1]).max() / np.ptp(want))
    return {"parameters": parameters, "equal": parameters == ZOO[name].parameters, "between_images": between, **off}


def learn(name: str) -> list[float]:
    """Losses of some steps on one batch, at a small size with ten classes."""
    entry, rng = ZOO[name], np.random.default_rng(0)
    size = None if max(entry.input_shape[1:]) <= SMALL else (SMALL, SMALL)
    graph = import_onnx(build(name, num_classes=10, size=size)).graph
    x = rng.standard_normal((BATCH, entry.input_shape[0], *(size or entry.input_shape[1:]))).astype(np.float32)
    trainer = Trainer(graph, SGD(1e-3), loss=MSE())
    shape = np.asarray(Model(optimise(graph))(x)).shape
    target = rng.uniform(0, 1, shape).astype(np.float32)
    return [float(trainer.step(x, target).loss) for _ in range(STEPS)]


def photographs(name: str) -> tuple[int, int] | None:
    """How many photographs a trained network names rightly, of how many; None without weights or photographs."""
    found = find_spec("foolbox")
    if found is None or not found.origin or PRETRAINED[name].path() is None:
        return None
    proto = build(name, weights="pretrained")
    task = parse_task(next(entry.value for entry in proto.metadata_props if entry.key == ONNX_KEY), name)
    model, right = Model(optimise(import_onnx(proto).graph)), 0
    paths = sorted((Path(found.origin).parent / "data").glob("imagenet_*.jpg"))
    for path in paths:
        assert task.preprocessing is not None
        scores: Array = np.asarray(model(task.preprocessing(open_image(path, 3))))
        right += int(scores.argmax()) == int(path.stem.rpartition("_")[2])
    return right, len(paths)


def main() -> None:
    """Compare, train, look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    names = [name for name in ZOO if args.only in name]
    compared: dict[str, dict[str, Any]] = {}
    absent = [package for package in ("torch", "torchvision", "timm") if find_spec(package) is None]
    if not absent:
        with tempfile.TemporaryDirectory() as folder:
            compared = {name: compare(name, Path(folder)) for name in names if name in REFERENCES}
    learned = {name: learn(name) for name in names}
    seen = {name: photographs(name) for name in PRETRAINED if args.only in name}
    summary: dict[str, Any] = {"compared": len(compared), "trained": len(learned), "absent": ", ".join(absent)}
    if compared:
        worst = [max(one["onnxruntime"], one["alula"]) for one in compared.values()]
        summary["parameters_equal_ratio"] = float(np.mean([one["equal"] for one in compared.values()]))
        summary["answers_equal_ratio"] = float(np.mean([value <= TOLERANCE_RATIO for value in worst]))
        summary["difference_ratio_max"] = max(worst)
        summary["between_images_ratio_min"] = min(one["between_images"] for one in compared.values())
    falls = [np.isfinite(losses).all() and losses[-1] < losses[0] for losses in learned.values()]
    summary["learns_ratio"] = float(np.mean(falls)) if falls else 0.0
    summary |= {f"photographs_right_{name}": count[0] for name, count in seen.items() if count}
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        one, losses = compared.get(name, {}), learned[name]
        rows.append((name, ZOO[name].parameters, one.get("onnxruntime"), one.get("alula"), losses[0], losses[-1]))
    columns = ("network", "parameters", "onnxruntime - torch", "alula - torch", "first loss", "last loss")
    finish(
        summary, {"compared_with": compared, "losses": learned, "photographs": seen}, Table(columns, rows), args.json
    )


if __name__ == "__main__":
    main()
