"""A fresh head on a pretrained network, beside logistic regression and better update rules: EfficientNet-Lite0 on few photographs.

    python -m tests.bench.heads --data cifar10 --json heads.json [--rules last:1 norm] [--seeds 0,1,2] [--test 2500] [--most 5]

DATA is CIFAR-10 as class folders of image files. The first 5 classes, 50 images of each to train on, enlarged as the model says. A
rule is trained with `alula train --head new` and the options of RULES, and judged by `alula eval`. Which rule is the best is decided
without the test: with each seed, other 10 images of each class are held out of the 50, and the others are trained on. The head alone and
the best rule are then trained on all 50, and tested. scikit-learn fits the features of the network's last layer but one, with C of
0.01, 0.1 or 1 by five-fold cross-validation. Every figure is a line of build/heads.jsonl; what is there is not measured again, and
--most N ends after N new ones.

Summary: logistic_accuracy, head_accuracy (mean over seeds), head_gap_points (the former less the latter, at most 1 is wanted), best_rule,
best_rule_accuracy, best_rule_gain_points (over the head alone, at least 3 are wanted), train_s and best_rule_train_s (the slowest seed).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
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

CLASSES, TRAINED, HELD = 5, 50, 10
HEAD = "last:1"  # alone
RULES = {
    HEAD: "--update last:1 --epochs 8 --lr 0.01",
    "bias": "--update bias,last:1 --epochs 8 --lr 0.02 --flip --schedule cosine",
    "norm": "--update norm,last:1 --epochs 8 --lr 0.02 --flip --schedule cosine",
}


def few(data: Path, folder: Path, tested: int, seeds: Sequence[int]) -> None:
    """Copy images: all that are trained on (fit/), with those of the test (whole/), and cut in two for each seed (hold-out SEED/)."""
    for split, count in (("train", TRAINED), ("test", tested // CLASSES)):
        for place in sorted(path for path in (data / split).iterdir() if path.is_dir())[:CLASSES]:
            images = sorted(place.iterdir())[:count]
            parts = {f"whole/{split}": images}
            if split == "train":
                parts["fit/train"] = images
                for seed in seeds:
                    held = [images[(seed * HELD + number) % TRAINED] for number in range(HELD)]
                    parts |= {
                        f"hold-out {seed}/test": held,
                        f"hold-out {seed}/train": [i for i in images if i not in held],
                    }
            for part, chosen in parts.items():
                (folder / part / place.name).mkdir(parents=True)
                for path in chosen:
                    shutil.copy(path, folder / part / place.name)


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


class Rows:
    """What was measured, a line each in a file, so that a run that was ended resumes. most : new ones before it ends by itself"""

    def __init__(self, path: Path, most: int | None) -> None:
        self.path, self.left = path, most
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.known = {row["key"]: row for row in map(json.loads, lines)}

    def of(self, key: str, made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row of a key; `made` is called if there is none."""
        if key not in self.known:
            if self.left == 0:
                sys.exit(f"{self.path}: {len(self.known)} rows; the same command goes on")
            self.left = None if self.left is None else self.left - 1
            self.known[key] = {"key": key, **made()}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.known[key]) + "\n")
        return self.known[key]


def trained(rule: str, seed: int, folder: Path, data: str, judged: str) -> dict[str, Any]:
    """One rule with one seed: trained on `data`, its accuracy on the test images of `judged`."""
    out = folder / "net.alula"
    began = time.perf_counter()
    asked("train", folder / "lite0.onnx", "--data", folder / data, "--head", "new", "--batch", 10, "--seed", seed, "-o", out,
          *RULES[rule].split())  # fmt: skip
    took = time.perf_counter() - began
    accuracy = asked("eval", out, "--data", folder / judged)["accuracy"]
    return {"rule": rule, "options": RULES[rule], "seed": seed, "judged": judged, "accuracy": accuracy, "train_s": took}


def measure(
    data: Path, rules: Sequence[str], seeds: Sequence[int], tested: int, rows: Rows
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Summary, and a row for each rule: accuracies of each seed, seconds of the slowest."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        few(data, folder, tested, seeds)
        asked("zoo", "efficientnet-lite0", "--pretrained", "-o", folder / "lite0.onnx")
        oracle = rows.of(f"logistic, {tested}", lambda: {"accuracy": logistic(folder / "lite0.onnx", folder / "whole")})

        def judge(rule: str, data: str, judged: str, seed: int) -> dict[str, Any]:
            key = f"{RULES[rule]}, seed {seed}, {judged}, {tested}"
            return rows.of(key, lambda: trained(rule, seed, folder, data, judged))

        held = {r: [judge(r, f"hold-out {seed}", f"hold-out {seed}", seed) for seed in seeds] for r in rules}
        chosen = max(rules, key=lambda rule: mean_of(held[rule], "accuracy"))
        tests = {rule: [judge(rule, "fit", "whole", seed) for seed in seeds] for rule in (rules[0], chosen)}
    head, best = (mean_of(tests[rule], "accuracy") for rule in (rules[0], chosen))
    summary = {
        "logistic_accuracy": oracle["accuracy"],
        "head_accuracy": head,
        "head_gap_points": 100 * (oracle["accuracy"] - head),
        "best_rule": chosen,
        "best_rule_accuracy": best,
        "best_rule_gain_points": 100 * (best - head),
        "train_s": max(row["train_s"] for row in tests[rules[0]]),
        "best_rule_train_s": max(row["train_s"] for row in tests[chosen]),
    }
    return summary, [
        {"rule": rule, "options": RULES[rule], "hold_out": [row["accuracy"] for row in held[rule]],
         "test": [row["accuracy"] for row in tests.get(rule, [])],
         "train_s": max(row["train_s"] for row in (*held[rule], *tests.get(rule, [])))}
        for rule in rules
    ]  # fmt: skip


def mean_of(rows: Sequence[dict[str, Any]], key: str) -> float:
    """The mean of a figure."""
    return float(np.mean([row[key] for row in rows]))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="CIFAR-10 as class folders of images")
    parser.add_argument(
        "--rules", nargs="+", choices=RULES, default=list(RULES), help="candidates; the head alone is always one"
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--test", type=int, default=2500, help="images that are tested (2500)")
    parser.add_argument(
        "--rows", type=Path, default=Path("build/heads.jsonl"), metavar="FILE", help="what was measured before"
    )
    parser.add_argument("--most", type=int, metavar="N", help="end after N new rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    rules = [HEAD, *(rule for rule in args.rules if rule != HEAD)]
    args.rows.parent.mkdir(parents=True, exist_ok=True)
    summary, rows = measure(
        args.data, rules, [int(seed) for seed in args.seeds.split(",")], args.test, Rows(args.rows, args.most)
    )
    cells = [
        (
            row["rule"],
            *(f"{np.mean(row[part]):.2%}" if row[part] else "" for part in ("hold_out", "test")),
            f"{row['train_s']:.0f}",
        )
        for row in rows
    ]
    finish(summary, {"rules": rows}, Table(("rule", "hold-out", "test", "s"), cells), args.json)


if __name__ == "__main__":
    main()
