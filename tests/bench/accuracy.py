"""ResNet-20 trained on CIFAR-10 by us and by torch: the same weights at first, the same batches, the same recipe.

    python -m tests.bench.accuracy --data cifar10 --json accuracy.json [--epochs 10] [--seeds 0,1] [--keep DIR] [--plot F.svg]

One thread each, one after the other. Time is CPU time of the process while it trains (loader included, evaluation not),
so that it means something on a machine that is shared. `--keep` stores every run when it is done, and reads those that
are there. Summary: accuracy_ours, accuracy_theirs (means over seeds, of the last epoch), accuracy_difference_points,
time_ratio (torch's over ours).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from alula.host.onnx.importer import import_onnx
from alula.host.zoo import build
from alula.report import Table
from alula.runtime.data import Augment, Batch, Loader, moments, open_data
from alula.runtime.files import write_whole
from alula.runtime.graph import Array
from alula.runtime.train import SGD, Trainer, schedule
from tests.bench.output import finish
from tests.torch_network import TorchNetwork

NETWORK = "resnet20-cifar"
RECIPE = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
BATCH, WARM_UP_STEPS, TEST_BATCH = 32, 200, 100
Run = dict[str, Any]


class Ours:
    """Our trainer."""

    def __init__(self, seed: int, steps: int) -> None:
        rates = schedule("cosine", steps, WARM_UP_STEPS)
        self._trainer = Trainer(import_onnx(build(NETWORK, seed)).graph, SGD(**RECIPE), schedule=rates, threads=1)  # type: ignore[arg-type]

    def step(self, x: Array, y: Array) -> float:
        """One update; the loss."""
        return self._trainer.step(x, y).loss

    def scores(self) -> Callable[[Array], Array]:
        """The network as it is now, for testing."""
        model = self._trainer.model()
        return lambda x: np.asarray(model(x))


class Theirs:
    """torch's."""

    def __init__(self, seed: int, steps: int) -> None:
        torch.set_num_threads(1)
        self._network = TorchNetwork(build(NETWORK, seed))
        self._optimizer = torch.optim.SGD(self._network.parameters(), **RECIPE)
        self._rates, self._steps = schedule("cosine", steps, WARM_UP_STEPS), 0

    def step(self, x: Array, y: Array) -> float:
        """One update; the loss."""
        self._network.train()
        for group in self._optimizer.param_groups:
            group["lr"] = self._rates.lr(self._steps, RECIPE["lr"])
        self._steps += 1
        self._optimizer.zero_grad()
        loss = F.cross_entropy(self._network(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())

    def scores(self) -> Callable[[Array], Array]:
        """The network as it is now, for testing."""
        self._network.eval()

        def run(x: Array) -> Array:
            with torch.no_grad():
                return np.asarray(self._network(torch.from_numpy(x)).numpy())

        return run


def train(kind: type[Ours] | type[Theirs], loaders: tuple[Loader, Loader], seed: int, epochs: int) -> Run:
    """One run: loss, accuracy and CPU seconds after each epoch."""
    train_set, test_set = loaders
    network = kind(seed, epochs * train_set.steps)
    run: Run = {"kind": kind.__name__.lower(), "seed": seed, "loss": [], "accuracy": [], "cpu_s": []}
    spent = 0.0
    for epoch in range(epochs):
        start = time.process_time()
        losses = [network.step(batch.x, batch.y) for batch in train_set.epoch(epoch)]
        spent += time.process_time() - start
        run["loss"].append(float(np.mean(losses)))
        run["accuracy"].append(_accuracy(network.scores(), iter(test_set)))
        run["cpu_s"].append(spent)
        print(f"{run['kind']} seed {seed} epoch {epoch + 1}: loss {run['loss'][-1]:.4f}, accuracy "
              f"{run['accuracy'][-1]:.2%}, {spent:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
    return run


def _accuracy(scores: Callable[[Array], Array], batches: Iterator[Batch]) -> float:
    right = total = 0
    for batch in batches:
        right += int((scores(batch.x).argmax(axis=1) == batch.y).sum())
        total += len(batch.y)
    return right / total


def plot(path: Path, runs: list[dict[str, Any]]) -> None:
    """Test accuracy over epochs, and over CPU time."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "alula"  # the same file from the same figures
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
    for run in runs:
        label = f"{'Alula' if run['kind'] == 'ours' else 'torch'}, seed {run['seed']}"
        colour, line = "C0" if run["kind"] == "ours" else "C1", "-" if run["seed"] == runs[0]["seed"] else "--"
        accuracy = [100 * value for value in run["accuracy"]]
        axes[0].plot(range(1, len(accuracy) + 1), accuracy, colour, linestyle=line, marker=".", label=label)
        axes[1].plot([value / 60 for value in run["cpu_s"]], accuracy, colour, linestyle=line, marker=".", label=label)
    axes[0].set(xlabel="epoch", ylabel="test accuracy, %")
    axes[1].set(xlabel="CPU time of training, minutes (one thread)")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Train every pair, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="CIFAR-10 in any form that open_data reads"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1])
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=["ours", "theirs"])
    parser.add_argument("--keep", type=Path, metavar="DIR", help="store finished runs here, and take them from here")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="curves of all runs")
    args = parser.parse_args()
    data, test = open_data(args.data, "train"), open_data(args.data, "test")
    normal = moments(data).as_options()
    runs = []
    for seed in args.seeds:
        for kind in (Ours, Theirs):
            if kind.__name__.lower() not in args.kinds:
                continue
            path = args.keep / f"{kind.__name__.lower()}-{seed}-{args.epochs}.json" if args.keep else None
            if path and path.exists():
                runs.append(json.loads(path.read_text()))
                continue
            augment = Augment(padding=4, crop=(32, 32), flip=True, **normal)
            loaders = (
                Loader(data, BATCH, seed=seed, drop_last=True, augment=augment, layout="NCHW", reuse=True),
                Loader(test, TEST_BATCH, shuffle=False, augment=Augment(**normal), layout="NCHW"),
            )
            runs.append(train(kind, loaders, seed, args.epochs))
            if path:
                content = json.dumps(runs[-1]).encode()
                write_whole(path, lambda handle, content=content: handle.write(content))  # type: ignore[misc]
    of = {kind: [run for run in runs if run["kind"] == kind] for kind in ("ours", "theirs")}
    accuracy = {kind: float(np.mean([run["accuracy"][-1] for run in found])) for kind, found in of.items() if found}
    summary = {f"accuracy_{kind}": value for kind, value in accuracy.items()}
    if len(accuracy) == 2:
        seconds = {kind: sum(run["cpu_s"][-1] for run in found) for kind, found in of.items()}
        summary["accuracy_difference_points"] = 100 * (accuracy["ours"] - accuracy["theirs"])
        summary["time_ratio"] = seconds["theirs"] / seconds["ours"]
    cells = [
        (r["kind"], r["seed"], f"{r['loss'][-1]:.4f}", f"{r['accuracy'][-1]:.2%}", f"{r['cpu_s'][-1]:.0f}")
        for r in runs
    ]
    columns = ("who", "seed", "loss", "accuracy", "CPU s")
    if args.plot:
        plot(args.plot, runs)
    finish(
        summary,
        {"recipe": RECIPE, "batch": BATCH, "epochs": args.epochs, "runs": runs},
        Table(columns, cells),
        args.json,
    )


if __name__ == "__main__":
    main()
