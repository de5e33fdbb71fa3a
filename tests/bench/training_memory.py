"""Memory of training steps beside torch's, each in a fresh process.

    python -m tests.bench.training_memory --json memory.json

Growth of the resident set from after the imports (and one step of a small network, so that each library is warm) to its
peak over three steps: weights, activations, gradients and what the optimiser remembers. Ours is measured as it comes, and
with the least budget that works. Summary: memory_ratio_<case> and memory_ratio_<case>_least (over torch's, below 1 is
less), time_ratio_<case>_least (step time with the least budget over that without), prediction_error_max (arrays that a
trainer holds after a step, against what its program said before), growth_bytes_max (of these over five more steps).
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from alula.host.onnx.importer import import_onnx
from alula.host.zoo import ZOO, build
from alula.report import Table
from alula.runtime.errors import MemoryBudgetError
from alula.runtime.memory.aligned import trim_heap
from alula.runtime.train import SGD, Trainer
from tests.bench.output import finish

CASES = {
    "resnet20_b1": ("resnet20-cifar", 1), "resnet20_b8": ("resnet20-cifar", 8), "resnet20_b32": ("resnet20-cifar", 32),
    "mobilenetv2_b8": ("mobilenetv2-cifar", 8),
}  # fmt: skip
RECIPE = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}
STEPS, TIMED_STEPS = 3, 9


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) * 1024


def _begin() -> int:
    """Bytes that are resident now, without free pages of the heap; the peak is counted from here."""
    trim_heap()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _batch(zoo: str, size: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((size, *ZOO[zoo].input_shape)).astype(np.float32), rng.integers(0, 10, size)


def _trainer(graph: Any, max_bytes: int | None = None) -> Trainer:
    return Trainer(graph, SGD(**RECIPE), threads=1, max_bytes=max_bytes)  # type: ignore[arg-type]


def ours(zoo: str, size: int, max_bytes: int | None) -> dict[str, Any]:
    """Peak growth, then arrays and their growth as tracemalloc sees them, then the time of a step."""
    x, y = _batch(zoo, size)
    graph = import_onnx(build(zoo)).graph
    _trainer(import_onnx(build("lenet-5")).graph).step(*_batch("lenet-5", 1))
    start = _begin()
    trainer = _trainer(graph, max_bytes)
    memory = trainer.program(x).memory
    for _ in range(STEPS):
        trainer.step(x, y)
    peak = _status("VmHWM") - start
    seconds = []
    for _ in range(TIMED_STEPS):
        begin = time.process_time()
        trainer.step(x, y)
        seconds.append(time.process_time() - begin)
    del trainer
    tracemalloc.start()
    before = _arrays()
    trainer = _trainer(graph, max_bytes)
    trainer.step(x, y)
    used = _arrays() - before
    trainer.step(x, y)
    settled = _arrays()
    for _ in range(5):
        trainer.step(x, y)
    return {
        "peak_bytes": peak, "predicted_bytes": memory.total, "activation_bytes": memory.activations, "used_bytes": used,
        "growth_bytes": _arrays() - settled, "step_s": float(np.median(seconds)),
    }  # fmt: skip


def _arrays() -> int:
    gc.collect()
    domain = [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(domain).traces)


def theirs(zoo: str, size: int) -> dict[str, Any]:
    """torch's peak growth."""
    import torch
    import torch.nn.functional as F

    from tests.torch_network import TorchNetwork

    torch.set_num_threads(1)

    def steps(name: str, count: int, batch: tuple[Any, Any], model: Any) -> None:
        network = TorchNetwork(model).train()
        optimizer = torch.optim.SGD(network.parameters(), **RECIPE)
        x, y = map(torch.from_numpy, batch)
        for _ in range(count):
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    model, batch = build(zoo), _batch(zoo, size)
    steps("lenet-5", 1, _batch("lenet-5", 1), build("lenet-5"))
    start = _begin()
    steps(zoo, STEPS, batch, model)
    return {"peak_bytes": _status("VmHWM") - start}


def _child(*words: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.training_memory", "--child", *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _least(zoo: str, size: int) -> int:
    """The smallest budget that works, as the error says it."""
    x, y = _batch(zoo, size)
    try:
        _trainer(import_onnx(build(zoo)).graph, 1).step(x, y)
    except MemoryBudgetError as error:
        found = re.search(r"got ([\d,]+) at the least", str(error))
        assert found
        return int(found.group(1).replace(",", ""))
    raise AssertionError("a step within one byte")


def main() -> None:
    """Measure every case, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--cases", type=lambda text: text.split(","), default=list(CASES), metavar="A,B")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        kind, zoo, size, *budget = args.child
        print(
            json.dumps(
                theirs(zoo, int(size)) if kind == "theirs" else ours(zoo, int(size), int(budget[0]) if budget else None)
            )
        )
        return
    rows, summary = [], {}
    for case in args.cases:
        zoo, size = CASES[case]
        torch_bytes, least = _child("theirs", zoo, size)["peak_bytes"], _least(zoo, size)
        free, tight = _child("ours", zoo, size), _child("ours", zoo, size, least)
        rows += [{"case": case, "budget": None, "torch_bytes": torch_bytes, **free},
                 {"case": case, "budget": least, "torch_bytes": torch_bytes, **tight}]  # fmt: skip
        summary[f"memory_ratio_{case}"] = free["peak_bytes"] / torch_bytes
        summary[f"memory_ratio_{case}_least"] = tight["peak_bytes"] / torch_bytes
        summary[f"time_ratio_{case}_least"] = tight["step_s"] / free["step_s"]
    summary["prediction_error_max"] = max(abs(r["predicted_bytes"] / r["used_bytes"] - 1) for r in rows)
    summary["growth_bytes_max"] = max(r["growth_bytes"] for r in rows)
    cells = [
        (r["case"], "least" if r["budget"] else "none", *(f"{r[k] / 1e6:.1f}" for k in
         ("peak_bytes", "torch_bytes", "predicted_bytes", "used_bytes", "activation_bytes")), f"{r['step_s'] * 1e3:.1f}")
        for r in rows
    ]  # fmt: skip
    columns = ("case", "budget", "peak MB", "torch MB", "predicted MB", "used MB", "activations MB", "ms")
    finish(summary, {"recipe": RECIPE, "cases": rows}, Table(columns, cells), args.json)


if __name__ == "__main__":
    main()
