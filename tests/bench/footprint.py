"""What a fresh process costs: from its start to the first answer, and its peak memory, beside onnxruntime's.

    python -m tests.bench.footprint --json footprint.json [--rounds 9]

Every run is a process of its own; ours and theirs alternate, the result is the median of the rounds. Kernels are
compiled before, files are in the page cache for both. Summary: start_ratio_max and rss_ratio_max (ours over theirs,
worst network; below 1 ours is smaller) and import_s (`import alula` up to `alula.load`, NumPy's import included).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from alula.report import Table
from alula.runtime.compiler import library
from tests.bench.networks import Network, prepare
from tests.bench.output import finish

NEVER_IMPORTED = ("numba", "llvmlite", "onnx", "onnxruntime", "rich", "cv2")

# As after an installation, which compiles modules to bytecode: the first round may write what later ones read
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

SHARED = """
import json, sys, time
def answer(extra):
    now = time.monotonic()
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(json.dumps({"end": now, "rss_kb": int(peak), **extra}))
"""
OURS = """
start = time.perf_counter()
import alula
alula.load
import_s = time.perf_counter() - start
import numpy as np
model = alula.load(sys.argv[1])
x = np.full(json.loads(sys.argv[2]), 0.5, np.float32)
y = model(x)
answer({"import_s": import_s, "sum": float(np.asarray(y).sum()), "modules": sorted({m.partition(".")[0] for m in sys.modules})})
"""
THEIRS = """
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
x = np.full(json.loads(sys.argv[2]), 0.5, np.float32)
(y,) = session.run(None, {session.get_inputs()[0].name: x})
answer({"sum": float(y.sum())})
"""


def fresh(code: str, model: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """Run a script in a new process; its answer, with `start_s` from before the process was made to the answer."""
    begin = time.monotonic()  # one clock for all processes of a machine
    result = subprocess.run(
        [sys.executable, "-c", SHARED + code, str(model), json.dumps(shape)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    if result.returncode:
        sys.exit(
            f"{model.name}: expected an answer, got exit status {result.returncode}: {result.stderr.strip()[-500:]}"
        )
    report: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return {**report, "start_s": report["end"] - begin}


def measure(network: Network, rounds: int) -> dict[str, Any]:
    """Medians of one network; the first round warms the page cache and is dropped."""
    (shape,) = network.shapes.values()
    ours, theirs = [], []
    for number in range(rounds + 1):
        if number % 2:
            ours.append(fresh(OURS, network.packed, shape))
            theirs.append(fresh(THEIRS, network.onnx, shape))
        else:
            theirs.append(fresh(THEIRS, network.onnx, shape))
            ours.append(fresh(OURS, network.packed, shape))
    imported = sorted(set(NEVER_IMPORTED) & set(ours[0]["modules"]))
    if imported:
        sys.exit(
            f"{network.name}: expected a run without {', '.join(NEVER_IMPORTED)}, got {', '.join(imported)} imported"
        )
    row: dict[str, Any] = {"network": network.name, "sums": (ours[0]["sum"], theirs[0]["sum"])}
    for key in ("start_s", "rss_kb"):
        row[key], row[f"onnxruntime_{key}"] = (median(r[key] for r in side[1:]) for side in (ours, theirs))
        row[f"{key.partition('_')[0]}_ratio"] = median(o[key] / t[key] for o, t in zip(ours[1:], theirs[1:]))
    row["import_s"] = median(r["import_s"] for r in ours[1:])
    return row


def main() -> None:
    """Measure both networks; print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--networks", type=lambda text: text.split(","), default=["rec", "mobilenetv2"], metavar="A,B")
    args = parser.parse_args()
    library()  # compile the kernels now if they are not
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(prepare(name, Path(folder)), args.rounds) for name in args.networks]
    summary = {
        "start_ratio_max": max(r["start_ratio"] for r in rows),
        "rss_ratio_max": max(r["rss_ratio"] for r in rows),
        "import_s": max(r["import_s"] for r in rows),
    }
    cells = [
        (r["network"], f"{r['start_s']:.3f}", f"{r['onnxruntime_start_s']:.3f}", f"{r['start_ratio']:.2f}",
         f"{r['rss_kb'] / 1024:.0f}", f"{r['onnxruntime_rss_kb'] / 1024:.0f}", f"{r['rss_ratio']:.2f}")
        for r in rows
    ]  # fmt: skip
    columns = ("network", "start s", "onnxruntime s", "ratio", "peak MiB", "onnxruntime MiB", "ratio")
    finish(
        summary,
        {"rounds": args.rounds, "never_imported": NEVER_IMPORTED, "networks": rows},
        Table(columns, cells),
        args.json,
    )


if __name__ == "__main__":
    main()
