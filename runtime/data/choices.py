"""What a user chooses about images and classes, by name. Without NumPy, so that a command line is read quickly."""

from __future__ import annotations

LAYOUTS = ("NCHW", "NHWC")
ALPHA = ("white", "black", "drop")  # the ground that transparent images are laid over
COLOURS = ("rgb", "bgr", "grey")
RESIZES = ("stretch", "letterbox", "corner", "crop")
INTERPOLATIONS = ("area", "linear", "cubic", "nearest")
DTYPES = ("float32", "float16", "uint8")  # of an input that takes images
TASKS = ("classify", "detect", "pose", "segment", "arrays")
HEADS = ("new", "keep")  # what becomes of a network's head where the classes of the data are others
