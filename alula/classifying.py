"""`alula run` for networks that tell classes apart: an image, a folder, a video, a camera."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from alula.progress import Progress
from alula.report import Cell, Report, Table
from alula.runtime.files import printable

if TYPE_CHECKING:
    from alula.device.camera import FrameSource
    from alula.device.tasks.classify import ClassWatch
    from alula.runtime.tasks.classify import Classifier

TOP = 5  # classes of an answer
KEPT = 1000  # answers that the report holds; --out has all


def classify(args: argparse.Namespace, classifier: Classifier) -> Report:
    """Look at a source; what was seen in it."""
    from alula.device.camera import open_source
    from alula.device.tasks.annotate import AnnotatedVideo
    from alula.device.tasks.classify import ClassWatch

    kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
    took_ms: deque[float] = deque(maxlen=KEPT)
    every, top = args.every or 1, args.top or TOP
    with contextlib.ExitStack() as stack:
        channels = classifier.preprocessing.channels
        source = stack.enter_context(open_source(args.input, args.sequence, args.alpha, channels))
        log = stack.enter_context(energy_log(args))
        drawn = stack.enter_context(AnnotatedVideo(args.video, source.fps)) if args.video else None
        lines = stack.enter_context(JsonLines(args.out)) if args.out else None
        progress = stack.enter_context(Progress("looking"))
        classifier.plan()
        watch = ClassWatch(classifier, top, every, log=log)
        total = args.frames or -(-len(source) // every)
        began_s = time.perf_counter()
        for seen in watch.run(source, args.frames):
            if drawn:
                answer = seen.answer
                best = zip(answer.names[:3], answer.probabilities[:3], strict=True)
                drawn.watch_lines(seen.frame, [f"{name} {probability:.2f}" for name, probability in best])
            if lines:
                lines.write(seen.as_json())
            kept.append(seen.document())
            took_ms.append(seen.took_ms)
            progress(min(watch.frames, total) if total else 0, total, seen.answer.name)
        duration_s = time.perf_counter() - began_s
        energy = log.summary() if log else None
        note = drawn.note() if drawn else ""
    return _report(args, source, watch, list(kept), list(took_ms), duration_s, energy, note)


class JsonLines:
    """A file of lines that are there as soon as they are written; no file before the first one."""

    def __init__(self, path: Path) -> None:
        self._path, self._stream = path, contextlib.ExitStack()
        self._file: TextIO | None = None

    def write(self, line: str) -> None:
        """Add a line."""
        if self._file is None:
            self._file = self._stream.enter_context(self._path.open("w", encoding="utf-8"))
        self._file.write(line + "\n")
        self._file.flush()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()


@contextlib.contextmanager
def energy_log(args: argparse.Namespace) -> Any:
    """The energy log that --energy or --meter ask for, or None."""
    if not (args.energy or args.meter):
        yield None
        return
    from alula.device.power import EnergyLog, select_meter

    samples = args.energy.with_suffix(".csv") if args.energy else None
    with contextlib.closing(select_meter(args.meter or "auto")) as meter, EnergyLog(meter, samples, args.energy) as log:
        yield log


def tell_energy(energy: dict[str, Any]) -> str:
    """One line: joules for each frame, and where they come from."""
    each = energy["counters"].get("frame", {}).get("each_j")
    shown = "" if each is None else f", {each:.3g} J per frame"
    return f"energy ({energy['accuracy']}, {energy['source']}){shown}"


def tell_lost(source: FrameSource, counts: dict[str, float]) -> list[str]:
    """What was lost, unreadable or left out, a line each."""
    from alula.runtime.data.listing import tell_left_out

    lost = [f"frames that were {name}: {counts[name]:.0f}" for name in ("dropped", "unreadable") if counts.get(name)]
    notes = [tell_left_out(source.damaged, "unreadable"), tell_left_out(source.left_out)]
    return [*lost, *(line for line in notes if line)]


def _report(
    args: argparse.Namespace, source: FrameSource, watch: ClassWatch, answers: list[dict[str, Any]], took_ms: list[float],
    duration_s: float, energy: dict[str, Any] | None, note: str,
) -> Report:  # fmt: skip
    """What a run has to say: every class of one image, the best of each of a folder's, how often each of a video's."""
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    if watch.frames == 1:
        columns = ("class", "name", "probability")
        rows = [(one["class"], one["name"], f"{one['probability']:.4f}") for one in answers[0]["results"]]
    elif source.sequence:
        columns = ("name", "frames", "of all")
        rows = [(name, count, f"{count / watch.frames:.0%}") for name, count in watch.best.most_common()]
    else:
        columns = ("image", "name", "probability")
        best = [(answer["image"], answer["results"][0]) for answer in answers]
        rows = [(image, one["name"], f"{one['probability']:.4f}") for image, one in best]
    middle_ms = sorted(took_ms)[len(took_ms) // 2]
    what = "frames" if source.sequence else "images" if watch.frames > 1 else "image"
    parts: list[Table | str] = [Table(columns, rows)]
    if watch.frames > len(rows) and not source.sequence and watch.frames > 1:
        parts.append(f"the last {len(rows)} of {watch.frames} images")
    line = f"{watch.frames} {what}, {watch.frames / max(duration_s, 1e-9):.1f}/s, {middle_ms:.2f} ms each (median)"
    parts.append(line + (f"; written to {printable(args.out)}" if args.out else ""))
    if watch.frames > 1 and not source.sequence:
        parts.append("most often: " + ", ".join(f"{name} ({count})" for name, count in watch.best.most_common(8)))
    counts = source.counts.as_dict()
    parts += [*tell_lost(source, counts), *([note] if note else []), *([tell_energy(energy)] if energy else [])]
    document = {"task": "classify", "answers": answers, "frames": watch.frames,
                "best": dict(watch.best), "duration_s": duration_s, "latency_ms": middle_ms, "counts": counts,
                "damaged": source.damaged, "left_out": source.left_out, "energy": energy}  # fmt: skip
    return Report(document, parts)
