"""ONNX's own node tests for every op that the importer takes, and networks that real exporters wrote: imported, run, compared.

    python -m tests.bench.conformance --json conformance.json [--engine file|model|reference] [--only SUBSTRING]

A node test counts if the importer takes every op in it (`host/onnx/rules.py`: `imported_ops`), after the functions that
ONNX defines for the others are written out. Each test runs in a process of its own: one that dies or hangs is counted as
crashed. A test that needs a type the engine does not have (float8, int4, text, sequences ...) is not applicable, and
listed with that reason. Of the exporters' networks none is left out but for such a type.

Engines: file packs the network, writes it, and runs what it loads from there; model runs it as imported and optimised;
reference runs the ops' NumPy references.

Summary: passed_ratio (over the tests whose types the engine has), passed, failed, crashed, not_applicable, collected,
passed_ratio_all (over all collected: not applicable counts as not passed), and the same of the exporters' networks under
`exporters_...`; these are 0 where Debian's package libonnx-testdata is not installed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from alula.host.onnx.importer import import_onnx
from alula.host.onnx.rules import imported_ops
from alula.report import Table
from alula.runtime.errors import AlulaError
from alula.runtime.graph import Graph
from alula.runtime.planning.reference import evaluate
from tests.bench import isolated, onnx_cases
from tests.bench.onnx_cases import EXPORTERS_DATA, Case
from tests.bench.output import finish

SECONDS_PER_TEST = 120.0
ENGINES = ("file", "model", "reference")
VERDICTS = ("passed", "failed", "crashed", "not_applicable")
Run = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of one test. verdict : passed, failed, crashed or not_applicable"""

    test: str
    op: str
    verdict: str
    reason: str = ""


def runner(graph: Graph, engine: str) -> Run:
    """How an engine runs a graph."""
    if engine == "reference":
        return partial(evaluate, graph)
    from alula.runtime.model import Model, load
    from alula.runtime.passes import optimise

    if engine == "model":
        return Model(optimise(graph)).run
    from alula.host.pack import pack

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.alula"
        pack({"case": graph}, path)
        return load(path).run


def differences(case: Case, engine: str) -> str:
    """Run every data set of a test; what is wrong with the results, or ""."""
    graph = import_onnx(case.model).graph
    run = runner(graph, engine)
    for inputs, expected in case.data_sets:
        found = run(dict(zip(graph.inputs, map(onnx_cases.array_of, inputs), strict=True)))
        for name, want in zip(graph.outputs, expected, strict=True):
            if wrong := onnx_cases.gap(name, found[name], want, case):
                return wrong
    return ""


def judge(case: Case, engine: str) -> Outcome:
    """Run one test in this process."""
    if kind := onnx_cases.missing_type(case.model):
        return Outcome(case.name, case.op, "not_applicable", f"the engine has no {kind}")
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrong = differences(case, engine)
    except AlulaError as error:
        wrong = f"{type(error).__name__}: {error}"
    except Exception as error:  # not one of ours: a fault, and the others must still be judged
        wrong = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return Outcome(case.name, case.op, "failed" if wrong else "passed", wrong)


def judge_all(cases: list[Case], engine: str, workers: int) -> list[Outcome]:
    """Judge all tests, in their order."""
    outcomes: dict[str, Outcome] = {}
    for judged in isolated.judge_apart(cases, lambda case: judge(case, engine), workers, SECONDS_PER_TEST):
        case = judged.case
        outcomes[case.name] = judged.answer or Outcome(case.name, case.op, "crashed", judged.crash)
    return [outcomes[case.name] for case in cases]


def summarise(outcomes: list[Outcome], prefix: str = "") -> dict[str, Any]:
    """The counts and ratios under the names of the module's docstring."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    applicable = len(outcomes) - counts["not_applicable"]
    summary = {
        "passed_ratio": counts["passed"] / applicable if applicable else 0.0,
        "passed_ratio_all": counts["passed"] / len(outcomes) if outcomes else 0.0,
        **{name: counts[name] for name in VERDICTS},
        "collected": len(outcomes),
    }
    return {f"{prefix}{name}": value for name, value in summary.items()}


def by_op(outcomes: list[Outcome]) -> dict[str, Counter[str]]:
    """How many tests of each op ended how."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        table[outcome.op][outcome.verdict] += 1
    return table


def main() -> None:
    """Collect, run, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--engine", choices=ENGINES, default="file")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="tests whose name holds this")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", type=Path, default=EXPORTERS_DATA, metavar="FOLDER", help="the exporters' networks")
    args = parser.parse_args()
    nodes = [case for case in onnx_cases.node_cases() if args.only in case.name]
    unknown = {case.name: ops for case in nodes if (ops := onnx_cases.unknown_ops(case.model))}
    exporters = [case for case in onnx_cases.exporter_cases(args.data) if args.only in case.name]
    if not exporters:
        print(f"no networks of exporters in {args.data}; apt install libonnx-testdata")
    if args.engine != "reference":
        from alula.runtime.compiler import library

        library()  # compile the kernels now if they are not
    outcomes = judge_all([case for case in nodes if case.name not in unknown], args.engine, args.workers)
    theirs = judge_all(exporters, args.engine, args.workers)
    for outcome in (*outcomes, *theirs):
        if outcome.verdict in ("failed", "crashed"):
            print(f"{outcome.verdict} {outcome.test} ({outcome.op}): {outcome.reason}")
    for title, group in (("node tests", outcomes), ("exporters' networks", theirs)):
        reasons = Counter(outcome.reason for outcome in group if outcome.verdict == "not_applicable")
        print(
            f"{title}, not applicable: {', '.join(f'{reason} ({n})' for reason, n in reasons.most_common()) or 'none'}"
        )
    left_out = Counter(op for ops in unknown.values() for op in ops)
    print(
        "node tests left out for their ops: " + (", ".join(f"{op} ({n})" for op, n in left_out.most_common()) or "none")
    )
    ops = by_op(outcomes)
    columns = ("op", *VERDICTS)
    table = Table(columns, [(op, *(ops[op][verdict] for verdict in VERDICTS)) for op in sorted(ops)])
    untested = {op for domain, op in imported_ops() if not domain and onnx.defs.has(op)} - ops.keys()
    summary = summarise(outcomes) | {"left_out": len(unknown), "ops_without_test": len(untested)}
    details = {
        "engine": args.engine,
        "not_passed": [asdict(outcome) for outcome in (*outcomes, *theirs) if outcome.verdict != "passed"],
        "left_out": dict(left_out),
        "ops": json.loads(json.dumps(ops)),
    }
    finish(summary | summarise(theirs, "exporters_"), details, table, args.json)


if __name__ == "__main__":
    main()
