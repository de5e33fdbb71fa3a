"""The usual ways of feeding images to networks, by name. Another one is a line here. Without NumPy, see `choices.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alula.runtime.errors import DataError

if TYPE_CHECKING:
    from alula.runtime.data.preprocessing import Preprocessing

# Name -> what differs from the defaults of `Preprocessing`
PRESETS: dict[str, dict[str, Any]] = {
    # torchvision, timm, transformers: networks trained on ImageNet
    "imagenet": {"resize": "crop", "crop": 0.875, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    # TensorFlow's Inception and MobileNet: -1 to 1
    "inception": {"resize": "crop", "crop": 0.875, "mean": (0.5,), "std": (0.5,)},
    # Caffe and Keras' ResNet and VGG: blue, green, red less their means
    "caffe": {"colour": "bgr", "resize": "crop", "crop": 0.875, "scale": 1.0, "mean": (103.939, 116.779, 123.68)},
    # 0 to 255, as the image has them
    "raw": {"scale": 1.0},
}


def preset(name: str) -> Preprocessing:
    """A preset.

    raise : DataError if there is none of that name
    """
    from alula.runtime.data.preprocessing import Preprocessing

    if name not in PRESETS:
        raise DataError(f"preset: expected {', '.join(PRESETS)}, got {name!r}; or give --mean, --std, --scale")
    return Preprocessing(**PRESETS[name])
