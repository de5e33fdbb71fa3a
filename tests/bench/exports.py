"""Networks of the common exporters: exported, packed, loaded, and run beside onnxruntime.

    python -m tests.bench.exports --work DIR --json exports.json [--only SUBSTRING] [--again]

Needs the extra `exporters`; what its packages cannot build is listed and not counted. Every architecture runs in a
process of its own and leaves a file in DIR, so that a run can be resumed. `--again` judges anew
what was usable and not right.

An export is right if it packs, loads and answers what onnxruntime answers, at batch 1 and (where the batch is free) 3:
each output within 1e-4 of its range; where float32 itself is no better (onnxruntime without its optimisations is as far
off), within three times that; for a quantised network within half of what quantisation itself changed, what
onnxruntime's optimisations change, or two codes of the output, since a value on the edge between two codes may fall on
either side. An export that the exporter or onnxruntime refuses is `unusable`.

Summary: exports_right_ratio (of those that are usable), right, wrong, refused, crashed, unusable, architectures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import alula
from alula.host.onnx.importer import import_onnx
from alula.host.ort import OrtModel
from alula.host.pack import pack
from alula.host.verify import TOLERANCE_RATIO, compare
from alula.report import Table
from alula.runtime.errors import AlulaError
from tests.bench.exporters import ARCHITECTURES, QUANTISERS, Architecture, float_variant, images, variants, write
from tests.bench.output import finish

Array = np.ndarray[Any, Any]
Values = dict[str, Array]  # by tensor
FLOAT_MARGIN = 3.0
QUANTISATION_MARGIN = 0.5
TWO_CODES = 2.5 / 255  # of an output's range: such an output is itself one of 255 codes
SECONDS = 1500.0
VERDICTS = ("right", "wrong", "refused", "crashed", "unusable")


@dataclass(frozen=True)
class Outcome:
    """What became of one export. difference_ratio : of the worst output, over its range"""

    network: str
    variant: str
    verdict: str
    reason: str = ""
    difference_ratio: float = 0.0


def judge(architecture: Architecture, variant: str, folder: Path) -> Outcome:
    """Export, pack, load and compare one variant."""
    try:
        path = write(architecture, variant, folder)
        theirs = OrtModel(path, 1)
        batches = _batches(theirs)
        answers = [theirs({theirs.inputs[0]: images(architecture, batch)}) for batch in batches]
    except Exception as error:  # the exporter's and onnxruntime's own: many kinds
        return Outcome(architecture.label, variant, "unusable", _line(error))
    try:
        packed = path.with_suffix(".alula")
        pack({"net": import_onnx(path)}, packed, entropy=False)
        model = alula.load(packed, threads=1)
        packed.unlink()
        worst = 0.0
        for batch, expected in zip(batches, answers, strict=True):
            values = {theirs.inputs[0]: images(architecture, batch)}
            worst = max(worst, _distance(architecture, variant, path, values, model.run(values), expected))
    except AlulaError as error:
        return Outcome(architecture.label, variant, "refused", _line(error))
    except _Wrong as error:
        return Outcome(architecture.label, variant, "wrong", str(error), error.ratio)
    except Exception as error:  # a fault of ours, and the others must still be judged
        return Outcome(architecture.label, variant, "crashed", f"{type(error).__name__}: {_line(error)}")
    return Outcome(architecture.label, variant, "right", difference_ratio=worst)


class _Wrong(Exception):
    """An answer that is too far off."""

    def __init__(self, text: str, ratio: float) -> None:
        super().__init__(text)
        self.ratio = ratio


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _batches(theirs: OrtModel) -> tuple[int, ...]:
    """The batches to run: 1, and 3 if the network takes it."""
    return (1,) if isinstance(theirs.session.get_inputs()[0].shape[0], int) else (1, 3)


def _distance(
    architecture: Architecture, variant: str, path: Path, values: Values, found: Values, expected: Values
) -> float:
    """The largest difference over all outputs. raise : _Wrong if it is too large"""
    worst = 0.0
    for name, reference in expected.items():
        got = found[name]
        if got.shape != reference.shape:
            raise _Wrong(f"{name}: expected {reference.shape}, got {got.shape}", np.inf)
        ratio = compare(name, got, reference).ratio
        worst = max(worst, ratio)
        if ratio <= TOLERANCE_RATIO:
            continue
        allowed = _allowed(architecture, variant, path, values, name, reference)
        if not ratio <= allowed:
            raise _Wrong(f"{name} of {len(got)} images: off by {ratio:.2e} of its range, allowed {allowed:.1e}", ratio)
    return worst


def _allowed(
    architecture: Architecture, variant: str, path: Path, values: Values, name: str, reference: Array
) -> float:
    """How far an answer may be off where it is not within the tolerance."""
    itself = compare(name, _unoptimised(path, values)[name], reference).ratio
    if variant in QUANTISERS:
        whole = OrtModel(path.with_name(f"{float_variant(architecture, path.parent)}.onnx"), 1)(values).get(name)
        if whole is None or whole.shape != reference.shape:
            return max(TWO_CODES, itself)
        return max(TWO_CODES, QUANTISATION_MARGIN * compare(name, whole, reference).ratio, itself)
    return FLOAT_MARGIN * itself


def _unoptimised(path: Path, values: Values) -> Values:
    """onnxruntime's answer with none of its rewrites."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, values)))


