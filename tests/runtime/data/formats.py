"""Small data sets in the real formats, written byte by byte."""

import gzip
import struct

import numpy as np


def random_images(n, h=6, w=5, c=3, seed=1):
    """(N, H, W, C) uint8, and labels (N,) that name every class of 0, 1, 2."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, h, w, c), np.uint8), np.arange(n) % 3


def write_ppm(path, image):
    """A binary PPM or PGM, with a comment in its header."""
    h, w, c = image.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"P{6 if c == 3 else 5}\n# a comment\n{w} {h}\n255\n".encode() + image.tobytes())


def write_class_folders(folder, images, labels, names=("ant", "bee", "cat")):
    """`<class>/NNN.ppm`; the order of the files in the set is by class, then by number."""
    for number, (image, label) in enumerate(zip(images, labels)):
        write_ppm(folder / names[label] / f"{number:03d}.ppm", image)


def write_cifar(path, labels, images):
    """CIFAR records; labels (N, 1) or (N, 2)."""
    planar = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    path.write_bytes(np.concatenate([labels.astype(np.uint8), planar], axis=1).tobytes())


def write_idx(path, array):
    """An idx file; compressed if its name ends in .gz."""
    content = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def everything(data):
    """All samples of a set and which could be read."""
    out = np.zeros((len(data), *data.shape), data.dtype)
    good = data.read(np.arange(len(data)), out)
    return out, good
