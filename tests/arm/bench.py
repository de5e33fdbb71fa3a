"""What the kernels cost on the Raspberry Pis, in instructions: exact and repeatable, whatever the machine is doing.

    python -m tests.arm.bench --json F [--cpu cortex-a53,...] [--only PART] [--rivals measure|stored|none]
    python -m tests.arm.bench --profile mobilenetv2 --cpu cortex-a53      # where a network spends them; or a step: 'resnet20 b1'
    python -m tests.arm.bench --update                                    # what is counted is the baseline from now on
    python -m tests.arm.bench --only detectors --networks yolov8n --update  # one by one: a detector takes minutes

Single layers: instructions of the kernel pack's own code in one call of a planned one-node graph, on one thread, over its
direct multiply-adds, elements or bytes; the loads and stores among them; misses of the board's caches, modelled, empty at
first. Whole networks: instructions of the whole process, N runs subtracted from 2N, ours beside onnxruntime's and ncnn's
aarch64 wheels in float32. All must give the same answer before they are counted. Steps of training likewise, beside
torch's; their losses must be the same. Gradients of layers count what turns or transforms the weights, too. Whole detectors
at 320 x 320 are counted as networks, without decoding; only `--only detectors` counts them.

Summary: <kernel>_per_mac_<core>, the geometric mean over the kernel's layers; ratio_<network>_max, ours over the better
rival on the worst of the CPUs (below 1 ours needs fewer); ratio_detectors_max, that of the worst detector;
ratio_train_<network>_<batch>_max, over torch; pack_kb_max; rss_mb_mobilenetv2, the peak of a fresh process on this machine
that loads the network and answers once. The exit status is 1 if a count is over 2 % above baseline.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from alula.runtime.compiler import build, library
from tests.arm import baseline, rivals, tables, training
from tests.arm.boards import BOARDS, MAIN, Board, ensure
from tests.arm.counting import Row, count_ours, fixed_addresses, plugin
from tests.arm.debian import COUNTED, BoardsError
from tests.arm.detectors import DETECTORS
from tests.arm.detectors import prepare as prepare_detector
from tests.bench.footprint import OURS, fresh
from tests.bench.networks import prepare
from tests.bench.output import finish

NETWORKS = ("rec", "efficientnet-lite0", "mobilenetv2", "resnet20")  # the longest first
CPUS = {BOARDS[name].cpu: BOARDS[name].on(COUNTED) for name in MAIN}
TOLERANCE_RATIO = 1e-4
NEVER_IMPORTED = ("numba", "llvmlite")


def main() -> int:
    """Count, print, write; compare with the baseline."""
    args = _arguments()
    try:
        torch = (rivals.TRAINING,) if args.only in (None, "training") else ()
        ensure(extras=(*rivals.ENGINES, *torch) if args.rivals == "measure" else (), releases=[COUNTED])
        plugin()
    except BoardsError as error:
        sys.exit(str(error))
    packs = {cpu: build(cpu) for cpu in args.cpu}
    fixed_addresses()
    boards = [CPUS[cpu] for cpu in args.cpu]
    with tempfile.TemporaryDirectory() as folder:
        names, steps, kinds = _wanted(args)
        trained = training.prepare(steps, Path(folder))
        networks = {name: (prepare_detector if name in DETECTORS else prepare)(name, Path(folder)) for name in names}
        arrays = {name: rivals.expected(network, Path(folder)) for name, network in networks.items()}
        parts: list[dict[str, Any]] = [
            {"steps": [{"name": n, "packed": str(files[1])}]} for n, files in trained.items()
        ]
        parts += [{kind: True} for kind in kinds]
        parts += [
            {"networks": [{"name": name, "packed": str(network.packed), "arrays": str(arrays[name])}]}
            for name, network in networks.items()
        ]
        ours = _count_all(boards, parts, args.jobs, Path(folder))
        if args.profile:
            for cpu, rows in ours.items():
                tables.profile(cpu, next(row for row in rows if "steps" in row))
            return 0
        theirs = {} if args.rivals == "none" else rivals.stored()
        if args.rivals == "measure":
            theirs = rivals.measure(boards, networks, arrays, args.jobs, Path(folder))
            for cpu, steps in training.measure(boards, trained, args.jobs).items():
                theirs[cpu].update(steps)
        _check_losses(ours, theirs)
        rss_mb = _peak_mb(Path(folder)) if "mobilenetv2" in networks else None

    summary = tables.summarise(ours, theirs)
    if not args.only:
        summary["pack_kb_max"] = max(path.stat().st_size for path in packs.values()) / 1024
    if rss_mb is not None:
        summary["rss_mb_mobilenetv2"] = rss_mb
    counts = {cpu: tables.flat(rows) for cpu, rows in ours.items()}
    worse, news = baseline.compare(counts, baseline.load())
    shown = [table for cpu in args.cpu for table in tables.of_cpu(cpu, ours[cpu], theirs.get(cpu, {}))]
    details = {"counts": ours, "rivals": theirs, "worse": worse, "better_or_new": news}
    finish(summary, details, shown, args.json)
    if args.update:
        whole = set(args.cpu) == set(CPUS) and not args.only and set(names) == set(NETWORKS)
        baseline.update(counts, whole, apart=[f"network {name}" for name in DETECTORS])
        if args.rivals == "measure":
            rivals.store(theirs)
        return 0
    for line in news:
        print(f"better or new, tell the baseline with --update: {line}")
    for line in worse:
        print(f"worse than the baseline: {line}", file=sys.stderr)
    return 1 if worse else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.arm.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--cpu", type=_some_of(CPUS), default=list(CPUS), metavar="A,B", help=", ".join(CPUS))
    parser.add_argument(
        "--networks", type=_some_of((*NETWORKS, *DETECTORS)), metavar="A,B", help=", ".join((*NETWORKS, *DETECTORS))
    )
    parser.add_argument("--only", choices=("layers", "networks", "training", "detectors"), help="count only these")
    parser.add_argument(
        "--rivals", choices=("measure", "stored", "none"), default="measure",
        help="count their wheels, or take the counts that rivals.json keeps, or leave them out",
    )  # fmt: skip
    parser.add_argument(
        "--profile",
        choices=(*NETWORKS, *DETECTORS, *training.STEPS),
        help="only this: where a network spends its instructions",
    )
    parser.add_argument("--update", action="store_true", help="store what is counted as the baseline")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="boards that run side by side (2)")
    args = parser.parse_args()
    if args.profile or args.only == "layers":
        args.rivals = "none"
    return args


def _wanted(args: argparse.Namespace) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Which networks, steps of training and kinds of layers are counted."""
    if args.profile:
        known = ((*NETWORKS, *DETECTORS), training.STEPS)
        return *([args.profile] if args.profile in names else [] for names in known), ()
    kinds: tuple[str, ...] = {
        "layers": ("layers",), "networks": (), "detectors": (), "training": ("gradients",)
    }.get(args.only, ("layers", "gradients"))  # fmt: skip
    names = args.networks or list(DETECTORS if args.only == "detectors" else NETWORKS)
    return (
        names if args.only in (None, "networks", "detectors") else [],
        list(training.STEPS) if args.only in (None, "training") else [],
        kinds,
    )


