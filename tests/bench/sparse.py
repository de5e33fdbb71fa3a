"""What a training step of a part of a network costs: MobileNetV2 at 224x224, batch 1, one thread.

    python -m tests.bench.sparse --json sparse.json

Update rules and the forward pass alone alternate in one process; CPU time, medians over rounds. Summary: ratio_<rule>, step
time over that of the forward pass as inference runs it; own_ratio_<rule>, over that of its own forward pass, in which
the batch normalisations that the rule trains use the batch's statistics; memory_ratio_<rule>, activations, weights and
variables over those of `all`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alula.host.onnx_import import import_onnx
from alula.host.zoo import ZOO, build
from alula.report import Table
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.train import SGD, Trainer
from alula.runtime.train.network import trainable_form, with_batch_statistics, with_variables
from tests.bench.output import finish

NETWORK = "mobilenetv2-224"
RULES = ("all", "norm", "bias", "last:2", "last:1")
RECIPE = {"lr": 1e-3, "momentum": 0.9}


def main() -> None:
    """Time every rule, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    graph, rng = import_onnx(build(NETWORK)).graph, np.random.default_rng(0)
    x = rng.standard_normal((1, *ZOO[NETWORK].input_shape)).astype(np.float32)
    y, model = np.zeros(1, np.int64), Model(optimise(graph), 1)
    trainers = {rule: Trainer(graph, SGD(**RECIPE), update=rule, threads=1) for rule in RULES}
    form = trainable_form(graph)
    own = {
        rule: Model(with_variables(with_batch_statistics(form, trainer.learning), ()), 1)
        for rule, trainer in trainers.items()
    }
    runs: dict[str, Callable[[], object]] = {"forward": lambda: model(x)}
    runs |= {f"{rule}'s forward": lambda forward=forward: forward(x) for rule, forward in own.items()}  # type: ignore[misc]
    runs |= {rule: lambda trainer=trainer: trainer.step(x, y) for rule, trainer in trainers.items()}  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(args.rounds + 2):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if number >= 2:
                seconds[name].append(time.process_time() - start)
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    memory = {rule: trainer.program(x).memory.total for rule, trainer in trainers.items()}
    short = {rule: rule.replace(":", "") for rule in RULES}
    summary = {f"ratio_{short[rule]}": median[rule] / median["forward"] for rule in RULES}
    summary |= {f"own_ratio_{short[rule]}": median[rule] / median[f"{rule}'s forward"] for rule in RULES}
    summary |= {f"memory_ratio_{short[rule]}": memory[rule] / memory["all"] for rule in RULES}
    cells = [
        (rule, f"{1e3 * median[rule]:.2f}", f"{median[rule] / median['forward']:.2f}",
         f"{summary[f'own_ratio_{short[rule]}']:.2f}", f"{memory[rule] / 1e6:.1f}",
         sum(trainers[rule].graph.constants.spec(name).size for name in trainers[rule].trained))
        for rule in RULES
    ]  # fmt: skip
    document = {"network": NETWORK, "seconds": median, "memory_bytes": memory}
    finish(
        summary,
        document,
        Table(("update", "ms", "of inference", "of its forward", "MB", "parameters"), cells),
        args.json,
    )


if __name__ == "__main__":
    main()
