"""What a board's process counts of Alula: layers, gradients, entropy decoding; networks and steps of training, by instruction.

    python3 -m tests.arm.count_ours JOB.json

Runs on an emulated board, under the plugin with `region=later,l1=...,l2=...`; bench.py starts it. The job names what to
count; every result is a line of JSON as soon as it is there. The region is the code of the kernel pack: no Python.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import alula
from alula.runtime.artifact import huffman
from alula.runtime.artifact.codes import decode_huffman
from alula.runtime.compiler import host_cpu, library
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.planning.program import Program
from alula.runtime.train import MSE, SGD, CrossEntropy, Trainer
from tests.arm import counter
from tests.arm.layers import FLOAT_BOUND, Layer, layers
from tests.arm.training import CHECKED_STEPS, GROUPS, RECIPE, SHIFT, GradientLayer, batch_of, gradient_layers

CODES, BITS = 100_000, 6  # symbols of the entropy decoding case


def tell(kind: str, name: str, **more: Any) -> None:
    """One result."""
    print(json.dumps({"kind": kind, "name": name, **more}), flush=True)


def layer(each: Layer) -> None:
    """Counts of one layer, from empty caches. The first run writes addresses and touches memory; the second counts."""
    graph, feeds = each.case.build()
    model = Model(graph, threads=1)
    model.run(feeds)
    counter.empty_caches()
    counts = counter.of_region(lambda: model.run(feeds))
    assert counts["all"], f"{each.name}: nothing of the pack ran"
    tell("layer", each.name, group=each.group, work=each.work, unit=each.unit, bound=each.bound, counts=counts)


def gradients(each: GradientLayer) -> None:
    """Counts of both gradients of a convolution in a step that trains it, with what turns and transforms its weights."""
    trainer, batch = Trainer(each.graph(), SGD(**RECIPE), MSE(), f"all,{SHIFT}", threads=1), each.batch()
    trainer.step(*batch)
    program, feeds = trainer.prepared(*batch)
    counter.empty_caches()
    steps = profile(program, feeds)
    for op, group in GROUPS.items():
        found = [step["counts"] for step in steps if step["op"] == op]
        assert found, f"{each.name}: no {op} ran"
        counts = {name: sum(c[name] for c in found) for name in counter.NAMES}
        kind = f"{'depthwise' if each.group > 1 else 'f32'}_{group}"
        tell("layer", each.name, group=kind, work=each.macs, unit="multiply-add", bound=FLOAT_BOUND, counts=counts)


def entropy() -> None:
    """Huffman codes of a bell-shaped source, decoded."""
    bell = np.random.default_rng(0).normal(1 << (BITS - 1), 1 << (BITS - 3), CODES)
    symbols = np.clip(np.rint(bell), 0, (1 << BITS) - 1).astype(np.uint8)
    stream = memoryview(huffman.encode(symbols, BITS))
    counter.empty_caches()
    counts = counter.of_region(lambda: decode_huffman(stream, CODES, BITS, "bench"))
    tell("layer", f"huffman {BITS} bits", group="entropy", work=CODES, unit="byte", bound=0.0, counts=counts)
    values, scales, zeros = (np.ones(n, np.float32) for n in (256, 64, 64))
    out = np.empty(64 * 1024, np.float32)
    for name, outer, inner in (("codebook by row", 1, 1024), ("codebook by channel", 1024, 1)):
        counter.empty_caches()
        counts = counter.of_region(
            lambda outer=outer, inner=inner: library().call(
                "codebook_lookup", symbols, values, scales, zeros, out, outer, 64, inner
            )
        )
        tell("layer", name, group="entropy", work=out.size, unit="element", bound=0.0, counts=counts)


def network(name: str, packed: str, arrays: str) -> None:
    """A packed network: its answer's distance from the expected one, the process's cost of a run, each instruction's."""
    stored = np.load(arrays)
    model = alula.load(packed, threads=1)
    feeds = {key: stored[f"in {key}"] for key in model.inputs}
    answer = model.run(feeds)
    difference = max(_difference(answer[key], stored[f"out {key}"]) for key in model.outputs)
    program = model.program({key: array.shape for key, array in feeds.items()})
    counter.empty_caches()
    steps = profile(program, feeds)
    counts = counter.per_run(lambda: model.run(feeds), warm=0)
    tell("network", name, difference_ratio=difference, macs=program.macs, counts=counts, steps=steps)


def step(name: str, packed: str) -> None:
    """A step of training: the losses of the first ones, the process's cost of one, each instruction's."""
    trainer = alula.load(packed, threads=1).trainer(optimizer=SGD(**RECIPE), loss=CrossEntropy())
    batch = batch_of(name)
    losses = [trainer.step(*batch).loss for _ in range(CHECKED_STEPS)]
    program, feeds = trainer.prepared(*batch)
    counter.empty_caches()
    steps = profile(program, feeds)
    counts = counter.per_run(lambda: trainer.step(*batch), warm=0)
    tell("step", name, losses=losses, macs=program.macs, counts=counts, steps=steps)


def profile(program: Program, feeds: Mapping[str, Array]) -> list[dict[str, Any]]:
    """The region's counts of each instruction of a program, with what it is."""

    def clock() -> Array:
        return np.array(list(counter.read().values()), np.int64)

    rows = []
    for instruction, counts in program.profile(feeds, 1, clock):
        node = instruction.node
        shapes = ["x".join(map(str, program.network.specs[n].dims)) for n in node.inputs if n in program.network.specs]
        rows.append({
            "kernel": instruction.kernel.name if instruction.kernel else "reference", "node": node.label, "op": node.op,
            "shapes": shapes, "macs": program.macs_of(node), "fused": [each.op for each in node.fused],
            "counts": dict(zip(counter.NAMES, map(int, counts), strict=True)),
        })  # fmt: skip
    return rows


def _difference(answer: Array, expected: Array) -> float:
    return float(np.abs(answer - expected).max() / np.abs(expected).max())


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pack = library().path
    counter.set_region(*counter.code_of(pack))
    tell("pack", pack.name, cpu=host_cpu())
    if job.get("layers"):
        for each in layers(host_cpu()):
            layer(each)
        entropy()
    if job.get("gradients"):
        for convolution in gradient_layers():
            gradients(convolution)
    for each in job.get("networks", ()):
        network(**each)
    for each in job.get("steps", ()):
        step(**each)


if __name__ == "__main__":
    main()
