"""What tasks share on the command line: open a source, look at it, write lines and a video, log the energy, report."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from alula.energy import running_log, tell_energy, up_to_now
from alula.progress import Progress
from alula.report import Report, Table
from alula.runtime.errors import AlulaError, SourceError
from alula.runtime.files import printable

if TYPE_CHECKING:
    from alula.device.camera import FrameSource
    from alula.device.tasks.annotate import AnnotatedVideo
    from alula.device.tasks.watch import Seen, Watch
    from alula.runtime.tasks.predictor import Predictor

AWatch = TypeVar("AWatch", bound="Watch[Any, Any]")
KEPT = 1000  # answers that the report holds; --out has all
OF_SOURCES = ("video", "energy", "meter", "frames", "every", "sequence")  # options that mean something for frames


@dataclass
class Looked:
    """What a run over a source gave. answers : the last of them, as JSON lines have them; took_ms : of these"""

    source: FrameSource
    answers: list[dict[str, Any]]
    took_ms: list[float]
    duration_s: float
    energy: dict[str, Any] | None
    notes: list[str]

    @property
    def latency_ms(self) -> float:
        """Median of preprocessing and network."""
        return sorted(self.took_ms)[len(self.took_ms) // 2]


def look(
    args: argparse.Namespace,
    predictor: Predictor,
    make: Callable[[Any], AWatch],
    draw: Callable[[AnnotatedVideo, Seen[Any]], None],
    tell: Callable[[Any], str],
) -> tuple[Looked, AWatch]:
    """Look at the source of a command line.

    make : from the energy log, or None, to what looks
    draw : an answer into the video
    tell : an answer in a few words, for the line of progress
    """
    from alula.device.camera import open_source

    kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
    took_ms: deque[float] = deque(maxlen=KEPT)
    with contextlib.ExitStack() as stack:
        channels = predictor.preprocessing.channels
        source = stack.enter_context(open_source(args.input, args.sequence, args.alpha, channels))
        predictor.plan()  # what cannot run is refused before anything is written
        log = stack.enter_context(energy_log(args))
        drawn = stack.enter_context(annotated_video(args, source)) if args.video else None
        lines = stack.enter_context(JsonLines(args.out)) if args.out else None
        progress = stack.enter_context(Progress("looking"))
        watch = make(log)
        total = args.frames or -(-len(source) // (args.every or 1))
        began_s = time.perf_counter()
        for seen in watch.run(source, args.frames):
            if drawn:
                draw(drawn, seen)
            kept.append(document := seen.document())
            if lines:
                lines.write(json.dumps(document, ensure_ascii=False))
            took_ms.append(seen.took_ms)
            progress(min(watch.frames, total) if total else 0, total, tell(seen.answer))
        duration_s = time.perf_counter() - began_s
        energy = up_to_now(log) if log else None
        notes = [*predictor.notes, *([drawn.note()] if drawn else [])]
    return Looked(source, list(kept), list(took_ms), duration_s, energy, notes), watch


def report(
    args: argparse.Namespace, looked: Looked, watch: Watch[Any, Any], table: Table, most: str, **more: Any
) -> Report:
    """What a run has to say.

    table : of the answers
    most  : what the counts are of
    more  : for the document
    """
    source, counts = looked.source, looked.source.counts.as_dict()
    what = "frames" if source.sequence else "images" if watch.frames > 1 else "image"
    parts: list[Table | str] = [table]
    if watch.frames > len(looked.answers) and not source.sequence:
        parts.append(f"the last {len(looked.answers)} of {watch.frames} images")
    rate = watch.frames / max(looked.duration_s, 1e-9)
    line = f"{watch.frames} {what}, {rate:.1f}/s, {looked.latency_ms:.2f} ms each (median)"
    parts.append(line + (f"; written to {printable(args.out)}" if args.out else ""))
    if watch.frames > 1 and not source.sequence and watch.counts:
        parts.append(f"{most}: " + ", ".join(f"{name} ({count})" for name, count in watch.counts.most_common(8)))
    if watch.unanswered:
        parts.append(f"{watch.unanswered} of {watch.frames} {what} without an answer: {watch.why}")
    notes = [line for line in looked.notes if line]
    parts += [*tell_lost(source, counts), *notes]
    parts += [tell_energy(looked.energy, "frame")] if looked.energy else []
    document = {"task": watch.task, "answers": looked.answers, "frames": watch.frames, **more,
                "duration_s": looked.duration_s, "latency_ms": looked.latency_ms, "counts": counts,
                "unanswered": watch.unanswered, "notes": notes, "damaged": source.damaged, "left_out": source.left_out,
                "energy": looked.energy}  # fmt: skip
    return Report(document, parts)


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
    """The energy log that --energy or --meter ask for, or None.

    A run that is refused before its first frame leaves the files as they were.
    """
    if not (args.energy or args.meter):
        yield None
        return
    samples = args.energy.with_suffix(".csv") if args.energy else None
    with (
        Replacing([path for path in (args.energy, samples) if path]) as files,
        running_log(args.meter, samples, args.energy) as log,
    ):
        try:
            yield log
        except AlulaError:
            files.is_refused = not log.summary()["counters"]
            raise


class Replacing:
    """New files in the place of others, which come back if the run is refused. is_refused : set it before the end"""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._before = {path: path.with_name(f".{path.name}.{os.getpid()}.before") for path in paths}
        self.is_refused = False

    def __enter__(self) -> Replacing:
        for path, before in self._before.items():
            if path.exists():
                path.replace(before)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for path, before in self._before.items():
            if self.is_refused:
                path.unlink(missing_ok=True)
            if self.is_refused or not path.exists():
                with contextlib.suppress(FileNotFoundError):
                    before.replace(path)
            before.unlink(missing_ok=True)


def annotated_video(args: argparse.Namespace, source: FrameSource) -> AnnotatedVideo:
    """The video that --video asks for: as fast as what was looked at."""
    from alula.device.tasks.annotate import AnnotatedVideo

    return AnnotatedVideo(args.video, source.fps / (args.every or 1), source.live)


def tell_lost(source: FrameSource, counts: dict[str, float]) -> list[str]:
    """What was lost, unreadable or left out, a line each."""
    from alula.runtime.data.listing import tell_left_out

    lost = [f"frames that were {name}: {counts[name]:.0f}" for name in ("dropped", "unreadable") if counts.get(name)]
    notes = [tell_left_out(source.damaged, "unreadable"), tell_left_out(source.left_out)]
    return [*lost, *(line for line in notes if line)]


def refuse_unused(args: argparse.Namespace, options: list[str], why: str) -> None:
    """Refuse options that mean nothing for this file and this input. options : those that were given of them"""
    if options:
        raise SourceError(
            f"{options[0]}: expected only options that mean something for {args.file} on {args.input}, got {options[0]}; {why}"
        )


def given_of(args: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    """Those of these options that were given, as they are written."""
    return [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) not in (None, False)]
