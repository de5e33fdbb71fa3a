"""What a training step of a part of a network costs: MobileNetV2 at 224x224, batch 1, one thread.

    python -m tests.bench.sparse --json sparse.json

Each update rule alternates, block by block in one process, with a forward pass; medians over rounds. Summary: ratio_<rule>,
step time over that of the forward pass as inference runs it; own_ratio_<rule>, over that of its own forward pass, in which
the batch normalisations that the rule trains use the batch's statistics; memory_ratio_<rule>, activations, weights and
variables over those of `all`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from alula.host.onnx.importer import import_onnx
from alula.host.race import race
from alula.host.zoo import ZOO, build
from alula.report import Table
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from alula.runtime.passes.trainable import trainable_form
from alula.runtime.train import SGD, Trainer
from alula.runtime.train.network import with_batch_statistics, with_variables
from tests.bench.output import finish

NETWORK = "mobilenetv2-224"
RULES = ("all", "norm", "bias", "last:2", "last:1")
RECIPE = {"lr": 1e-3, "momentum": 0.9}


def main() -> None:
    """Time every rule, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    graph, rng = import_onnx(build(NETWORK)).graph, np.random.default_rng(0)
    x = rng.standard_normal((1, *ZOO[NETWORK].input_shape)).astype(np.float32)
    y, inference, form = np.zeros(1, np.int64), Model(optimise(graph), 1), trainable_form(graph)
    rows = []
    for rule in RULES:
        trainer = Trainer(graph, SGD(**RECIPE), update=rule, threads=1)
        own = Model(with_variables(with_batch_statistics(form, trainer.learning), ()), 1)
        step = partial(trainer.step, x, y)
        found, beside = (race(step, partial(model, x), args.rounds) for model in (inference, own))
        rows.append({
            "rule": rule, "ms": found.ours_ms, "ratio": 1 / found.ratio, "own_ratio": 1 / beside.ratio,
            "memory_bytes": trainer.program(x).memory.total,
            "parameters": sum(trainer.graph.constants.spec(name).size for name in trainer.trained),
        })  # fmt: skip
    summary = {
        f"{key}_{row['rule'].replace(':', '')}": row[key] for key in ("ratio", "own_ratio") for row in rows
    }  # fmt: skip
    whole = rows[RULES.index("all")]["memory_bytes"]
    summary |= {f"memory_ratio_{row['rule'].replace(':', '')}": row["memory_bytes"] / whole for row in rows}
    cells = [
        (row["rule"], f"{row['ms']:.2f}", f"{row['ratio']:.2f}", f"{row['own_ratio']:.2f}", f"{row['memory_bytes'] / 1e6:.1f}",
         row["parameters"])
        for row in rows
    ]  # fmt: skip
    columns = ("update", "ms", "of inference", "of its forward", "MB", "parameters")
    finish(summary, {"network": NETWORK, "rules": rows}, Table(columns, cells), args.json)


if __name__ == "__main__":
    main()
