"""Variables: their storage holds each element exactly once; small ones share pages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from alula.runtime.errors import GraphError
from alula.runtime.graph import Array
from alula.runtime.memory.packing import PLAIN, Packing, holds_each_once, positions
from alula.runtime.memory.variables import SMALL_BYTES, Slab, Variable

ORDERS: dict[str, tuple[bool, Callable[[Array], Array]]] = {
    "transposed": (True, lambda v: v.T),
    "padded": (True, lambda v: np.pad(v, ((0, 3), (1, 0)))),
    "the first group": (False, lambda v: v[:2]),
    "every other column": (False, lambda v: v[:, ::2]),
    "an element twice": (False, lambda v: np.concatenate([v.reshape(-1), v[0, :1]])),
    "one twice, one never": (False, lambda v: v.reshape(-1)[[0, 0, *range(2, v.size)]]),
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int64"])
@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_the_storage_only_if_it_holds_each_element_once(name: str, dtype: str) -> None:
    whole, make = ORDERS[name]
    order = Packing(name, make)
    value = np.arange(5 * 700).reshape(5, 700).astype(dtype)
    places = positions(order, value.shape, dtype)
    assert holds_each_once(places, value.size) == whole
    flat = make(value).reshape(-1)
    assert np.array_equal(np.where(places >= 0, value.reshape(-1)[places], 0), flat)
    variable = Variable("w", value, Slab())
    variable.settle(order)
    assert variable.packing == (order if whole else PLAIN)
    assert variable.value().tobytes() == value.tobytes()
    assert variable.storage.tobytes() == (flat if whole else value).tobytes()
    assert np.array_equal(variable.storage[variable.lookup(order)][places >= 0], flat[places >= 0])


def test_an_order_that_scales_is_refused() -> None:
    with pytest.raises(GraphError, match="freeze that layer"):
        positions(Packing("twice", lambda v: v * 2), (3, 4))


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
