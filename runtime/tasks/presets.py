"""The usual ways of feeding images to networks, by name. Another one is a line here. Without NumPy, see `choices.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alula.runtime.errors import DataError

if TYPE_CHECKING:
    from alula.runtime.data.preprocessing import Preprocessing

LETTERBOX = {"resize": "letterbox", "interpolation": "linear"}
# Name -> what differs from the defaults of `Preprocessing`; `decoder` is the task's (`runtime/tasks/decoders/`)
PRESETS: dict[str, dict[str, Any]] = {
    # torchvision, timm, transformers: networks trained on ImageNet
    "imagenet": {"resize": "crop", "crop": 0.875, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    # TensorFlow's Inception and MobileNet: -1 to 1
    "inception": {"resize": "crop", "crop": 0.875, "mean": (0.5,), "std": (0.5,)},
    # Caffe and Keras' ResNet and VGG: blue, green, red less their means
    "caffe": {"colour": "bgr", "resize": "crop", "crop": 0.875, "scale": 1.0, "mean": (103.939, 116.779, 123.68)},
    # 0 to 255, as the image has them
    "raw": {"scale": 1.0},
    # Detectors, as their authors' scripts feed them
    "yolov5": {**LETTERBOX, "decoder": "yolov5"},
    "yolov5_raw": {**LETTERBOX, "decoder": "yolov5_raw"},
    "yolov7_raw": {**LETTERBOX, "decoder": "yolov7_raw"},
    "yolov6": {**LETTERBOX, "decoder": "yolov6"},
    "yolov8": {**LETTERBOX, "decoder": "yolov8"},
    "yolov8_pose": {**LETTERBOX, "decoder": "yolov8_pose"},
    "yolov8_segment": {**LETTERBOX, "decoder": "yolov8_segment"},
    "yolo26": {**LETTERBOX, "decoder": "end_to_end"},
    "yolo26_pose": {**LETTERBOX, "decoder": "end_to_end_pose"},
    "yolo26_segment": {**LETTERBOX, "decoder": "end_to_end_segment"},
    "yolox": {"colour": "bgr", "resize": "corner", "interpolation": "linear", "scale": 1.0, "decoder": "yolox"},
    "nanodet": {"colour": "bgr", "interpolation": "linear", "scale": 1.0, "mean": (103.53, 116.28, 123.675),
                "std": (57.375, 57.12, 58.395), "decoder": "nanodet"},
    "picodet": {"interpolation": "cubic", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "decoder": "picodet"},
}  # fmt: skip


def preset(name: str) -> Preprocessing:
    """The preprocessing of a preset.

    raise : DataError if there is none of that name
    """
    from alula.runtime.data.preprocessing import Preprocessing

    if name not in PRESETS:
        raise DataError(f"preset: expected {', '.join(PRESETS)}, got {name!r}; or give --mean, --std, --scale")
    return Preprocessing(**{key: value for key, value in PRESETS[name].items() if key != "decoder"})


def preset_decoder(name: str | None) -> str:
    """The decoder of a preset; "" if it is none of detectors."""
    return str(PRESETS.get(name or "", {}).get("decoder", ""))
