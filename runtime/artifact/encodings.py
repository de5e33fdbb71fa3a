"""How a tensor is stored and decoded.

raw      : the elements as they are
f16      : float32 elements, rounded to float16
affine   : weight = (code - zero) * scale, with a scale and zero per channel of one axis, or for the whole tensor
codebook : weight = values[code], times a scale per channel of one axis if there is an axis

Codes are packed at a fixed width, or Huffman coded. For raw and f16, the byte planes listed in `planes` are Huffman coded
(plane 0 is the lowest byte): sign and exponent of trained weights fill the top plane unevenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from alula.runtime.artifact import codes as code_stream
from alula.runtime.artifact import huffman
from alula.runtime.artifact.format import ALIGNMENT, DAMAGED
from alula.runtime.artifact.huffman import U8
from alula.runtime.errors import ArtifactError
from alula.runtime.graph import Array, TensorSpec

ENCODINGS = ("raw", "f16", "affine", "codebook")
CODINGS = ("plain", "huffman")
MIN_PLANE_SAVING_RATIO = 0.05  # below it, raw elements stay as they are: they are read without a copy


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tensor as it is stored.

    bits   : of a code; 0 for raw and f16
    axis   : whose channels have a scale each; -1 for none
    values : entries of the codebook; else 0
    planes : byte planes that are Huffman coded, rising
    """

    spec: TensorSpec
    encoding: str
    coding: str
    payload: bytes | memoryview
    bits: int = 0
    axis: int = -1
    values: int = 0
    planes: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with the bytes themselves: the file that they are mapped from stays here."""
        fields = (self.spec, self.encoding, self.coding, bytes(self.payload), self.bits, self.axis, self.values)
        return Encoded, (*fields, self.planes)

    @property
    def bits_per_weight(self) -> float:
        """Stored bits over elements, tables and scales included."""
        return 8 * len(self.payload) / max(self.spec.size, 1)

    @property
    def channels(self) -> int:
        """How many scales there are along the axis."""
        return self.spec.dims[self.axis] if self.axis >= 0 else 1

    @property
    def stored_itemsize(self) -> int:
        """Bytes of a raw or f16 element."""
        return 2 if self.encoding == "f16" else self.spec.itemsize

    @property
    def table_size(self) -> int:
        """Bytes before the codes: scales, zeros, codebook."""
        if self.encoding == "affine":
            return 5 * self.channels
        if self.encoding == "codebook":
            return self.values * self.spec.itemsize + (4 * self.channels if self.axis >= 0 else 0)
        return 0

    def smallest_size(self) -> int:
        """The fewest bytes that the payload can have; plain payloads have exactly these."""
        count = self.spec.size
        if self.encoding in ("raw", "f16"):
            plain = count * (self.stored_itemsize - len(self.planes))
            return plain + len(self.planes) * code_stream.smallest_coded_size(count, 8)
        if self.coding == "plain":
            return self.table_size + code_stream.packed_size(count, self.bits)
        return self.table_size + code_stream.smallest_coded_size(count, self.bits)


def smallest(candidates: list[Encoded]) -> Encoded:
    """The candidate with the fewest bytes; the first of equals."""
    return min(candidates, key=lambda encoded: len(encoded.payload))


def encode_raw(array: Array, entropy: bool = True, half: bool = False) -> Encoded:
    """Elements as they are, or as float16; byte planes Huffman coded where that saves enough."""
    with np.errstate(over="ignore"):
        stored = _little(array.astype(np.float16) if half else array)
    encoding = "f16" if half else "raw"
    plain = Encoded(TensorSpec.of(array), encoding, "plain", stored.tobytes())
    if not entropy or not array.size:
        return plain
    planes = stored.reshape(-1).view(np.uint8).reshape(array.size, -1).T
    parts, coded = [], []
    for number, plane in enumerate(planes):
        part = huffman.encode(plane, 8)
        if len(part) < len(plane):
            coded.append(number)
        parts.append(part if len(part) < len(plane) else plane.tobytes())
    payload = b"".join(parts)
    if len(payload) > (1 - MIN_PLANE_SAVING_RATIO) * len(plain.payload):
        return plain
    return Encoded(plain.spec, encoding, "huffman", payload, planes=tuple(coded))


def encode_affine(
    spec: TensorSpec, codes: U8, scales: Array, zeros: U8, axis: int = -1, entropy: bool = True
) -> Encoded:
    """8-bit codes with a scale and a zero per channel of `axis` (-1: one for all)."""
    table = scales.astype("<f4").tobytes() + zeros.astype(np.uint8).tobytes()
    return _encode_codes(Encoded(spec, "affine", "plain", table, bits=8, axis=axis), codes, entropy)


def encode_codebook(
    spec: TensorSpec, codes: U8, values: Array, scales: Array | None = None, axis: int = -1, entropy: bool = True
) -> Encoded:
    """Codes that index `values` (1 to 256 of the tensor's dtype), each channel of `axis` times its scale."""
    if len(values) < 2:
        values = np.repeat(values, 2)  # a complete code has two symbols or more
    bits = max(1, math.ceil(math.log2(len(values))))
    table = _little(values).tobytes() + (b"" if scales is None else scales.astype("<f4").tobytes())
    return _encode_codes(
        Encoded(spec, "codebook", "plain", table, bits=bits, axis=axis, values=len(values)), codes, entropy
    )


def encode_exact(array: Array, entropy: bool = True) -> Encoded:
    """The smallest encoding that gives back every bit."""
    candidates = [encode_raw(array, entropy)]
    if array.nbytes <= ALIGNMENT:  # nothing to gain: sections are that far apart
        return candidates[0]
    patterns = np.ascontiguousarray(array).reshape(-1).view(f"u{array.itemsize}")  # -0.0 is not 0.0 here
    if array.size and len(np.unique(patterns[: 1 << 14])) <= 256:
        values, codes = np.unique(patterns, return_inverse=True)
        if len(values) <= 256:
            codebook = values.view(array.dtype)
            candidates.append(
                encode_codebook(TensorSpec.of(array), codes.reshape(-1).astype(np.uint8), codebook, entropy=entropy)
            )
    if array.dtype == np.float32 and array.size:
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if (half.astype(np.float32).view(np.uint32) == array.view(np.uint32)).all():
            candidates.append(encode_raw(array, entropy, half=True))
    return smallest(candidates)


def _encode_codes(head: Encoded, codes: U8, entropy: bool) -> Encoded:
    """Add the codes to a payload that holds the tables so far, in the smaller way."""
    flat = np.ascontiguousarray(codes, np.uint8).reshape(-1)
    ways = [("plain", code_stream.pack(flat, head.bits))]
    if entropy and len(flat):
        ways.append(("huffman", huffman.encode(flat, head.bits)))
    coding, stream = min(ways, key=lambda way: len(way[1]))
    payload = bytes(head.payload) + stream
    return Encoded(head.spec, head.encoding, coding, payload, head.bits, head.axis, head.values)


def decode(encoded: Encoded, where: str) -> Array:
    """The tensor. Plain raw elements are a read-only view of the payload.

    raise : ArtifactError if the payload is not what its header says
    """
    data = memoryview(encoded.payload)
    if encoded.encoding in ("raw", "f16"):
        return _decode_elements(encoded, data, where)
    codes = _decode_codes(encoded, data[encoded.table_size :], where)
    channels, count = encoded.channels, encoded.spec.size
    scales = np.ones(channels, np.float32)
    zeros = np.zeros(channels, np.float32)
    if encoded.encoding == "affine":
        values = np.arange(256, dtype=np.float32)
        scales = np.frombuffer(data[: 4 * channels], "<f4").astype(np.float32)
        zeros = np.frombuffer(data[4 * channels : 5 * channels], np.uint8).astype(np.float32)
    else:
        dtype = np.dtype(encoded.spec.dtype)
        split = encoded.values * dtype.itemsize
        values = np.zeros(256, dtype)
        values[: encoded.values] = np.frombuffer(data[:split], dtype.newbyteorder("<"))
        if dtype != np.float32:
            return _checked_bool(values[codes].reshape(encoded.spec.dims), where)
        if encoded.axis >= 0:
            scales = np.frombuffer(data[split : encoded.table_size], "<f4").astype(np.float32)
    out = np.empty(encoded.spec.dims, np.float32)
    if count:
        from alula.runtime.compiler import library

        outer = math.prod(encoded.spec.dims[: encoded.axis]) if encoded.axis >= 0 else 1
        inner = count // (outer * channels)
        library().call("codebook_lookup", codes, values, scales, zeros, out, outer, channels, inner)
    return out


def _decode_codes(encoded: Encoded, data: memoryview, where: str) -> U8:
    """The codes; every one is below 2**bits, and below the number of values if there is a codebook."""
    count = encoded.spec.size
    if encoded.coding == "plain":
        codes = code_stream.unpack(data, count, encoded.bits)
    else:
        codes, used = code_stream.decode_huffman(data, count, encoded.bits, where)
        if used != len(data):
            raise ArtifactError(f"{where}: expected {used} bytes of codes, got {len(data)}; {DAMAGED}")
    if encoded.values and count and int(codes.max()) >= encoded.values:
        raise ArtifactError(f"{where}: expected codes below {encoded.values}, got {int(codes.max())}; {DAMAGED}")
    return codes


def _decode_elements(encoded: Encoded, data: memoryview, where: str) -> Array:
    count, itemsize = encoded.spec.size, encoded.stored_itemsize
    stored = np.dtype("<f2" if encoded.encoding == "f16" else np.dtype(encoded.spec.dtype).newbyteorder("<"))
    if encoded.coding == "plain":
        elements = np.frombuffer(data, stored)
    else:
        planes: list[U8] = []
        at = 0
        for number in range(itemsize):
            if number in encoded.planes:
                plane, used = code_stream.decode_huffman(data[at:], count, 8, where)
            else:
                if len(data) - at < count:
                    raise ArtifactError(
                        f"{where}: expected {count} bytes of plane {number}, got {len(data) - at}; {DAMAGED}"
                    )
                plane, used = np.frombuffer(data[at : at + count], np.uint8), count
            planes.append(plane)
            at += used
        if at != len(data):
            raise ArtifactError(f"{where}: expected {at} bytes of planes, got {len(data)}; {DAMAGED}")
        elements = _merge(planes).view(stored)
    array = elements.reshape(encoded.spec.dims)
    return _checked_bool(array.astype(encoded.spec.dtype) if encoded.encoding == "f16" else array, where)


def _merge(planes: list[U8]) -> Array:
    """The bytes of elements, from their planes."""
    count = len(planes[0])
    if len(planes) != 4:
        return np.stack(planes, axis=1).reshape(-1)
    from alula.runtime.compiler import library

    merged = np.empty(count, np.int32)
    library().call("merge_planes", *planes, merged, count)
    return merged


def _checked_bool(array: Array, where: str) -> Array:
    """The array, unless it is of bools that are neither 0 nor 1."""
    if array.dtype == np.bool_ and array.size and int(array.view(np.uint8).max()) > 1:
        raise ArtifactError(f"{where}: expected bools of 0 and 1, got {int(array.view(np.uint8).max())}; {DAMAGED}")
    return array


def _little(array: Array) -> Array:
    """The array in C order, little-endian."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
