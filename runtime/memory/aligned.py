"""Arrays that begin on a cache line, with readable memory after them; memory that shows what was never written."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os

import numpy as np

from alula.runtime.errors import DTypeError
from alula.runtime.graph import Array

ALIGNMENT = 64
TAIL = 64  # kernels may read one vector past the end of an array
POISON = 0xFF  # of each byte: NaN in floats, -1 in integers


def is_checking() -> bool:
    """Whether this process proves its plans and runs on poisoned memory; see `checking.py`."""
    return os.environ.get("ALULA_CHECK", "") not in ("", "0")


def aligned_empty(size: int, dtype: str = "float32") -> Array:
    """A flat array that begins on a cache line, with readable memory after it."""
    nbytes = size * np.dtype(dtype).itemsize
    raw = np.empty(nbytes + ALIGNMENT + TAIL, np.uint8)
    if is_checking():
        raw[:] = POISON
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes].view(dtype)


def checked_array(name: str, array: object) -> Array:
    """What was given for an input, if it is an array of which every element counts.

    raise : DTypeError, which names the input
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"input {name}: expected a NumPy array, got {type(array).__name__}; use np.asarray")
    if type(array) is not np.ndarray and np.ma.is_masked(array):
        raise DTypeError(
            f"input {name}: expected an array without a mask, got masked elements; give them values with filled"
        )
    return array


def native(array: Array) -> Array:
    """The array in C order and in this machine's order of bytes; itself if it is."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def aligned(array: Array) -> Array:
    """The array in C order, beginning on a cache line; itself if `aligned_empty` made it."""
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0 and _has_tail(array):
        return array
    copy = aligned_empty(array.size, array.dtype.name).reshape(array.shape)
    copy[...] = array
    return copy


def _has_tail(array: Array) -> bool:
    owner = array.base
    if (
        not isinstance(owner, np.ndarray)
        or owner.dtype != np.uint8
        or owner.base is not None
        or not owner.flags.writeable
    ):
        return False
    return bool(array.ctypes.data + array.nbytes + TAIL <= owner.ctypes.data + owner.nbytes)


def trim_heap() -> None:
    """Give free pages of the heap back to the system, where the C library can (glibc): planning leaves many."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
