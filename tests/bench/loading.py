"""What a batch of images costs before the network sees it.

    python -m tests.bench.loading --json loading.json [--batch 32] [--rounds 500]

Images of CIFAR's size in memory: read alone, and with crop, flip and normalisation, in both layouts. No thread.

Summary: batch_ms (crop, flip, normalise, NHWC; median), batch_nchw_ms, read_ms (normalised alone), batch.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from alula.report import Table
from alula.runtime.data import ArraySet, Augment, Loader
from tests.bench.output import finish

N = 4096
RECIPE = Augment(padding=4, flip=True, mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))


def batch_ms(loader: Loader, rounds: int) -> float:
    """Median time of a batch, ms."""
    times: list[float] = []
    epoch = 0
    while len(times) < rounds:
        batches = loader.epoch(epoch)
        next(batches)  # makes the epoch's order and memory
        while len(times) < rounds:
            start = time.perf_counter()
            if next(batches, None) is None:
                break
            times.append(time.perf_counter() - start)
        epoch += 1
    return float(np.median(times)) * 1e3


def main() -> None:
    """Time the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=500)
    args = parser.parse_args()
    x = np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3), np.uint8)
    data = ArraySet("random images", x, np.arange(N) % 10)
    cases = {"batch_ms": (RECIPE, "NHWC"), "batch_nchw_ms": (RECIPE, "NCHW"), "read_ms": (Augment(), "NHWC")}
    found = {
        name: batch_ms(Loader(data, args.batch, augment=augment, layout=layout, prefetch=0, reuse=True), args.rounds)
        for name, (augment, layout) in cases.items()
    }
    table = Table(("case", "ms"), list(found.items()))
    finish({**found, "batch": args.batch}, {"rounds": args.rounds}, table, args.json)


if __name__ == "__main__":
    main()
