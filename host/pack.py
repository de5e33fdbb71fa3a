"""Pack networks into one `.alula` file: optimise, choose each tensor's encoding, write.

Batch normalisation is folded before anything is quantised, so the weights that are rounded are the ones that run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from alula.host.quantize import Codes, affine_int8, codebook
from alula.runtime.artifact import write_artifact
from alula.runtime.artifact.content import check_finite, trimmed, weight_axes
from alula.runtime.artifact.encodings import Encoded, encode_exact, encode_raw, smallest
from alula.runtime.artifact.format import TRAINABLE
from alula.runtime.errors import ArtifactError
from alula.runtime.graph import Array, Graph

Bits = int | None
Progress = Callable[[int, int, str], None]  # (done, all, tensor that comes now)

MIN_ERROR_GAIN = 1.5  # a codebook gets a scale per channel if that divides its error power by this


class Imported(Protocol):
    """Whatever carries a graph, as an import's result does."""

    @property
    def graph(self) -> Graph: ...


@dataclass(frozen=True)
class PackedTensor:
    """What became of one tensor. `error_ratio` is the root mean square of the change over that of the weights."""

    graph: str
    name: str
    shape: tuple[int, ...]
    encoding: str
    bits_per_weight: float
    raw_bytes: int
    stored_bytes: int
    error_ratio: float


@dataclass(frozen=True)
class PackReport:
    """What was packed.

    raw_bytes : of all constants after optimisation, uncompressed
    """

    path: str
    size_bytes: int
    raw_bytes: int
    tensors: tuple[PackedTensor, ...]


def pack(
    graphs: Mapping[str, Imported | Graph],
    path: str | os.PathLike[str],
    bits: Bits | Mapping[str, Bits] = None,
    metadata: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    entropy: bool = True,
    trainable: bool = False,
) -> PackReport:
    """Optimise graphs and write them to one file, each tensor in its smallest encoding.

    bits    : of a weight's code, 1 to 8 (8: affine int8 or a codebook, the smaller); 16 is float16; None keeps every
              bit. One for all, or by graph. Biases, scales and small tensors are always exact
    entropy : Huffman coding where it helps
    trainable : keep batch normalisations, so that they can be trained; they are folded when the file is loaded
    raise   : ArtifactError for weights that are NaN, bits that are none of these, or content that the format has no room for
    """
    from alula.runtime.passes import optimise
    from alula.runtime.passes.trainable import trainable_form

    form = trainable_form if trainable else optimise
    ready = {name: trimmed(replace(form(_graph(value)), name=name)) for name, value in graphs.items()}
    total = sum(len(graph.constants) for graph in ready.values())
    rows: list[PackedTensor] = []
    encoded: dict[str, dict[str, Encoded]] = {}
    for name, graph in ready.items():
        graph_bits = bits.get(name) if isinstance(bits, Mapping) else bits
        if graph_bits not in (None, *range(1, 9), 16):
            raise ArtifactError(
                f"graph {name}: expected 1 to 8 or 16 bits, got {graph_bits}; leave bits out to keep weights exact"
            )
        axes = weight_axes(graph)
        encoded[name] = {}
        for constant in sorted(graph.constants):
            if progress:
                progress(len(rows), total, f"{name}/{constant}")
            array = graph.constants[constant]
            check_finite(array, constant in axes, f"graph {name}: tensor {constant}")
            axis = axes.get(constant)
            tensor, error = _encode(array, graph_bits if axis is not None else None, axis or 0, entropy)
            encoded[name][constant] = tensor
            rows.append(
                PackedTensor(
                    name, constant, tensor.spec.dims, f"{tensor.encoding}{f' {tensor.bits} bits' * bool(tensor.bits)}, {tensor.coding}",
                    tensor.bits_per_weight, tensor.spec.nbytes, len(tensor.payload), error,
                )
            )  # fmt: skip
    if progress:
        progress(total, total, "writing")
    about = {**(metadata or {}), **({TRAINABLE: True} if trainable else {})}
    artifact = write_artifact(path, ready, about, encoded)
    return PackReport(os.fspath(path), artifact.size, sum(row.raw_bytes for row in rows), tuple(rows))


def _encode(array: Array, bits: Bits, axis: int, entropy: bool) -> tuple[Encoded, float]:
    """The smallest encoding that is allowed, and the relative error it brings."""
    exact = encode_exact(array, entropy)
    if bits is None:
        return exact, 0.0
    if bits == 16:
        half = encode_raw(array, entropy, half=True)
        with np.errstate(over="ignore"):
            rounded = array.astype(np.float16)
        if len(half.payload) >= len(exact.payload) or not np.isfinite(rounded).all():
            return exact, 0.0
        return half, _error_ratio(array, rounded.astype(np.float32))
    candidates = [layer_codebook(array, bits, axis)]
    if bits == 8:
        candidates.append(affine_int8(array, axis))
    ways = [(codes.encoded(entropy), codes) for codes in candidates]
    best = smallest([exact, *(tensor for tensor, _ in ways)])
    return best, next((_error_ratio(array, codes.weights()) for tensor, codes in ways if tensor is best), 0.0)


def layer_codebook(array: Array, bits: int, axis: int) -> Codes:
    """A codebook for the layer; with a scale per channel where channels differ so much that it pays."""
    plain, scaled = codebook(array, bits), codebook(array, bits, axis)
    rest = tuple(i for i in range(array.ndim) if i != axis)
    energy = np.maximum(np.square(array, dtype=np.float64).sum(axis=rest), np.finfo(np.float32).tiny)

    def error(codes: Codes) -> float:
        """Error power over signal power, averaged over channels: each channel counts, however weak."""
        return float((np.square(array - codes.weights(), dtype=np.float64).sum(axis=rest) / energy).mean())

    return scaled if MIN_ERROR_GAIN * error(scaled) < error(plain) else plain


def _error_ratio(array: Array, changed: Array) -> float:
    power = float(np.square(array, dtype=np.float64).mean())
    return float(np.sqrt(np.square(array - changed, dtype=np.float64).mean() / power)) if power else 0.0


def _graph(value: Imported | Graph) -> Graph:
    return value if isinstance(value, Graph) else value.graph
