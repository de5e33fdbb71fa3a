"""How fast Huffman codes are decoded, and how near their size is to the entropy.

    python -m tests.bench.entropy --json entropy.json [--bits 6] [--rounds 15]

The codes are those of the text recogniser (PP-OCRv4) at 6 bits: every weight that `alula pack --bits 6` quantises.
Summary: decode_mb_s, decoded symbols (a byte each) in 10**6 a second on one core, all tensors one after the other, the
fastest round (a slower one was disturbed; the median is in the details); and size_over_entropy_ratio, bits of the streams
with their tables over the order-0 entropy of the codes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np

from alula.host.onnx.importer import import_onnx
from alula.host.pack import layer_codebook
from alula.report import Table
from alula.runtime.artifact import huffman
from alula.runtime.artifact.codes import decode_huffman
from alula.runtime.artifact.content import weight_axes
from alula.runtime.compiler import library
from alula.runtime.graph import Array
from alula.runtime.passes import optimise
from tests.bench.networks import ocr_models
from tests.bench.output import finish

MODEL = "ch_PP-OCRv4_rec_infer.onnx"


def entropy_bits(codes: Array) -> float:
    """Bits that the codes need at least if they are drawn independently."""
    counts = np.bincount(codes)
    counts = counts[counts > 0]
    return float((counts * np.log2(codes.size / counts)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--bits", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    library()

    graph = optimise(import_onnx(ocr_models() / MODEL).graph)
    codes = {
        name: layer_codebook(graph.constants[name], args.bits, axis).codes.reshape(-1)
        for name, axis in weight_axes(graph).items()
    }
    streams = {name: huffman.encode(symbols, args.bits) for name, symbols in codes.items()}
    count = sum(symbols.size for symbols in codes.values())
    coded = 8 * sum(map(len, streams.values()))
    entropy = sum(map(entropy_bits, codes.values()))

    seconds = []
    for _ in range(args.rounds):
        start = time.perf_counter()
        for name, stream in streams.items():
            decoded, _ = decode_huffman(memoryview(stream), codes[name].size, args.bits, name)
        seconds.append(time.perf_counter() - start)
    for name, stream in streams.items():
        decoded, _ = decode_huffman(memoryview(stream), codes[name].size, args.bits, name)
        assert (decoded == codes[name]).all(), name

    rows = [
        (name, symbols.size, entropy_bits(symbols) / symbols.size, 8 * len(streams[name]) / symbols.size)
        for name, symbols in sorted(codes.items(), key=lambda item: -item[1].size)
    ]
    summary = {
        "decode_mb_s": count / min(seconds) / 1e6,
        "size_over_entropy_ratio": coded / entropy,
        "entropy_bits": entropy / count,
        "coded_bits": coded / count,
    }
    details = {
        "bits": args.bits, "tensors": len(codes), "symbols": count, "decode_mb_s_median": count / median(seconds) / 1e6,
        "per_tensor": [dict(zip(("name", "symbols", "entropy_bits", "coded_bits"), row)) for row in rows],
    }  # fmt: skip
    finish(
        summary,
        details,
        Table(("tensor", "symbols", "entropy", "coded"), rows[:12], "the largest tensors, bits a code"),
        args.json,
    )


if __name__ == "__main__":
    main()
