"""Training beside torch: full updates, float32, alternating in one process, medians over rounds.

    python -m tests.bench.training --json training.json [--threads 1,2] [--rounds 9] [--cases resnet20_b1,resnet20_b8]

A step is forward, cross-entropy, backward and SGD with momentum and weight decay, with batch statistics. Both start
from the same weights and take one checked step before any is timed. Summary: ratio_<network>_b<batch> with one thread
(times torch's speed; above 1 ours is faster), ratio_min_2t with two. Over batch 8 with one thread, alternating, medians of
the rounds' ratios: step_over_forward_max, a step over its own forward pass alone (with the batch's statistics), and
step_over_inference_max, a step over the forward pass as inference runs it (batch normalisation folded, weights
transformed beforehand).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from alula.arguments import threads_list
from alula.host.onnx.importer import import_onnx
from alula.host.race import peak_gflops, race
from alula.host.zoo import ZOO, build
from alula.report import Table
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.passes.trainable import trainable_form
from alula.runtime.train import SGD, CrossEntropy, Trainer
from alula.runtime.train.network import with_batch_statistics
from tests.bench.output import finish
from tests.torch_network import TorchNetwork

CASES = {
    f"{network}_b{batch}": (zoo, batch)
    for network, zoo, batches in (
        ("resnet20", "resnet20-cifar", (1, 8, 32)),
        ("mobilenetv2", "mobilenetv2-cifar", (1, 8)),
        ("resnet74", "resnet74-cifar", (8,)),
    )
    for batch in batches
}
RECIPE = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}
FORWARD, REST = "forward", "rest"
PHASES = {"ConvWeightGrad": "weight gradient", "ConvTranspose": "input gradient", "SGDUpdate": "update"}
TOLERANCE_RATIO = 1e-3  # of the loss, after one step of each


class Rivals:
    """The same network in both, with one batch to train on."""

    def __init__(self, zoo: str, batch: int, threads: int) -> None:
        torch.set_num_threads(threads)
        model, rng = build(zoo), np.random.default_rng(0)
        self.x = rng.standard_normal((batch, *ZOO[zoo].input_shape)).astype(np.float32)
        self.y = rng.integers(0, ZOO[zoo].num_classes, batch)
        self.trainer = Trainer(import_onnx(model).graph, SGD(**RECIPE), CrossEntropy(), threads=threads)
        form = trainable_form(import_onnx(model).graph)
        learning = [node.outputs[0] for node in form.nodes if node.op == "BatchNormalization"]
        self.forward = Model(with_batch_statistics(form, learning), threads)
        self.inference = Model(optimise(import_onnx(model).graph), threads)
        self.network = TorchNetwork(model).train()
        self.optimizer = torch.optim.SGD(self.network.parameters(), **RECIPE)
        self.torch_x, self.torch_y = torch.from_numpy(self.x), torch.from_numpy(self.y)

    def ours(self) -> float:
        """One step of ours; the loss."""
        return self.trainer.step(self.x, self.y).loss

    def phases(self) -> dict[str, dict[str, float]]:
        """Milliseconds and multiply-adds of each part of a step, its instructions run one at a time."""
        program, inputs = self.trainer.prepared(self.x, self.y)
        found = {name: {"ms": 0.0, "macs": 0.0} for name in (*PHASES.values(), FORWARD, REST)}
        passed, counted = False, set()
        for instruction, seconds in program.profile(inputs):
            node = instruction.node
            passed = passed or node.op == "CrossEntropy"
            phase = found[PHASES.get(node.op, REST if passed else FORWARD) if passed else FORWARD]
            phase["ms"] += 1e3 * seconds
            if id(node) not in counted:
                counted.add(id(node))
                phase["macs"] += program.macs_of(node)
        return found

    def theirs(self) -> float:
        """One step of torch's; the loss."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(self.torch_x), self.torch_y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach())

    def check(self, case: str) -> None:
        """Both must lose the same, before and after one step."""
        for number in range(2):
            ours, theirs = self.ours(), self.theirs()
            if not abs(ours - theirs) <= TOLERANCE_RATIO * abs(theirs):
                sys.exit(f"{case}: expected torch's loss {theirs:.6f} at step {number}, got {ours:.6f}; not timed")


