"""Hostile files with right checksums: each is refused in one line, or does what it says within time and memory.

    python -m tests.bench.hostile --n 5000 --onnx 500 --json hostile.json [--seed 1]
    python -m tests.bench.hostile --seed 1 --only alula-17        one file, with what was done to it and what happens

A file is opened, `alula info` and `alula run` are called on it, and where its base was kept trainable one step is trained; an
ONNX model goes through `alula pack` first. Each in a process of its own, with 1 GB of address space beside what it starts with.
File number i of a seed is always the same. With --json F, what was judged is kept in F.part until all is done: a run that was
killed goes on.

Bad: an exception that is not ours, an exit status other than 0 and 2, a refusal of more than one line or 300 characters, more
than 10 seconds, more than 1 GB, a process that died.

Summary: hostile_bad, files, refused, accepted (every command took it), slowest_s, largest_mb.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import alula
from alula.cli import main as command
from alula.report import Table
from alula.runtime.artifact import open_artifact
from alula.runtime.artifact.task import KEY
from alula.runtime.compiler import library
from alula.runtime.errors import AlulaError
from alula.runtime.graph import TensorSpec
from alula.runtime.ops.contract import REGISTRY, files_for, import_file
from tests.bench import isolated
from tests.bench.hostile_bases import models, write_bases
from tests.bench.mutations import mutated_file, mutated_model
from tests.bench.output import finish

SECONDS, MORE_BYTES, MAX_LINE = 10.0, 1 << 30, 300
FREE, MOST_ELEMENTS = 8, 1 << 20  # the size of a free dimension, and elements of an input that is made
ALULA, ONNX = "alula", "onnx"


@dataclass(frozen=True)
class Outcome:
    """What became of one file. verdict : accepted, refused or bad; reason : of the first command that was not taken"""

    case: str
    base: str
    done: str
    verdict: str
    reason: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0


@dataclass(frozen=True)
class Case:
    """One mutated file. name : alula-N or onnx-N"""

    name: str
    base: str
    done: str
    content: bytes


class Bases:
    """The files that are mutated."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.files = write_bases(Path(folder))
        self.models = models()

    def case(self, name: str, seed: int) -> Case:
        """The file of that name."""
        kind, _, number = name.partition("-")
        generator = np.random.default_rng([seed, int(number), kind == ONNX])
        bases: dict[str, Any] = self.models if kind == ONNX else self.files
        base = list(bases)[int(number) % len(bases)]
        mutate: Callable[..., tuple[bytes, str]] = mutated_model if kind == ONNX else mutated_file
        content, done = mutate(bases[base], generator)
        return Case(name, base, done, content)