def _some_of(known: Sequence[str] | dict[str, Any]) -> Any:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := sorted(set(names) - set(known)):
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, got {', '.join(unknown)}")
        return names

    return parse


def _count_all(boards: list[Board], parts: list[dict[str, Any]], jobs: int, folder: Path) -> dict[str, list[Row]]:
    """Ours: by CPU, what count_ours.py told of every part, each in a process of its own."""
    work: list[tuple[Board, Path]] = []
    for number, part in enumerate(parts):
        job = folder / f"job{number}.json"
        job.write_text(json.dumps(part), encoding="utf-8")
        work += [(board, job) for board in boards]
    with ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(lambda item: count_ours(*item), work))
    rows: dict[str, list[Row]] = {board.cpu: [] for board in boards}
    for (board, _), told in zip(work, found, strict=True):
        rows[board.cpu] += told
    for cpu, told in rows.items():
        for row in told:
            if row["kind"] == "pack" and row["cpu"] != cpu:
                sys.exit(f"{cpu}: expected a pack for it, got one for {row['cpu']}: {row['name']}")
            if row["kind"] == "network" and not row["difference_ratio"] <= TOLERANCE_RATIO:
                sys.exit(
                    f"{cpu}: expected {row['name']}'s answer within {TOLERANCE_RATIO:g} of onnxruntime's, "
                    f"got {row['difference_ratio']:.2e}; not counted"
                )
    return rows


def _check_losses(ours: dict[str, list[Row]], theirs: rivals.Counts) -> None:
    """Steps that are compared must have lost the same."""
    for cpu, rows in ours.items():
        for row in rows:
            rival = theirs.get(cpu, {}).get(tables.training(row["name"]), {}).get(rivals.TRAINING)
            if row["kind"] == "step" and rival and not training.agree(row["losses"], rival["losses"]):
                sys.exit(
                    f"{cpu}: expected {row['name']} to lose {rival['losses']} as torch does, got {row['losses']}; not compared"
                )


def _peak_mb(folder: Path) -> float:
    """Peak memory of a fresh process here that loads MobileNetV2 and answers once, without the compiler."""
    library()  # compile this machine's kernels now if they are not
    network = prepare("mobilenetv2", folder)
    (shape,) = network.shapes.values()
    report = fresh(OURS, network.packed, shape)
    if imported := sorted(set(NEVER_IMPORTED) & set(report["modules"])):
        sys.exit(f"mobilenetv2: expected a run without {', '.join(NEVER_IMPORTED)}, got {', '.join(imported)} imported")
    return float(report["rss_kb"]) / 1024


if __name__ == "__main__":
    sys.exit(main())
