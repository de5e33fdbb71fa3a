"""Memory of variables: small ones share pages."""

from __future__ import annotations

import numpy as np

from alula.runtime.variables import SMALL_BYTES, Slab


def test_small_variables_share_pages_and_do_not_overlap() -> None:
    slab = Slab()
    sizes = [16, 1, 0, SMALL_BYTES // 4, SMALL_BYTES // 4 + 1, 100_000, *range(1, 200)]
    arrays = [slab.empty(size, np.dtype("float32")) for size in sizes]
    for number, array in enumerate(arrays):
        assert array.ctypes.data % 64 == 0
        array[:] = number
    for number, (size, array) in enumerate(zip(sizes, arrays, strict=True)):
        assert array.shape == (size,)
        assert (array == number).all()
    pages = {array.ctypes.data // 4096 for array in arrays[6:]}
    assert len(pages) < 40
