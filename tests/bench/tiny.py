"""Calls of networks under 100 us beside onnxruntime: one thread each, as users call them, alternating in one process.

    python -m tests.bench.tiny --json tiny.json [--rounds 15] [--networks gru,lenet]

Ours is `model(x)`, theirs `session.run(None, {"x": x})`; both return arrays that the caller owns. Summary: tiny_ratio_min
and tiny_ratio_geomean (times onnxruntime's speed; above 1 ours is faster), and tiny_us_NETWORK of ours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np

import alula
from alula.host.onnx.importer import import_onnx
from alula.host.ort import OrtModel
from alula.host.pack import pack
from alula.host.race import race
from alula.host.verify import compare
from alula.report import Table
from tests.bench.output import finish
from tests.bench.tiny_networks import TINY

TOLERANCE_RATIO = 1e-4


def measure(name: str, folder: Path, rounds: int, block_s: float) -> dict[str, Any]:
    """One network. Both must give the same answer before either is timed."""
    source, packed = folder / f"{name}.onnx", folder / f"{name}.alula"
    source.write_bytes(TINY[name]().SerializeToString())
    pack({name: import_onnx(source, name)}, packed)
    ours, theirs = alula.load(packed, threads=1), OrtModel(source, 1)
    rng = np.random.default_rng(0)
    shapes = {key: [d if isinstance(d, int) else 1 for d in spec.shape] for key, spec in ours.inputs.items()}
    values = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    answer, expected = ours.run(values), theirs(values)
    difference = max(compare(key, answer[key], expected[key]).ratio for key in ours.outputs)
    if not difference <= TOLERANCE_RATIO:
        sys.exit(f"{name}: expected onnxruntime's answer within {TOLERANCE_RATIO:g}, got {difference:.2e}; not timed")
    arrays, run = tuple(values.values()), theirs.session.run
    if len(arrays) == 1:
        (x,), (key,) = arrays, values
        result = race(lambda: ours(x), lambda: run(None, {key: x}), rounds, block_s)
    else:
        result = race(lambda: ours(*arrays), lambda: run(None, dict(zip(values, arrays))), rounds, block_s)
    return {
        "network": name, "us": result.ours_ms * 1e3, "onnxruntime_us": result.theirs_ms * 1e3, "ratio": result.ratio,
        "ratios": result.ratios, "difference_ratio": difference,
        "reference_nodes": len(ours.program({key: tuple(shape) for key, shape in shapes.items()}).reference_nodes),
    }  # fmt: skip


def summarise(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The flat summary."""
    ratios = [row["ratio"] for row in rows]
    return {
        "tiny_ratio_min": min(ratios),
        "tiny_ratio_geomean": geometric_mean(ratios),
        **{f"tiny_us_{row['network']}": row["us"] for row in rows},
    }


def main() -> None:
    """Race the networks, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--block", type=float, default=0.05, metavar="S", help="length of a block of runs (0.05 s)")
    parser.add_argument("--networks", type=lambda text: text.split(","), default=list(TINY), metavar="A,B")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(name, Path(folder), args.rounds, args.block) for name in args.networks]
    cells = [
        (r["network"], f"{r['us']:.1f}", f"{r['onnxruntime_us']:.1f}", f"{r['ratio']:.2f}",
         f"{min(r['ratios']):.2f}-{max(r['ratios']):.2f}", r["reference_nodes"])
        for r in rows
    ]  # fmt: skip
    columns = ("network", "us", "onnxruntime us", "ratio", "of rounds", "reference nodes")
    finish(summarise(rows), {"rounds": args.rounds, "networks": rows}, Table(columns, cells), args.json)


if __name__ == "__main__":
    main()
