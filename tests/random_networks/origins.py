"""Which element of which ONNX initializer each element of a trained tensor is.

Import and passes rename, transpose and fold weights. So the model is imported once more with numbers for weights, each
one once: what comes out says where every element came from, whatever was done to it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from alula.host.onnx.importer import import_onnx
from alula.runtime.graph import Array
from alula.runtime.passes.trainable import trainable_form
from tests.random_networks.draw import SETTING

FIRST = 100_000  # the numbers begin where no constant of a pass lies, and end where float32 still has all of them


class Origins:
    """The initializers of a model laid end to end, and where each constant of its trainable form comes from.

    begins : the first number of each initializer; its elements are numbered from there, in ONNX's order
    places : constant of the graph -> (shape of it) whole numbers, for those that only rearrange initializers
    mixed  : the float32 constants that do not
    """

    def __init__(self, model: onnx.ModelProto, roles: dict[str, str]) -> None:
        numbered = onnx.ModelProto()
        numbered.CopyFrom(model)
        self.begins: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        count = FIRST
        for tensor in numbered.graph.initializer:
            if roles[tensor.name] == SETTING:
                continue
            shape, size = tuple(tensor.dims), int(np.prod(tensor.dims))
            self.begins[tensor.name], self.shapes[tensor.name] = count, shape
            values = np.arange(count, count + size, dtype=np.float32).reshape(shape)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            count += size
        graph = trainable_form(trainable_form(import_onnx(numbered).graph))
        self.places: dict[str, Array] = {}
        self.mixed: set[str] = set()
        for name in graph.constants:
            values = graph.constants[name]
            if values.dtype != np.float32:
                continue
            whole = values == np.round(values)
            if values.size and whole.all() and values.min() >= FIRST and values.max() < count:
                self.places[name] = values.astype(np.int64)
            else:
                self.mixed.add(name)
        self.names = np.repeat(list(self.begins), [int(np.prod(self.shapes[n])) for n in self.begins])
        self.count = count

    def initializers(self, constants: Iterable[str]) -> set[str]:
        """The initializers that have a part in these constants of the graph."""
        return {
            str(name) for c in constants if c in self.places for name in np.unique(self.names[self.places[c] - FIRST])
        }

    def missing(self, constants: Iterable[str], initializers: Iterable[str]) -> list[str]:
        """Those of the initializers that are not wholly in these constants."""
        seen = np.zeros(self.count, bool)
        for name in constants:
            if name in self.places:
                seen[self.places[name]] = True
        return [n for n in initializers if not seen[self.begins[n] :][: int(np.prod(self.shapes[n]))].all()]

    def flat(self, values: dict[str, Array]) -> Array:
        """Values of initializers end to end, at their numbers."""
        whole = np.full(self.count, np.nan)
        for name, array in values.items():
            whole[self.begins[name] :][: array.size] = array.reshape(-1)
        return whole
