"""What the ARM bench prints and sums up: a table per CPU, the flat summary, flat counts for the baseline."""

from __future__ import annotations

import sys
from collections import defaultdict
from statistics import geometric_mean
from typing import Any

from alula.report import Report, Table
from tests.arm.counting import Row
from tests.arm.detectors import DETECTORS
from tests.arm.rivals import ENGINES, HALF, TRAINING

# Group of layers -> its kernel's name in the summary
PER_MAC = {
    "f32_conv": "f32_conv", "f32_winograd": "f32_winograd", "f32_depthwise": "depthwise", "s8_conv": "s8_conv",
    "f32_input_grad": "input_grad", "f32_weight_grad": "weight_grad", "depthwise_input_grad": "depthwise_input_grad",
    "depthwise_weight_grad": "depthwise_weight_grad",
}  # fmt: skip
SHORT = {"efficientnet-lite0": "lite0"}  # names of networks in the summary

Ours = dict[str, list[Row]]
Theirs = dict[str, dict[str, dict[str, Any]]]


def summarise(ours: Ours, theirs: Theirs) -> dict[str, float]:
    """Geometric means per kernel and CPU; the worst ratio of each network."""
    summary: dict[str, float] = {}
    for group, name in PER_MAC.items():
        for cpu, rows in ours.items():
            costs = [cost(row) for row in _layers(rows) if row["group"] == group]
            if costs:
                summary[f"{name}_per_mac_{cpu.removeprefix('cortex-')}"] = geometric_mean(costs)
    ratios: dict[str, list[float]] = defaultdict(list)
    for cpu, rows in ours.items():
        for row in _networks(rows):
            if (ratio := ratio_of(row, theirs.get(cpu, {}))) is not None:
                ratios[row["name"]].append(ratio)
        for row in _steps(rows):
            if (ratio := ratio_of_step(row, theirs.get(cpu, {}))) is not None:
                ratios[f"train_{row['name'].replace(' ', '_')}"].append(ratio)
    for network, found in sorted(ratios.items()):
        summary[f"ratio_{SHORT.get(network, network)}_max"] = max(found)
    if detectors := [ratio for name in DETECTORS for ratio in ratios.get(name, ())]:
        summary["ratio_detectors_max"] = max(detectors)
    return summary


def cost(row: Row) -> float:
    """Instructions of a layer per unit of its work."""
    return float(row["counts"]["all"] / row["work"])


def ratio_of(row: Row, theirs: dict[str, dict[str, Any]]) -> float | None:
    """A network's instructions over the better rival's; None where there is none."""
    found = [theirs[row["name"]][e]["instructions"] for e in ENGINES if e in theirs.get(row["name"], {})]
    return float(row["counts"]["process"] / min(found)) if found else None


def ratio_of_step(row: Row, theirs: dict[str, dict[str, Any]]) -> float | None:
    """A training step's instructions over torch's; None where they were not counted."""
    rival = theirs.get(training(row["name"]), {}).get(TRAINING)
    return float(row["counts"]["process"] / rival["instructions"]) if rival else None


def training(step: str) -> str:
    """Under which name counts of a training step are kept beside those of networks."""
    return f"training {step}"


def flat(rows: list[Row]) -> dict[str, int]:
    """Instructions of every layer, of every network and step of training, and of every kernel in it."""
    counts: dict[str, int] = {}
    for row in _layers(rows):
        counts[f"layer {row['group']} {row['name']}"] = row["counts"]["all"]
    named = [(f"network {row['name']}", row) for row in _networks(rows)]
    for name, row in (*named, *((training(row["name"]), row) for row in _steps(rows))):
        counts[name] = row["counts"]["process"]
        kernels: dict[str, int] = defaultdict(int)
        for step in row["steps"]:
            kernels[step["kernel"]] += step["counts"]["process" if step["kernel"] == "reference" else "all"]
        counts |= {f"{name}, {kernel}": total for kernel, total in kernels.items()}
    return counts


