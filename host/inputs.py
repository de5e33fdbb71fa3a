"""Inputs to run a network on: shapes from the command line, seeded random values, or arrays from a file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np

from alula.runtime.data.decoder import open_image
from alula.runtime.data.image import is_image_file
from alula.runtime.data.preprocessing import Preprocessing
from alula.runtime.errors import DataError, DTypeError, ShapeError, SourceError
from alula.runtime.files import check_file, printable
from alula.runtime.graph import Array, TensorSpec
from alula.runtime.memory.aligned import native
from alula.runtime.tasks.predictor import without_preprocessing

Shapes = dict[str, tuple[int, ...]]
# What numpy.load raises on files that are no arrays: of zip files also when they are encrypted or compressed otherwise
UNREADABLE = (
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TokenError,
)


def parse_shapes(texts: Sequence[str]) -> Shapes:
    """Shapes by input name from `x=1,3,48,320`; without a name they are for the only input, under the key "".

    raise : ShapeError on anything else
    """
    shapes: Shapes = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        try:
            shape = tuple(int(n) for n in numbers.replace("x", ",").split(",") if n)
        except ValueError:
            shape = (-1,)
        if min(shape, default=1) < 1:
            raise ShapeError(f"--shape {text}: expected NAME=1,3,48,320, got {numbers!r}; give whole sizes from 1 on")
        shapes[name] = shape
    return shapes


def resolve_shapes(specs: Mapping[str, TensorSpec], given: Shapes, where: str) -> Shapes:
    """The shape of every input: as given, else its own with the first free dimension taken as 1 (the batch).

    raise : ShapeError if a name is unknown, a fixed size differs, or another free dimension has no size
    """
    names = list(specs)
    given = {name or names[0]: shape for name, shape in given.items()}
    if unknown := sorted(set(given) - set(names)):
        raise ShapeError(f"{where}: expected shapes for {', '.join(names)}, got one for {unknown[0]}; check --shape")
    return {name: _resolve(spec, given.get(name), f"{where}: input {name}") for name, spec in specs.items()}


def _resolve(spec: TensorSpec, given: tuple[int, ...] | None, where: str) -> tuple[int, ...]:
    declared = ", ".join(map(str, spec.shape))
    if given is not None:
        fits = len(given) == len(spec.shape) and all(isinstance(d, str) or d == g for d, g in zip(spec.shape, given))
        if not fits:
            raise ShapeError(f"{where}: expected ({declared}), got {given}; give one of that shape")
        return given
    shape = []
    for axis, dim in enumerate(spec.shape):
        if isinstance(dim, str) and axis:
            raise ShapeError(
                f"{where}: expected a size for {dim!r} of ({declared}), got none; give it with --shape NAME=1,3,48,320"
            )
        shape.append(1 if isinstance(dim, str) else dim)
    return tuple(shape)


def random_inputs(specs: Mapping[str, TensorSpec], shapes: Shapes, seed: int = 0) -> dict[str, Array]:
    """Seeded values: standard normal for floats, 0 and 1 for integers (indices must stay in range)."""
    rng = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    for name, spec in specs.items():
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            values[name] = rng.standard_normal(shapes[name]).astype(dtype)
        else:
            values[name] = rng.integers(0, 2, shapes[name]).astype(dtype)
    return values


def load_inputs(
    path: Path, specs: Mapping[str, TensorSpec], how: Preprocessing | None = None, alpha: str = "white"
) -> dict[str, Array]:
    """Arrays from a .npy (the only input), a .npz (one array an input, by name), or an image.

    how   : what the network expects of an image
    alpha : white, black or drop: what a transparent image is laid over
    raise : SourceError if the file is none of these, ShapeError or DTypeError if an array does not fit, DataError for an image
            without preprocessing
    """
    check_file(path)
    if is_image(path):
        name, spec = next(iter(specs.items()))
        if how is None:
            raise DataError(without_preprocessing(printable(path)))
        if len(specs) != 1:
            raise ShapeError(
                f"{path}: expected a network with one input for an image, got {', '.join(specs)}; give a .npz"
            )
        ready = how.for_input(spec, str(path), how.layout)
        return {name: ready(open_image(path, ready.channels, alpha))}
    try:
        values, names = _arrays(path, list(specs))
    except UNREADABLE as error:
        # whatever numpy takes for a pickle is an array of objects, or no array at all
        got = "objects, or a file of another kind" if "pickle" in str(error) else error
        raise SourceError(
            f"{path}: expected a .npy or .npz file of numbers, got {got}; save them with numpy.save"
        ) from None
    for name, spec in specs.items():
        if name not in values:
            raise ShapeError(
                f"{path}: expected an array for input {name}, got {', '.join(names)}; name it so in the .npz"
            )
        dtype = np.asarray(values[name]).dtype  # what is no array in the archive comes as bytes
        if dtype.newbyteorder("=") != spec.dtype:
            kind = "text" if dtype.kind in "SU" else dtype
            raise DTypeError(f"{path}: expected {name} in {spec.dtype}, got {kind}; convert it with astype")
        _resolve(spec, values[name].shape, f"{path}: input {name}")
    return {name: native(value).reshape(value.shape) for name, value in values.items()}


def _arrays(path: Path, wanted: list[str]) -> tuple[dict[str, Array], list[str]]:
    """The arrays of these names, and the names of all that there are."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {wanted[0]: loaded}, wanted[:1]
    with loaded:
        return {name: loaded[name] for name in wanted if name in loaded}, list(loaded.files)


def is_image(path: Path) -> bool:
    """Whether an input is an image, by its suffix or its content, and no array."""
    return path.suffix.lower() not in (".npy", ".npz") and path.is_file() and is_image_file(path)
