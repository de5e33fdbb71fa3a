"""`alula run` for networks that tell classes apart: names and probabilities."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from alula.arguments import positive
from alula.report import Cell, Report, Table
from alula.running.looking import look, report

if TYPE_CHECKING:
    from alula.device.tasks.annotate import AnnotatedVideo
    from alula.device.tasks.watch import Seen
    from alula.runtime.tasks.classify import Classification, Classifier

OPTIONS = ("top",)
TOP = 5  # classes of an answer


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many classes."""
    parser.add_argument("--top", type=positive, metavar="K", help=f"classes: how many of each answer ({TOP})")


def run(args: argparse.Namespace, classifier: Classifier) -> Report:
    """Every class of one image, the best of each of a folder's, how often each of a video's was the best."""
    from alula.device.tasks.classify import ClassWatch

    looked, watch = look(
        args,
        classifier,
        lambda log: ClassWatch(classifier, args.top or TOP, args.every or 1, log=log),
        _draw,
        lambda answer: str(answer.name),
    )
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    answers = looked.answers
    if watch.frames == 1:
        columns = ("class", "name", "probability")
        rows = [(one["class"], one["name"], f"{one['probability']:.4f}") for one in answers[0]["results"]]
    elif looked.source.sequence:
        columns = ("name", "frames", "of all")
        rows = [(name, count, f"{count / watch.frames:.0%}") for name, count in watch.counts.most_common()]
    else:
        columns = ("image", "name", "probability")
        best = [(answer["image"], next(iter(answer["results"]), None)) for answer in answers]
        rows = [
            (image, one["name"], f"{one['probability']:.4f}") if one else (image, None, None) for image, one in best
        ]
    return report(args, looked, watch, Table(columns, rows), "most often", best=dict(watch.counts))


def _draw(drawn: AnnotatedVideo, seen: Seen[Any]) -> None:
    answer: Classification = seen.answer
    best = zip(answer.names[:3], answer.probabilities[:3], strict=True)
    drawn.watch_lines(seen.frame, [f"{name} {probability:.2f}" for name, probability in best])
