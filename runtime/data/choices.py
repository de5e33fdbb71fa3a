"""What a user chooses about images, by name. Without NumPy, so that a command line is read quickly."""

from __future__ import annotations

LAYOUTS = ("NCHW", "NHWC")
ALPHA = ("white", "black", "drop")  # the ground that transparent images are laid over
