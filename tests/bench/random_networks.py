"""Random small ONNX networks: inference beside onnxruntime, whole steps of training beside torch in float64.

    python -m tests.bench.random_networks --n 2000 --seed 1 --json random.json
    python -m tests.bench.random_networks --seed 1 --only 17        one network, with its ops and what is wrong

Every network is imported, packed, loaded from its file, run and trained; network number i of a seed is always the same.
Each runs in a worker process: one that dies or hangs is counted as crashed, and the next network gets a new worker.

Summary: networks, right, inference_wrong, training_wrong, crashed (an exception that is not ours, a dead worker, a hang,
a NaN of ours alone), refused and refused_ratio (an error of ours in one line), unusable (no oracle runs the network, or
the oracles differ), excused (right only because torch is as far off when every node rounds once more), coarse (right, but an updated
weight is further off than a thousandth of its update), blocks
and blocks_fewest (how many kinds of blocks there were, and how often the rarest one was taken).
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import re
import time
import warnings
from collections import Counter
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from alula.report import Table
from tests.bench.output import finish
from tests.random_networks.judge import Verdict

SECONDS_PER_NETWORK = 120.0
PER_WORKER = 300  # networks: what a process gathers must not end the run
WRONG = ("inference_wrong", "training_wrong", "crashed")


def _serve(pipe: Connection, seed: int, with_training: bool) -> None:
    """A worker: judges the networks whose numbers it is sent until the pipe closes."""
    warnings.simplefilter("ignore")
    import torch

    from tests.random_networks.check import check

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # a trainer collects garbage when it plans; torch's many objects need not be looked at each time
    try:
        while True:
            pipe.send(check(seed, pipe.recv(), with_training))
    except EOFError:
        pass


class _Worker:
    """A worker process."""

    def __init__(self, seed: int, with_training: bool) -> None:
        self.seed = seed
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, seed, with_training), daemon=True)
        self.process.start()
        theirs.close()

    def judge(self, index: int) -> Verdict:
        """One network; it crashed if the worker dies or says nothing."""
        try:
            self.pipe.send(index)
            if self.pipe.poll(SECONDS_PER_NETWORK):
                verdict: Verdict = self.pipe.recv()
                return verdict
            reason = f"no answer within {SECONDS_PER_NETWORK:.0f} s"
        except (EOFError, ConnectionError):
            self.process.join(1)
            reason = f"the process died with status {self.process.exitcode}"
        from tests.random_networks.network import network

        case = network(self.seed, index)
        return Verdict(index, "crashed", reason, case.ops, blocks=case.blocks)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run(seed: int, indices: list[int], with_training: bool) -> list[Verdict]:
    """Judge all networks, in worker processes that may die."""
    verdicts: list[Verdict] = []
    worker, served, last = None, 0, time.monotonic()
    for index in indices:
        worker = worker or _Worker(seed, with_training)
        verdict = worker.judge(index)
        verdicts.append(verdict)
        served += 1
        if verdict.verdict in WRONG:
            print(f"{index} {verdict.verdict}: {verdict.reason} | {verdict.ops[:300]}", flush=True)
        if time.monotonic() - last > 60:
            last = time.monotonic()
            print(f"{len(verdicts)} of {len(indices)}", flush=True)
        if served == PER_WORKER or "process" in verdict.reason or "no answer" in verdict.reason:
            worker.stop()
            worker, served = None, 0
    if worker:
        worker.stop()
    return verdicts


def kind_of(reason: str) -> str:
    """A reason without numbers and names that differ from network to network, to count alike ones together."""
    if " off by " in reason:
        step = re.search(r" (?:after |of )?(?:step )?\d+ off by", reason)
        return f"{_hints(reason[: step.start()] if step else reason)} off"
    if ": " not in reason:
        return _hints(reason)
    text = re.sub(r"random: |\b[A-Za-z]+_\d+ (?=\()", "", reason)
    text = re.sub(r"'[^']*'|[\w.]+(?:\.channels_last[.\d]*)?\|\w+ (?=\()", "", text)
    return re.sub(r"[\[(][-\d, ]*[\])]", "[]", text)[:160]


def _hints(text: str) -> str:
    """Tensors by the kind of their names, each once."""
    words = [re.sub(r"(?<=[a-z.])\d+$", "", word) for word in re.split(r"[, +]+", text)]
    return " ".join(dict.fromkeys(words))


def summarise(verdicts: list[Verdict]) -> dict[str, Any]:
    """The counts and ratios under the names of the module's docstring."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    blocks = Counter(block for verdict in verdicts for block in verdict.blocks)
    return {
        "networks": len(verdicts),
        **{name: counts[name] for name in ("right", *WRONG, "refused", "unusable")},
        "refused_ratio": counts["refused"] / len(verdicts),
        "excused": sum(verdict.excused for verdict in verdicts),
        "coarse": sum(verdict.coarse for verdict in verdicts),
        "blocks": len(blocks),
        "blocks_fewest": min(blocks.values(), default=0),
        "seconds_per_network": sum(verdict.seconds for verdict in verdicts) / len(verdicts),
    }


def main() -> None:
    """Draw, run, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--n", type=int, default=200, help="how many networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, metavar="INDEX", help="the first network's number")
    parser.add_argument("--only", type=int, metavar="INDEX", help="this network alone")
    parser.add_argument("--inference-only", action="store_true")
    args = parser.parse_args()
    indices = list(range(args.first, args.first + args.n)) if args.only is None else [args.only]
    verdicts = run(args.seed, indices, not args.inference_only)
    reasons = Counter((v.verdict, kind_of(v.reason)) for v in verdicts if v.verdict != "right")
    rows = [(verdict, count, kind) for (verdict, kind), count in reasons.most_common()]
    if args.only is not None:
        print(f"{verdicts[0].verdict} {verdicts[0].reason}\n{verdicts[0].ops}")
    rest = [asdict(v) | {"seed": args.seed} for v in verdicts if v.verdict != "right" or v.excused or v.coarse]
    details = {
        "seed": args.seed,
        "not_right": rest,
        "reasons": [{"verdict": verdict, "count": count, "reason": kind} for verdict, count, kind in rows],
        "blocks_count": dict(Counter(block for v in verdicts for block in v.blocks).most_common()),
    }
    finish(summarise(verdicts), details, Table(("verdict", "networks", "reason"), rows), args.json)


if __name__ == "__main__":
    main()