def measure(case: str, threads: int, rounds: int, block_s: float) -> dict[str, Any]:
    """One network, batch and number of threads."""
    zoo, batch = CASES[case]
    rivals = Rivals(zoo, batch, threads)
    rivals.check(case)
    result = race(rivals.ours, rivals.theirs, rounds, block_s)
    alone, folded = (
        race(rivals.ours, lambda model=model: model(rivals.x), rounds, block_s)  # type: ignore[misc]
        for model in (rivals.forward, rivals.inference)
    )
    peak = peak_gflops(threads)
    program = rivals.trainer.program(rivals.x)
    # Work that is done twice to save memory counts once
    once = [node for node in program.network.nodes if not node.outputs[0].endswith("|again")]
    gflop = 2 * sum(map(program.macs_of, once)) / 1e9
    return {
        "case": case, "threads": threads, "ms": result.ours_ms, "torch_ms": result.theirs_ms, "ratio": result.ratio,
        "ratios": result.ratios, "gflop_s": gflop / result.ours_ms * 1e3, "peak_gflop_s": peak,
        "peak_fraction": gflop / result.ours_ms * 1e3 / peak, "step_over_forward": 1 / alone.ratio,
        "step_over_inference": 1 / folded.ratio,
        "phases": rivals.phases(),
    }  # fmt: skip


def main() -> None:
    """Race every case, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--threads", type=threads_list, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--block", type=float, default=0.3, metavar="S", help="length of a block of steps (0.3 s)")
    parser.add_argument("--cases", type=lambda text: text.split(","), default=list(CASES), metavar="A,B")
    args = parser.parse_args()
    rows = []
    for case in args.cases:
        for threads in args.threads:
            rows.append(measure(case, threads, args.rounds, args.block))
            print(f"{case}, {threads} threads: {rows[-1]['ratio']:.2f}", file=sys.stderr)
    summary: dict[str, float] = {f"ratio_{row['case']}": row["ratio"] for row in rows if row["threads"] == 1}
    if twice := [row["ratio"] for row in rows if row["threads"] == 2]:
        summary["ratio_min_2t"] = min(twice)
    eights = [row for row in rows if row["threads"] == 1 and row["case"].endswith("_b8")]
    for key in ("step_over_forward", "step_over_inference"):
        if eights:
            summary[f"{key}_max"] = max(row[key] for row in eights)
    for row in rows:
        for name, phase in row["phases"].items():
            rate = 2 * phase["macs"] / phase["ms"] / 1e6 if phase["ms"] else 0.0
            phase |= {"gflop_s": rate, "peak_fraction": rate / row["peak_gflop_s"]}
            print(f"{row['case']}, {row['threads']} threads, {name}: {phase['ms']:.2f} ms, {rate:.1f} GFLOP/s, "
                  f"{phase['peak_fraction']:.0%} of the peak")  # fmt: skip
    cells = [
        (r["case"], r["threads"], f"{r['ms']:.2f}", f"{r['torch_ms']:.2f}", f"{r['ratio']:.2f}",
         f"{min(r['ratios']):.2f}-{max(r['ratios']):.2f}", f"{r['gflop_s']:.1f}", f"{r['peak_fraction']:.0%}",
         f"{r['step_over_forward']:.2f}", f"{r['step_over_inference']:.2f}")
        for r in rows
    ]  # fmt: skip
    columns = (
        "case",
        "threads",
        "ms",
        "torch ms",
        "ratio",
        "of rounds",
        "GFLOP/s",
        "of the peak",
        "of its forward",
        "of inference",
    )
    finish(summary, {"rounds": args.rounds, "recipe": RECIPE, "cases": rows}, Table(columns, cells), args.json)


if __name__ == "__main__":
    main()
