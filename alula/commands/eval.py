"""`alula eval MODEL --data DIR`: how often a network names the right class, on labelled images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from alula.arguments import add_alpha, add_layout, add_threads
from alula.energy import add_meter, asked_log, tell_energy, up_to_now
from alula.imaging import add_imaging, chosen_task, refuse_unread
from alula.progress import Progress
from alula.report import Cell, Report, Table

if TYPE_CHECKING:
    from alula.runtime.data import Dataset, Preprocessing

MOST_ROWS = 50  # of the table of classes: those with the worst recall
SPLITS = ("test", "train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to evaluate on what."""
    parser.add_argument("file", metavar="MODEL", help="a packed file, or an ONNX model, which is packed on the fly")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="a folder or file in a format of docs/data.md"
    )
    parser.add_argument("--graph", metavar="NAME", help="one of the graphs of a packed file; default: the only one")
    parser.add_argument("--split", choices=SPLITS, help="default: test if there is one, else all of the folder")
    add_meter(parser, "prints the energy, of all and of an image")
    add_imaging(parser)
    add_alpha(parser)
    add_layout(parser)
    add_threads(parser)


def run(args: argparse.Namespace) -> Report:
    """Accuracy, classes, confusion, worst images."""
    from alula.models import open_model
    from alula.runtime.data.listing import tell_left_out
    from alula.runtime.tasks.classify import count_scores
    from alula.runtime.tasks.evaluate import evaluate_set, tell_imbalance
    from alula.runtime.train.head import fit_classes

    model, found, note = open_model(args.file, args.graph, args.threads)
    task = chosen_task(args, found, model.graph, args.file, args.layout)
    refuse_unread(task, note, args.file)
    classifier = model.classifier(task, args.file)
    data = _open(args, classifier.preprocessing)
    outputs = count_scores(model.graph, classifier.preprocessing, args.file) or len(data.classes)
    fitted = fit_classes(model.graph, outputs, classifier.classes, data.classes, None, 0, args.file, advise=False)
    if fitted.places:
        from alula.runtime.data.seen_as import Relabelled

        data = Relabelled(data, fitted.classes, fitted.places)
    with asked_log(args.meter) as log, Progress("evaluating") as progress:
        tally = evaluate_set(classifier, data, outputs, lambda done, total: progress(done, total, ""))
        energy = None
        if log:
            log.count("image", tally.samples)
            energy = up_to_now(log)
    document = {**tally.document(fitted.classes, getattr(data, "files", ())), "data": data.name,
                "damaged": dict(data.damaged), "notes": [*fitted.notes, *([note] if note else [])],
                "energy": energy}  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (row["name"], row["samples"], row["right"], _percent(row["recall"]), _percent(row["precision"]))
        for row in sorted(document["classes"], key=lambda row: (row["recall"] is None, row["recall"]))[:MOST_ROWS]
    ]
    parts: list[Table | str] = [Table(("class", "samples", "right", "recall", "precision"), rows)]
    if len(document["classes"]) > MOST_ROWS:
        parts.append(f"the {MOST_ROWS} of {len(document['classes'])} classes with the lowest recall")
    if document["worst"]:
        worst: list[tuple[Cell, ...]] = [
            (one["image"] or f"sample {one['sample']}", one["label"], one["seen_as"], f"{one['probability']:.2f}", f"{one['own']:.2f}")
            for one in document["worst"]
        ]  # fmt: skip
        parts.append(Table(("worst image", "class", "seen as", "probability", "of its own class"), worst))
    right = int(tally.confusion.trace())
    parts.append(
        f"{right} of {tally.samples} right: accuracy {tally.accuracy:.2%}, top 5 {document['top5']:.2%}, loss {tally.loss:.4f}"
    )
    parts += [tell_energy(energy, "image")] if energy else []
    left_out = [tell_left_out(data.left_out), tell_left_out(data.damaged, "damaged images, left out")]
    return Report(document, [*parts, *document["notes"], *filter(None, (tell_imbalance(data), *left_out))])


def _open(args: argparse.Namespace, how: Preprocessing) -> Dataset:
    """The split that is asked for; without one, the test split if there is one, else the whole set."""
    from alula.runtime.data import open_data
    from alula.runtime.errors import NoSplitError

    try:
        return open_data(args.data, args.split or "test", images=how, alpha=args.alpha)
    except NoSplitError:
        if args.split:
            raise
        return open_data(args.data, "train", images=how, alpha=args.alpha)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