def of_cpu(cpu: str, rows: list[Row], theirs: dict[str, dict[str, Any]]) -> list[Table]:
    """The tables of one CPU: layers, then networks, then steps of training."""
    tables = []
    if layers := _layers(rows):
        columns = (
            "kernel",
            "layer",
            "instructions",
            "per",
            "of the work",
            "ideal",
            "loads",
            "stores",
            "L1 misses",
            "L2",
        )
        cells = []
        for row in layers:
            c, work = row["counts"], row["work"]
            cells.append((
                row["group"], row["name"], f"{c['all']:,}", row["unit"], f"{cost(row):.3f}",
                f"{row['bound']:.4g}" if row["bound"] else "", f"{c['loads'] / work:.3f}", f"{c['stores'] / work:.3f}",
                f"{c['l1_misses']:,}", f"{c['l2_misses']:,}",
            ))  # fmt: skip
        tables.append(Table(columns, cells, f"{cpu}: single layers, one thread"))
    if networks := _networks(rows):
        columns = (
            "network",
            "million",
            "per multiply-add",
            *ENGINES,
            "ratio",
            HALF,
            "loads",
            "stores",
            "L1 misses",
            "L2",
        )
        cells = []
        for row in networks:
            c, rivals = row["counts"], theirs.get(row["name"], {})
            ratio = ratio_of(row, theirs)
            cells.append((
                row["name"], _million(c["process"]), f"{c['process'] / row['macs']:.3f}",
                *(_million(rivals[e]["instructions"]) if e in rivals else "" for e in ENGINES),
                "" if ratio is None else f"{ratio:.2f}",
                _million(rivals[HALF]["instructions"]) if HALF in rivals else "",
                _million(c["loads"]), _million(c["stores"]), _million(c["l1_misses"]), _million(c["l2_misses"]),
            ))  # fmt: skip
        tables.append(Table(columns, cells, f"{cpu}: whole networks, one run, float32, millions of instructions"))
    if steps := _steps(rows):
        columns = ("step", "million", "per multiply-add", TRAINING, "ratio", "loads", "stores")
        cells = []
        for row in steps:
            c, rival = row["counts"], theirs.get(training(row["name"]), {}).get(TRAINING)
            cells.append((
                row["name"], _million(c["process"]), f"{c['process'] / row['macs']:.3f}",
                _million(rival["instructions"]) if rival else "",
                f"{ratio_of_step(row, theirs):.2f}" if rival else "", _million(c["loads"]), _million(c["stores"]),
            ))  # fmt: skip
        tables.append(Table(columns, cells, f"{cpu}: steps of training, float32, millions of instructions"))
    return tables


def profile(cpu: str, row: Row) -> None:
    """Print where a network spends its instructions: node by node, the largest first."""
    nodes: dict[str, Row] = {}
    for step in row["steps"]:
        node = nodes.setdefault(
            step["node"], {**step, "kernels": [], "all": 0, "loads": 0, "stores": 0, "l1": 0, "l2": 0}
        )
        node["kernels"].append(step["kernel"])
        c = step["counts"]
        node["all"] += c["process"] if step["kernel"] == "reference" else c["all"]
        for key, counter in (("loads", "loads"), ("stores", "stores"), ("l1", "l1_misses"), ("l2", "l2_misses")):
            node[key] += c[counter]
    total = sum(node["all"] for node in nodes.values())
    cells = [
        (", ".join(dict.fromkeys(n["kernels"])), " ".join(n["shapes"][:2]), " ".join(n["fused"]), f"{n['all']:,}",
         f"{n['all'] / total:.1%}", f"{n['all'] / n['macs']:.3f}" if n["macs"] else "", f"{n['loads']:,}",
         f"{n['stores']:,}", f"{n['l1']:,}", f"{n['l2']:,}")
        for n in sorted(nodes.values(), key=lambda n: -n["all"])
    ]  # fmt: skip
    columns = ("kernels", "shapes", "fused", "instructions", "share", "per MAC", "loads", "stores", "L1 misses", "L2")
    kernels: dict[str, int] = defaultdict(int)
    for step in row["steps"]:
        kernels[step["kernel"]] += step["counts"]["all"]
    sums = [(kernel, f"{n:,}", f"{n / total:.1%}") for kernel, n in sorted(kernels.items(), key=lambda item: -item[1])]
    Report({}, [
        Table(columns, cells, f"{cpu}: {row['name']}, node by node"), Table(("kernel", "instructions", "share"), sums),
        f"the process {row['counts']['process']:,}, kernels {total:,}, multiply-adds {row['macs']:,}",
    ]).show(as_json=False, stream=sys.stdout)  # fmt: skip


def _layers(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == "layer"]


def _networks(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == "network"]


def _steps(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == "step"]


def _million(count: int) -> str:
    return f"{count / 1e6:.2f}"
