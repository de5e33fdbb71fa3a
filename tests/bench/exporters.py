"""Networks as users export them: the architectures at a small size, and every exporter that writes them as ONNX.

torch, torchvision, timm and keras are imported here alone, each when it is needed.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
CHANNELS = 3


@dataclass(frozen=True)
class Architecture:
    """One network with random weights.

    source : the package that builds it: torchvision, timm, keras or torch (a small module of our own)
    size   : height and width of the images
    options : of the builder
    """

    source: str
    name: str
    size: int = 64
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        return f"{self.source}:{self.name}"


def _torchvision(*names: str, size: int = 64, **options: Any) -> list[Architecture]:
    return [Architecture("torchvision", name, size, tuple(options.items())) for name in names]


def _timm(*names: str, size: int = 64, **options: Any) -> list[Architecture]:
    return [Architecture("timm", name, size, tuple(options.items())) for name in names]


ARCHITECTURES = [
    *_torchvision("resnet18", "resnext50_32x4d", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *_torchvision("efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5", "densenet121"),
    *_torchvision("regnet_y_400mf", "regnet_x_400mf", "convnext_tiny", "alexnet", "swin_t", "swin_v2_t"),
    *_torchvision("googlenet", init_weights=False),
    *_torchvision("inception_v3", size=96, init_weights=False),
    *_torchvision("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", weights_backbone=None),
    *_torchvision("ssdlite320_mobilenet_v3_large", size=320, weights_backbone=None, topk_candidates=10, score_thresh=0.012),
    *[Architecture("torch", name, size) for name, size in (("unet", 48), ("lstm", 16), ("gru", 16), ("transformer", 16), ("detector", 64))],
    *[Architecture("keras", name, 64) for name in ("MobileNetV2", "MobileNetV3Small", "EfficientNetV2B0", "NASNetMobile", "Xception")],
    *_timm("test_vit", "test_mambaout", "test_nfnet", "test_byobnet", size=96),
    *_timm("ghostnet_050", "tinynet_e", "lcnet_035", "mobileone_s0", "repvgg_a0", "mobilenetv4_conv_small_035"),
    *_timm("edgenext_xx_small", "mobilevit_xxs", "mobilevitv2_050", "fastvit_t8", "poolformerv2_s12", "starnet_s1"),
    *_timm("deit_tiny_patch16_224", "mixer_s32_224", "resmlp_12_224", "tiny_vit_5m_224", size=64, img_size=64),
    *_timm("levit_128s", size=224),
    *_timm("res2net50_26w_4s", "skresnet18", "dla46_c", "rexnet_100", "selecsls42b", "hardcorenas_a", "repghostnet_050"),
]  # fmt: skip
TORCH_EXPORTERS = {"script": (13, 17), "dynamo": (18, 21)}  # torch's tracing exporter, and the one of today
QUANTISERS = ("static", "static-qoperator", "dynamic")


def variants(architecture: Architecture) -> list[str]:
    """Every way in which an architecture is exported: exporter and opset, then the quantised ones of the first."""
    if architecture.source == "keras":
        return ["keras", *QUANTISERS]
    return [f"{exporter}-{opset}" for exporter, opsets in TORCH_EXPORTERS.items() for opset in opsets] + [*QUANTISERS]


def float_variant(architecture: Architecture, folder: Path) -> str:
    """The export that is quantised: the first that there is."""
    names = [name for name in variants(architecture) if name not in QUANTISERS]
    return next((name for name in names if (folder / f"{name}.onnx").exists()), names[0])


def images(architecture: Architecture, batch: int, seed: int = 0) -> Array:
    """Seeded images, N,C,H,W (keras: N,H,W,C); for the recurrent ones a sequence, N,T,C."""
    rng = np.random.default_rng(seed)
    size = architecture.size
    if architecture.name in ("lstm", "gru", "transformer"):
        return rng.standard_normal((batch, size, 24)).astype(np.float32)
    shape = (batch, size, size, CHANNELS) if architecture.source == "keras" else (batch, CHANNELS, size, size)
    return rng.standard_normal(shape).astype(np.float32)


def write(architecture: Architecture, variant: str, folder: Path) -> Path:
    """Export one variant into the folder, unless it lies there; quantised ones need the float one.

    raise : whatever the exporter raises
    """
    path = folder / f"{variant}.onnx"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{variant}.part.onnx"
    quiet = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        if variant in QUANTISERS:
            _quantise(architecture, variant, folder / f"{float_variant(architecture, folder)}.onnx", partial)
        elif variant == "keras":
            _keras(architecture, partial)
        else:
            _torch(architecture, variant, partial)
    partial.rename(path)
    return path


def _torch(architecture: Architecture, variant: str, path: Path) -> None:
    import torch

    torch.backends.mha.set_fastpath_enabled(False)  # a fused op that no exporter knows
    exporter, _, opset = variant.partition("-")
    torch.manual_seed(0)
    module = BUILDERS[architecture.source](architecture).eval()
    _spread_statistics(module)
    example = torch.from_numpy(images(architecture, 2))
    dynamic = architecture.name != "ssdlite320_mobilenet_v3_large"  # its post-processing is of one image
    if not dynamic:
        example = example[:1]
    options: dict[str, Any] = {"input_names": ["x"], "opset_version": int(opset)}
    if exporter == "dynamo":
        shapes = ({0: torch.export.Dim("n", min=1)},) if dynamic else None
        options |= {"dynamo": True, "external_data": False, "dynamic_shapes": shapes}
    else:
        options |= {"dynamo": False, "dynamic_axes": {"x": {0: "n"}} if dynamic else None}
    with torch.no_grad():
        torch.onnx.export(module, (example,), str(path), **options)


def _spread_statistics(module: Any) -> None:
    """Statistics of batch normalisations that are not 0 and 1, as after training."""
    import torch

    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.6, 1.4)


def _no_check() -> None:
    pass


@cache
def import_torchvision() -> Any:
    """torchvision beside a torch without CUDA: its wheel's own ops need one, so non-maximum suppression is written here."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for op in ("nms", "qnms"):
        library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

    def nms(boxes: Any, scores: Any, threshold: float) -> Any:
        left, kept = scores.argsort(descending=True, stable=True), []
        while len(left):
            best, left = left[0], left[1:]
            kept.append(best)
            left = left[boxes_module.box_iou(boxes[best][None], boxes[left])[0] <= threshold]
        return torch.stack(kept) if kept else left

    library.impl("nms", nms, "CPU")
    import torchvision
    from torchvision.ops import boxes as boxes_module

    boxes_module._assert_has_ops = _no_check
    return torchvision, library  # the library lives as long as its ops


