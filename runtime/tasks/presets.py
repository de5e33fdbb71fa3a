"""The usual ways of feeding images to networks, by name. Another one is a line here."""

from __future__ import annotations

from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import DataError

PRESETS = {
    # torchvision, timm, transformers: networks trained on ImageNet
    "imagenet": Preprocessing(resize="crop", crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    # TensorFlow's Inception and MobileNet: -1 to 1
    "inception": Preprocessing(resize="crop", crop=0.875, mean=(0.5,), std=(0.5,)),
    # Caffe and Keras' ResNet and VGG: blue, green, red less their means
    "caffe": Preprocessing(colour="bgr", resize="crop", crop=0.875, scale=1.0, mean=(103.939, 116.779, 123.68)),
    # 0 to 255, as the image has them
    "raw": Preprocessing(scale=1.0),
}


def preset(name: str) -> Preprocessing:
    """A preset.

    raise : DataError if there is none of that name
    """
    if name not in PRESETS:
        raise DataError(f"preset: expected {', '.join(PRESETS)}, got {name!r}; or give --mean, --std, --scale")
    return PRESETS[name]
