"""Inference beside onnxruntime: batch 1, float32, alternating in one process, medians over rounds.

    python -m tests.bench.inference --json inference.json [--threads 1,2] [--rounds 15] [--networks resnet20,rec]

Summary: ratio_geomean_1t, ratio_min_1t, ratio_resnet20_1t, ratio_geomean_2t (times onnxruntime's speed; above 1 ours is
faster). Details per network and thread count: ms of both, GFLOP/s, and peak_fraction against the multiply-add rate
measured in the same run, before and after the network. A convolution counts with its direct multiply-adds; Winograd
does fewer, so the fraction of a network of 3x3 convolutions may pass 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import alula
from alula.arguments import threads_list
from alula.host.ort import OrtModel
from alula.host.race import peak_gflops, race
from alula.host.verify import compare
from alula.report import Table
from tests.bench.networks import NETWORKS, Network, prepare
from tests.bench.output import finish

TOLERANCE_RATIO = 1e-4


def measure(network: Network, threads: int, rounds: int, block_s: float) -> dict[str, Any]:
    """One network at one thread count. Both must give the same answer before either is timed."""
    ours, theirs = alula.load(network.packed, threads=threads), OrtModel(network.onnx, threads)
    values = network.values
    answer, expected = ours.run(values), theirs(values)
    difference = max(compare(name, answer[name], expected[name]).ratio for name in ours.outputs)
    if not difference <= TOLERANCE_RATIO:
        sys.exit(
            f"{network.name}: expected onnxruntime's answer within {TOLERANCE_RATIO:g}, got {difference:.2e}; not timed"
        )
    peak = peak_gflops(threads)
    result = race(lambda: ours.run(values), lambda: theirs(values), rounds, block_s)
    peak = max(peak, peak_gflops(threads))
    gflop = 2 * ours.program(network.shapes).macs / 1e9
    return {
        "network": network.name, "threads": threads, "ms": result.ours_ms, "onnxruntime_ms": result.theirs_ms,
        "ratio": result.ratio, "ratios": result.ratios, "gflop_s": gflop / result.ours_ms * 1e3,
        "peak_gflop_s": peak, "peak_fraction": gflop / result.ours_ms * 1e3 / peak, "difference_ratio": difference,
    }  # fmt: skip


def summarise(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The flat summary; names end in the number of threads."""
    summary = {}
    for threads in sorted({row["threads"] for row in rows}):
        ratios = {row["network"]: row["ratio"] for row in rows if row["threads"] == threads}
        summary[f"ratio_geomean_{threads}t"] = geometric_mean(ratios.values())
        summary[f"ratio_min_{threads}t"] = min(ratios.values())
        if "resnet20" in ratios:
            summary[f"ratio_resnet20_{threads}t"] = ratios["resnet20"]
    return summary


def main() -> None:
    """Prepare the networks in a temporary folder, race them, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--threads", type=threads_list, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--block", type=float, default=0.15, metavar="S", help="length of a block of runs (0.15 s)")
    parser.add_argument("--networks", type=lambda text: text.split(","), default=list(NETWORKS), metavar="A,B")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.networks:
            network = prepare(name, Path(folder))
            for threads in args.threads:
                rows.append(measure(network, threads, args.rounds, args.block))
                print(f"{name}, {threads} threads: {rows[-1]['ratio']:.2f}", file=sys.stderr)
    cells = [
        (r["network"], r["threads"], f"{r['ms']:.3f}", f"{r['onnxruntime_ms']:.3f}", f"{r['ratio']:.2f}",
         f"{min(r['ratios']):.2f}-{max(r['ratios']):.2f}", f"{r['gflop_s']:.1f}", f"{r['peak_fraction']:.0%}")
        for r in rows
    ]  # fmt: skip
    columns = ("network", "threads", "ms", "onnxruntime ms", "ratio", "of rounds", "GFLOP/s", "of the peak")
    finish(summarise(rows), {"rounds": args.rounds, "networks": rows}, Table(columns, cells), args.json)


if __name__ == "__main__":
    main()