def _from_torchvision(architecture: Architecture) -> Any:
    models = import_torchvision()[0].models
    kinds = (models, models.segmentation, models.detection)
    builder = next(getattr(kind, architecture.name) for kind in kinds if hasattr(kind, architecture.name))
    module = builder(weights=None, **dict(architecture.options))
    return _flat(module) if architecture.name.startswith(("lraspp", "deeplab", "ssd")) else module


def _from_timm(architecture: Architecture) -> Any:
    import_torchvision()
    import timm

    return timm.create_model(architecture.name, pretrained=False, **dict(architecture.options))


def _flat(module: Any) -> Any:
    """A module whose dictionary (or list of dictionaries) of results becomes a tuple, as exporters want it."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any) -> Any:
            found = self.module(x if not hasattr(module, "anchor_generator") else [x[0]])
            found = found[0] if isinstance(found, list) else found
            return tuple(found.values()) if isinstance(found, dict) else found

    return Flat()


def _own(architecture: Architecture) -> Any:
    from tests.bench.exported_modules import MODULES

    return MODULES[architecture.name]()


BUILDERS: dict[str, Callable[[Architecture], Any]] = {
    "torchvision": _from_torchvision, "timm": _from_timm, "torch": _own,
}  # fmt: skip


def _keras(architecture: Architecture, path: Path) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(0)
    side = architecture.size
    model = getattr(keras.applications, architecture.name)(weights=None, input_shape=(side, side, CHANNELS), classes=10)
    model(images(architecture, 1))  # or keras says that it was never called
    model.export(str(path), format="onnx", verbose=False)


def _quantise(architecture: Architecture, variant: str, source: Path, path: Path) -> None:
    """By onnxruntime; weights of 7 bits, as its manual says for x86 without VNNI, where its own sums of 8 bits saturate."""
    from onnxruntime import quantization as q

    if variant == "dynamic":
        q.quantize_dynamic(str(source), str(path), reduce_range=True)
        return
    import onnx

    name = onnx.load(str(source), load_external_data=False).graph.input[0].name

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            batches = 1 if architecture.name.startswith("ssd") else 2
            self.batches = iter([{name: images(architecture, 1, seed)} for seed in range(10, 10 + batches)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    form = q.QuantFormat.QOperator if variant.endswith("qoperator") else q.QuantFormat.QDQ
    q.quantize_static(str(source), str(path), Reader(), quant_format=form, reduce_range=True)
