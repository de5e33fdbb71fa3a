"""ONNX's own node tests, for every op that the engine declares: imported, optimised, run, compared.

    python -m tests.bench.conformance --json conformance.json [--engine model|reference] [--only SUBSTRING]

A test counts if every op in it is one that we declare. Each runs in a worker process: one that dies or hangs is counted
as crashed, and the next test gets a new worker. A test that needs a type the engine does not have (bfloat16, float8,
int4, text, sequences ...) is not applicable, and listed with that reason.

Summary: passed_ratio (over the tests whose types the engine has), passed, failed, crashed, not_applicable, collected,
and passed_ratio_all (over all collected tests: not applicable counts as not passed).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import warnings
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.host.onnx.importer import import_onnx
from alula.host.onnx.reader import dtype_name
from alula.report import Table
from alula.runtime.errors import AlulaError, DTypeError
from alula.runtime.planning.reference import evaluate
from tests.bench.output import finish

if TYPE_CHECKING:
    import onnx

OPS = frozenset(
    "Conv ConvTranspose Gemm MatMul BatchNormalization LayerNormalization InstanceNormalization GroupNormalization Relu "
    "LeakyRelu PRelu Clip HardSigmoid HardSwish Sigmoid Tanh Elu Gelu Softplus Erf Softmax LogSoftmax MaxPool AveragePool "
    "GlobalAveragePool GlobalMaxPool Resize Upsample Pad Concat Split Slice Gather Transpose Reshape Flatten Squeeze "
    "Unsqueeze Expand Tile Shape Cast Constant ConstantOfShape Identity Dropout Add Sub Mul Div Pow Sqrt Exp Log Abs Neg "
    "Min Max Where Equal Greater GreaterOrEqual Less LessOrEqual Not And Or ReduceMean ReduceSum ReduceMax ReduceMin "
    "ReduceL2 ArgMax LSTM GRU DepthToSpace SpaceToDepth QuantizeLinear DequantizeLinear ConvInteger QLinearConv".split()
)
SECONDS_PER_TEST = 120.0
ENGINES = ("model", "reference")


@dataclass(frozen=True)
class Outcome:
    """What became of one test. verdict : passed, failed, crashed or not_applicable"""

    test: str
    op: str
    verdict: str
    reason: str = ""


def collect() -> dict[str, Any]:
    """ONNX's node tests that use declared ops alone, by name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases compute their own overflows
        cases = load_model_tests(kind="node")
    return {case.name: case for case in cases if {node.op_type for node in case.model.graph.node} <= OPS}


def op_of(case: Any) -> str:
    """The op a test is about: its only one, or (a function written out) the last."""
    return str(case.model.graph.node[-1].op_type)


def missing_type(model: onnx.ModelProto) -> str:
    """A type in the model that the engine does not have, or ""."""
    import onnx

    graph = model.graph
    kinds = [tensor.data_type for tensor in graph.initializer]
    for info in (*graph.input, *graph.output):
        if not info.type.HasField("tensor_type"):
            return str(info.type.WhichOneof("value")).removesuffix("_type")
        kinds.append(info.type.tensor_type.elem_type)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                kinds.append(attribute.t.data_type)
            if attribute.name in ("value_string", "value_strings"):
                return "string"
            if attribute.name in ("to", "output_dtype") and attribute.i != onnx.TensorProto.UNDEFINED:
                kinds.append(attribute.i)
    for kind in kinds:
        try:
            dtype_name(kind, "")
        except DTypeError:
            return str(onnx.TensorProto.DataType.Name(kind)).lower()
    return ""


def _array(value: Any) -> np.ndarray[Any, Any]:
    """A value of a data set: an array, a number, or (where NumPy once had no such type) a tensor message."""
    import onnx

    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def differences(case: Any, engine: str) -> str:
    """Run every data set of a test; what is wrong with the results, or "".

    engine : model, what users run; reference, the ops' NumPy references
    """
    graph = import_onnx(case.model).graph
    if engine == "model":
        from alula.runtime.model import Model
        from alula.runtime.passes import optimise

        model = Model(optimise(graph))
    for inputs, expected in case.data_sets:
        named = dict(zip(graph.inputs, map(_array, inputs), strict=True))
        found = model.run(named) if engine == "model" else evaluate(graph, named)
        for name, want in zip(graph.outputs, expected, strict=True):
            got, want = found[name], _array(want)
            if got.dtype != want.dtype or got.shape != want.shape:
                return f"{name}: expected {want.dtype}{list(want.shape)}, got {got.dtype}{list(got.shape)}"
            if not np.allclose(got, want, case.rtol, case.atol, equal_nan=True):
                gap = np.abs(np.subtract(got, want, dtype=np.float64))
                return f"{name}: {int((gap > case.atol + case.rtol * np.abs(want)).sum())} of {gap.size} differ, by up to {gap.max():.3g}"
    return ""


