"""A residual block of ResNet-20 that a flag skips, beside the network built without it; and programs in parts.

    python -m tests.bench.skipping --json skipping.json

Inference at batch 1 and a step of training at batch 8, one thread, alternating in one process. Summary, for inference
and step: time_ratio (skipped over built without, at most 1.05 is wanted), instruction_ratio (instructions of the virtual
machine that run), overhead_ratio (with the flag set over the network without guards); for parts of 0.2 ms:
parts (how many), overshoot_ratio (what the longest part ran beyond what was asked, over the longest instruction, at most
1 is wanted; the best of nine runs), and same_bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alula.host.onnx.importer import import_onnx
from alula.host.zoo import ZOO, build
from alula.report import Table
from alula.runtime.graph import Graph
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.passes.guards import with_guard
from alula.runtime.passes.trainable import trainable_form
from alula.runtime.planning.program import Program
from alula.runtime.train import SGD, Trainer
from tests.bench.output import finish

ZOO_NAME, BATCH, ASKED_S, RUNS = "resnet20-cifar", 8, 2e-4, 9
ON, OFF = np.array(1), np.array(0)


def block(graph: Graph, number: int = 1) -> tuple[str, str]:
    """The output of a residual block that keeps its input's shape, and its shortcut. graph : in trainable form"""
    makers, found = graph.producers(), []
    for node in graph.nodes:
        add = makers.get(node.inputs[0]) if node.op == "Relu" else None
        if add is not None and add.op == "Add":
            found += [
                (node.outputs[0], name)
                for name in add.inputs
                if (maker := makers.get(name)) is not None and maker.op == "Relu"
            ]
    return found[number]


def without(graph: Graph, output: str, otherwise: str) -> Graph:
    """The network built without a block: what reads its output reads the shortcut."""
    nodes = [
        replace(node, inputs=tuple(otherwise if name == output else name for name in node.inputs))
        for node in graph.nodes if node.outputs[0] != output
    ]  # fmt: skip
    return replace(graph, nodes=tuple(nodes))


def _alternate(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 3):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if round_ >= 3:
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(found)) for name, found in times.items()}


def _executed(program: Program, runs: bool) -> int:
    """Instructions that are not skipped."""
    return sum(each.guard is None or each.guard.when == runs for each in program.instructions)


def _compare(guarded: Program, runs: dict[str, Callable[[], Any]], other: Program, rounds: int) -> dict[str, float]:
    seconds = _alternate(runs, rounds)
    return {
        "time_ratio": seconds["skipped"] / seconds["without"],
        "instruction_ratio": _executed(guarded, False) / len(other.instructions),
        "overhead_ratio": seconds["guarded"] / seconds["whole"],
        **{f"{name}_ms": 1e3 * value for name, value in seconds.items()},
    }


def inference(rounds: int) -> dict[str, float]:
    """Answers of one image."""
    graph = trainable_form(import_onnx(build(ZOO_NAME)).graph)
    output, shortcut = block(graph)
    folded = (
        with_guard(optimise(graph), output, shortcut, "flag"),
        optimise(without(graph, output, shortcut)),
        optimise(graph),
    )
    guarded, shorter, whole = (Model(form, threads=1) for form in folded)
    x = np.random.default_rng(0).standard_normal((1, *ZOO[ZOO_NAME].input_shape)).astype(np.float32)
    runs = {
        "skipped": lambda: guarded(x, OFF), "without": lambda: shorter(x), "guarded": lambda: guarded(x, ON),
        "whole": lambda: whole(x),
    }  # fmt: skip
    for run in runs.values():
        run()
    return _compare(_only(guarded), runs, _only(shorter), rounds)


def _only(model: Model) -> Program:
    (program,) = model._programs.values()
    return program


def training(rounds: int) -> dict[str, float]:
    """Steps of a batch."""
    graph = trainable_form(import_onnx(build(ZOO_NAME)).graph)
    output, shortcut = block(graph)
    forms = (with_guard(graph, output, shortcut, "flag"), without(graph, output, shortcut), graph)
    guarded, shorter, whole = (Trainer(form, SGD(lr=1e-3, momentum=0.9), threads=1) for form in forms)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, *ZOO[ZOO_NAME].input_shape)).astype(np.float32)
    y = rng.integers(0, 10, BATCH)
    runs = {
        "skipped": lambda: guarded.step(x, OFF, y), "without": lambda: shorter.step(x, y),
        "guarded": lambda: guarded.step(x, ON, y), "whole": lambda: whole.step(x, y),
    }  # fmt: skip
    return _compare(guarded.prepared(x, OFF, y)[0], runs, shorter.prepared(x, y)[0], rounds)


def parts() -> dict[str, float]:
    """A run in parts of ASKED_S."""
    model = Model(optimise(import_onnx(build("mobilenetv2-cifar")).graph), threads=1)
    x = np.random.default_rng(0).standard_normal((4, *ZOO["mobilenetv2-cifar"].input_shape)).astype(np.float32)
    name = next(iter(model.inputs))
    wanted = model(x)
    program = _only(model)
    longest = max(seconds for _, seconds in program.profile({name: x}))
    worst, counts, same = [], [], True
    for _ in range(RUNS):  # another process that takes the core makes a part longer: the best run counts
        run, spent = model.parts({name: x}), list[float]()
        while not run.is_finished:
            start = time.perf_counter()
            run.go_on(seconds=ASKED_S)
            spent.append(time.perf_counter() - start)
            model(x)
        worst.append(max(spent))
        counts.append(len(spent))
        same = same and np.array_equal(run.results()[model.outputs[0]], np.asarray(wanted))
    overshoot = max(min(worst) - ASKED_S, 0) / longest
    return {"parts": counts[worst.index(min(worst))], "overshoot_ratio": overshoot, "same_bits": float(same)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="how often each is timed (40)")
    parser.add_argument("--json", type=Path, help="write all results there")
    args = parser.parse_args()
    found = {"inference": inference(4 * args.rounds), "step": training(args.rounds), "parts": parts()}
    summary = {
        f"{name}_{key}": value for name, each in found.items() for key, value in each.items() if "_ms" not in key
    }
    rows = [
        (name, *(f"{each[f'{key}_ms']:.3f}" for key in ("whole", "guarded", "without", "skipped")))
        for name, each in found.items() if name != "parts"
    ]  # fmt: skip
    finish(summary, found, Table(("ms", "whole", "guarded", "without", "skipped"), rows), args.json)


if __name__ == "__main__":
    main()