def _attempt(call: Callable[[], object]) -> tuple[str, str]:
    """(accepted, refused or bad, and why) of a command, or of a call of Python's."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
            status = call()
    except (AlulaError, MemoryError) as error:
        status = 2
        told.write(f"alula: {error}\n")
    except BaseException:
        return "bad", traceback.format_exc()[-1500:]
    lines = told.getvalue().splitlines()
    if status not in (0, 2, None):
        return "bad", f"exit status {status}: {told.getvalue()[:500]}"
    if status == 2 and (len(lines) != 1 or len(lines[0]) > MAX_LINE or not lines[0].isprintable()):
        return (
            "bad",
            f"{len(lines)} lines of up to {max(map(len, lines), default=0)} characters: {told.getvalue()[:900]!r}",
        )
    return ("refused", lines[0]) if status == 2 else ("accepted", "")


def _array(spec: TensorSpec, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """An input of that spec, a free dimension at a size of its own; a small one where that would be too big."""
    shape = [dim if isinstance(dim, int) else FREE for dim in spec.shape]
    if np.prod([float(dim) for dim in shape]) > MOST_ELEMENTS:
        shape = [1] * len(shape)
    kind = np.dtype(spec.dtype).kind
    values = generator.normal(size=shape) if kind == "f" else generator.integers(0, 2, shape)
    return np.asarray(values).astype(spec.dtype)


def _train(path: Path, graph: str) -> None:
    """One step of a network that was kept trainable."""
    generator = np.random.default_rng(0)
    model = alula.load(path, graph=graph, threads=1)
    arrays = {name: _array(spec, generator) for name, spec in model.inputs.items()}
    model.trainer(threads=1).step(*arrays.values(), generator.integers(0, 3, FREE))


def judge(case: Case) -> tuple[str, str]:
    """Do with a file what users do; the first that is bad, else the first that was refused, else accepted."""
    found: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        path = Path(folder) / "case.alula"
        if case.name.startswith(ONNX):
            model = path.with_suffix(".onnx")
            model.write_bytes(case.content)
            found.append(_attempt(lambda: command(["pack", str(model), "-o", str(path)])))
            if not path.exists():
                return found[0]
        else:
            path.write_bytes(case.content)
        found.append(_attempt(lambda: command(["info", str(path), "--tensors", "--threads", "1"])))
        try:
            artifact = open_artifact(path)
        except AlulaError:
            return found[-1]  # info has said the same
        for name, graph in list(artifact.graphs.items())[:3]:
            generator = np.random.default_rng(0)
            inputs = Path(folder) / "inputs.npz"
            try:
                np.savez(inputs, **{key: _array(spec, generator) for key, spec in graph.inputs.items()})  # type: ignore[arg-type]
            except (TypeError, ValueError, OSError):
                continue  # a name that NumPy's files do not take
            words = ["run", str(path), str(inputs), "--graph", name, "--threads", "1"]
            found.append(_attempt(lambda words=words: command(words)))  # type: ignore[misc]
            if KEY in artifact.metadata:
                image = Path(folder) / "image.ppm"
                image.write_bytes(b"P6 9 7 255 " + generator.bytes(189))
                words = ["run", str(path), str(image), "--graph", name, "--threads", "1"]
                found.append(_attempt(lambda words=words: command(words)))  # type: ignore[misc]
            if "trainable" in case.base or artifact.trainable:
                found.append(_attempt(partial(_train, path, name)))
    return next((f for f in found if f[0] == "bad"), next((f for f in found if f[0] == "refused"), ("accepted", "")))


def outcome_of(judged: isolated.Judged[Case]) -> Outcome:
    """The verdict on a file, its process included."""
    case, mb = judged.case, judged.peak_bytes / 1e6
    verdict, reason = judged.answer or ("bad", judged.crash)
    if judged.peak_bytes > MORE_BYTES:
        verdict, reason = "bad", f"{mb:.0f} MB of memory"
    return Outcome(case.name, case.base, case.done, verdict, reason, round(judged.seconds, 2), round(mb, 1))


def prepare() -> None:
    """Import and load what every process needs, so that a fork has it; run nothing."""
    library()
    for stem in ("op", "lower", "gradient"):
        for path in files_for("", stem):
            import_file(path)
    assert REGISTRY.all()
    for module in ("commands.info", "commands.run", "commands.pack", "runtime.train.trainer", "host.pack", "host.onnx.importer",
                   "device.tasks.networks", "host.inputs", "runtime.passes.trainable"):  # fmt: skip
        __import__(f"alula.{module}")
    onnx.defs.get_all_schemas_with_history()


def sweep(names: list[str], seed: int, workers: int, part: Path | None) -> list[Outcome]:
    """Judge all files; those that stand in `part` were judged before."""
    known: dict[str, Outcome] = {}
    if part and part.exists():
        rows = [json.loads(line) for line in part.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        known = {row["case"]: Outcome(**row) for row in rows}
    bases = Bases()
    cases = (bases.case(name, seed) for name in names if name not in known)
    with part.open("a", encoding="utf-8") if part else contextlib.nullcontext() as stream:
        for judged in isolated.judge_apart(cases, judge, workers, SECONDS, MORE_BYTES):
            outcome = known[judged.case.name] = outcome_of(judged)
            if outcome.verdict == "bad":
                print(f"{outcome.case} ({outcome.base}: {outcome.done}): {outcome.reason}", flush=True)
            if stream:
                stream.write(json.dumps(asdict(outcome)) + "\n")
                stream.flush()
    return [known[name] for name in names]


def main() -> None:
    """Mutate, judge, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=5000, help=".alula files")
    parser.add_argument("--onnx", type=int, default=500, help="ONNX models")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="CASE", help="one file: alula-N or onnx-N")
    parser.add_argument("--keep", type=Path, metavar="F", help="with --only: write the file here")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    args = parser.parse_args()
    prepare()
    names = [f"{ALULA}-{i}" for i in range(args.n)] + [f"{ONNX}-{i}" for i in range(args.onnx)]
    if args.only:
        names = [args.only]
        if args.keep:
            args.keep.write_bytes(Bases().case(args.only, args.seed).content)
    part = args.json.with_name(f"{args.json.name}.{args.seed}.part") if args.json else None
    outcomes = sweep(names, args.seed, args.workers, part)
    if args.only:
        print(json.dumps(asdict(outcomes[0]), indent=2))
    counts = Counter(outcome.verdict for outcome in outcomes)
    bases = sorted({outcome.base for outcome in outcomes})
    by_base = Counter((outcome.base, outcome.verdict) for outcome in outcomes)
    verdicts = ("accepted", "refused", "bad")
    table = Table(("base", *verdicts), [(base, *(by_base[base, verdict] for verdict in verdicts)) for base in bases])
    summary = {
        "hostile_bad": counts["bad"],
        "files": len(outcomes),
        "refused": counts["refused"],
        "accepted": counts["accepted"],
        "slowest_s": max((outcome.seconds for outcome in outcomes), default=0.0),
        "largest_mb": max((outcome.peak_mb for outcome in outcomes), default=0.0),
    }
    finish(summary, {"bad": [asdict(o) for o in outcomes if o.verdict == "bad"], "seed": args.seed}, table, args.json)
    if part and part.exists():
        os.remove(part)


if __name__ == "__main__":
    main()