def judge(case: Any, engine: str) -> Outcome:
    """Run one test in this process."""
    op = op_of(case)
    if kind := missing_type(case.model):
        return Outcome(case.name, op, "not_applicable", f"the engine has no {kind}")
    try:
        with np.errstate(all="ignore"):
            wrong = differences(case, engine)
    except AlulaError as error:
        wrong = f"{type(error).__name__}: {error}"
    except Exception as error:  # not one of ours: a fault, and the others must still be judged
        wrong = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return Outcome(case.name, op, "failed" if wrong else "passed", wrong)


def _serve(pipe: Connection, cases: dict[str, Any], engine: str) -> None:
    """A worker: judges the tests it is sent until the pipe closes."""
    warnings.simplefilter("ignore")
    try:
        while True:
            pipe.send(judge(cases[pipe.recv()], engine))
    except EOFError:
        pass


class _Worker:
    """A worker process and the test that it has."""

    def __init__(self, cases: dict[str, Any], engine: str) -> None:
        context = multiprocessing.get_context("fork")  # the tests are collected once, here
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, cases, engine), daemon=True)
        self.process.start()
        theirs.close()
        self.test = ""

    def give(self, test: str) -> None:
        self.test = test
        self.pipe.send(test)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run(cases: dict[str, Any], engine: str, n_workers: int) -> list[Outcome]:
    """Judge all tests in worker processes that may die."""
    waiting = list(cases)[::-1]
    outcomes: dict[str, Outcome] = {}
    workers: list[_Worker] = []
    while waiting or workers:
        while waiting and len(workers) < n_workers:
            workers.append(_Worker(cases, engine))
            workers[-1].give(waiting.pop())
        ready = wait([worker.pipe for worker in workers], SECONDS_PER_TEST)
        for worker in list(workers):
            if ready and worker.pipe not in ready:
                continue
            try:
                if not ready:
                    raise EOFError(f"no answer within {SECONDS_PER_TEST:.0f} s")
                outcome: Outcome = worker.pipe.recv()
            except (EOFError, ConnectionError) as error:
                worker.process.join(1)
                reason = str(error) or f"the process died with status {worker.process.exitcode}"
                outcome = Outcome(worker.test, op_of(cases[worker.test]), "crashed", reason)
            outcomes[outcome.test] = outcome
            if outcome.verdict == "crashed" or not waiting:
                worker.stop()
                workers.remove(worker)
            else:
                worker.give(waiting.pop())
    return [outcomes[name] for name in cases]


def summarise(outcomes: list[Outcome]) -> dict[str, Any]:
    """The counts and ratios under the names of the module's docstring."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    applicable = len(outcomes) - counts["not_applicable"]
    return {
        "passed_ratio": counts["passed"] / applicable if applicable else 0.0,
        "passed_ratio_all": counts["passed"] / len(outcomes) if outcomes else 0.0,
        **{name: counts[name] for name in ("passed", "failed", "crashed", "not_applicable")},
        "collected": len(outcomes),
        "ops_without_test": len(OPS - {outcome.op for outcome in outcomes}),
    }


def main() -> None:
    """Collect, run, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--engine", choices=ENGINES, default="model")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="tests whose name holds this")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    cases = {name: case for name, case in collect().items() if args.only in name}
    if args.engine == "model":
        from alula.runtime.compiler import library

        library()  # compile the kernels now if they are not
    outcomes = run(cases, args.engine, args.workers)
    by_op: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        by_op[outcome.op][outcome.verdict] += 1
    columns = ("op", "passed", "failed", "crashed", "not_applicable")
    rows = [(op, *(by_op[op][verdict] for verdict in columns[1:])) for op in sorted(by_op)]
    for outcome in outcomes:
        if outcome.verdict in ("failed", "crashed"):
            print(f"{outcome.verdict} {outcome.test} ({outcome.op}): {outcome.reason}")
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.verdict == "not_applicable")
    print("not applicable: " + (", ".join(f"{reason} ({n})" for reason, n in reasons.most_common()) or "none"))
    rest = [asdict(outcome) for outcome in outcomes if outcome.verdict != "passed"]
    details = {
        "engine": args.engine,
        "not_passed": rest,
        "not_applicable_reasons": dict(reasons),
        "ops": json.loads(json.dumps(by_op)),
    }
    finish(summarise(outcomes), details, Table(columns, rows), args.json)


if __name__ == "__main__":
    main()
