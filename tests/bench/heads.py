"""A fresh head on a pretrained network, beside logistic regression on the same features: EfficientNet-Lite0 on few photographs.

    python -m tests.bench.heads --data cifar10 --json heads.json [--rules last:1,all] [--seeds 0,1,2] [--epochs 8] [--test 500]

DATA is CIFAR-10 as class folders of image files. The first 5 classes, 50 images of each to train on, enlarged as the model says. Each
rule is trained with `alula train --head new --update RULE` and evaluated with `alula eval`. scikit-learn fits the features of the
network's last layer but one, with C of 0.01, 0.1 or 1 by five-fold cross-validation. Summary: logistic_accuracy, head_accuracy (of
the first rule, mean over seeds), head_gap_points (the former less the latter, at most 1 is wanted), best_rule_gain_points (of the best
rule over the first; the rules' accuracies are in the details), train_s (of the first rule, the slowest seed).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alula.models import open_graph
from alula.report import Table
from alula.runtime.data import Preprocessing, open_data
from alula.runtime.errors import require
from alula.runtime.graph import Array, Graph
from alula.runtime.model import Model
from alula.runtime.passes import optimise
from tests.bench.journeys import asked
from tests.bench.output import finish

CLASSES, TRAINED = 5, 50


def few(data: Path, folder: Path, tested: int) -> None:
    """Copy the first images of the first classes into train/ and test/."""
    for split, count in (("train", TRAINED), ("test", tested // CLASSES)):
        for place in sorted(path for path in (data / split).iterdir() if path.is_dir())[:CLASSES]:
            (folder / split / place.name).mkdir(parents=True)
            for path in sorted(place.iterdir())[:count]:
                shutil.copy(path, folder / split / place.name)


def features(graph: Graph, how: Preprocessing, folder: Path, split: str) -> tuple[Array, Array]:
    """What the last layer reads of each image, (N, F), and the labels (N,)."""
    head = [node for node in graph.nodes if node.op == "Gemm"][-1]
    model = Model(replace(graph, outputs=(head.inputs[0],)))
    data = open_data(folder, split, images=how)
    pixels, found = np.empty((1, *data.shape), np.uint8), []
    for sample in range(len(data)):
        data.read(np.array([sample]), pixels)
        found.append(np.asarray(model(how.normalise(pixels[0]))).ravel())
    return np.stack(found), data.labels


def logistic(model: Path, folder: Path) -> float:
    """The accuracy of logistic regression on the features."""
    source = open_graph(str(model))
    assert source.task is not None and source.task.preprocessing is not None
    graph, how = optimise(source.graph), source.task.preprocessing
    linear = require("sklearn.linear_model", "peers", "the oracle of heads")
    warnings.simplefilter("ignore", FutureWarning)  # on defaults of releases to come
    fit = linear.LogisticRegressionCV(Cs=[0.01, 0.1, 1.0], cv=5, max_iter=2000).fit(
        *features(graph, how, folder, "train")
    )
    return float(fit.score(*features(graph, how, folder, "test")))


def measure(
    data: Path, rules: Sequence[str], seeds: Sequence[int], epochs: int, tested: int
) -> tuple[dict[str, Any], list[Any]]:
    """Summary, and a row for each rule: accuracy of each seed, seconds of the slowest."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder, model, out = Path(place) / "data", Path(place) / "lite0.onnx", Path(place) / "net.alula"
        few(data, folder, tested)
        asked("zoo", "efficientnet-lite0", "--pretrained", "-o", model)
        oracle = logistic(model, folder)
        for rule in rules:
            accuracies, slowest = [], 0.0
            for seed in seeds:
                began = time.perf_counter()
                asked("train", model, "--data", folder, "--head", "new", "--update", rule, "--epochs", epochs, "--batch", 10,
                      "--lr", 0.01, "--seed", seed, "-o", out)  # fmt: skip
                slowest = max(slowest, time.perf_counter() - began)
                accuracies.append(asked("eval", out, "--data", folder)["accuracy"])
            rows.append(
                {"rule": rule, "accuracies": accuracies, "mean": float(np.mean(accuracies)), "train_s": slowest}
            )
    best = max(row["mean"] for row in rows)
    summary = {
        "logistic_accuracy": oracle,
        "head_accuracy": rows[0]["mean"],
        "head_gap_points": 100 * (oracle - rows[0]["mean"]),
        "best_rule_gain_points": 100 * (best - rows[0]["mean"]),
        "train_s": rows[0]["train_s"],
    }
    return summary, rows


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="CIFAR-10 as class folders of image files"
    )
    parser.add_argument(
        "--rules", default="last:1,norm+last:1", help="update rules, commas between them; + for several at once"
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--test", type=int, default=2500, help="images that are tested (2500)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    rules = [rule.replace("+", ",") for rule in args.rules.split(",")]
    seeds = [int(seed) for seed in args.seeds.split(",")]
    summary, rows = measure(args.data, rules, seeds, args.epochs, args.test)
    cells = [(row["rule"], f"{row['mean']:.2%}", f"{row['train_s']:.0f}") for row in rows]
    finish(summary, {"rules": rows}, Table(("rule", "accuracy", "s"), cells), args.json)


if __name__ == "__main__":
    main()