def _serve(number: int, work: Path, again: bool) -> None:
    """Judge all variants of one architecture, and write what became of them."""
    architecture = ARCHITECTURES[number]
    folder = work / architecture.label.replace(":", "-")
    stored = folder / "outcomes.json"
    rows = json.loads(stored.read_text()) if stored.exists() else []
    done = {row["variant"]: row for row in rows if row["verdict"] in ("right", "unusable") or not again}
    for variant in variants(architecture):
        if variant not in done:
            done[variant] = asdict(judge(architecture, variant, folder))
            folder.mkdir(parents=True, exist_ok=True)
            stored.write_text(json.dumps(list(done.values())))


def outcomes_of(number: int, work: Path, again: bool) -> list[Outcome]:
    """All variants of one architecture, judged in another process, which may die."""
    architecture = ARCHITECTURES[number]
    command = [sys.executable, "-m", "tests.bench.exports", "--work", str(work), "--serve", str(number)]
    try:
        run = subprocess.run([*command, *["--again"] * again], capture_output=True, text=True, timeout=SECONDS)
        end = f"the process ended with status {run.returncode}: {run.stderr.strip()[-200:]}" if run.returncode else ""
    except subprocess.TimeoutExpired:
        end = f"no answer within {SECONDS:.0f} s"
    stored = work / architecture.label.replace(":", "-") / "outcomes.json"
    found = [Outcome(**row) for row in json.loads(stored.read_text())] if stored.exists() else []
    missing = [name for name in variants(architecture) if name not in {outcome.variant for outcome in found}]
    return [*found, *(Outcome(architecture.label, name, "crashed", end) for name in missing)]


def summarise(outcomes: list[Outcome]) -> dict[str, Any]:
    """The counts under the names of the module's docstring."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    usable = len(outcomes) - counts["unusable"]
    return {
        "exports_right_ratio": counts["right"] / usable if usable else 0.0,
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "architectures": len({outcome.network for outcome in outcomes if outcome.verdict != "unusable"}),
    }


def main() -> None:
    """Judge all, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="exported files and outcomes are kept here"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the result here")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="architectures whose name holds this")
    parser.add_argument("--again", action="store_true", help="judge again what was usable and not right")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        _serve(args.serve, args.work, args.again)
        return
    outcomes: list[Outcome] = []
    for number, architecture in enumerate(ARCHITECTURES):
        if args.only in architecture.label:
            found = outcomes_of(number, args.work, args.again)
            for outcome in found:
                if outcome.verdict != "right":
                    print(f"{outcome.verdict} {outcome.network} {outcome.variant}: {outcome.reason}", flush=True)
            outcomes += found
    kinds = sorted({outcome.variant for outcome in outcomes})
    rows = [(kind, *(sum(o.variant == kind and o.verdict == v for o in outcomes) for v in VERDICTS)) for kind in kinds]
    finish(
        summarise(outcomes), {"outcomes": [asdict(o) for o in outcomes]}, Table(("export", *VERDICTS), rows), args.json
    )


if __name__ == "__main__":
    main()
