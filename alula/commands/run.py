"""`alula run MODEL SOURCE`: what the model's file says that it is for.

A file with the graphs `detect`, `classify` and `recognise` reads signs. A network that tells classes apart names what it
sees in an image, a folder, a video or a camera. Any other one gives its outputs for a .npy, a .npz or an image.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import alula
from alula.arguments import add_alpha, add_layout, add_threads, positive
from alula.classifying import classify, energy_log, tell_energy, tell_lost
from alula.imaging import add_imaging, chosen_task, given
from alula.models import ONNX, open_model
from alula.outputs import check_outputs
from alula.progress import Progress
from alula.report import Cell, Report, Table
from alula.runtime.files import printable, write_whole

if TYPE_CHECKING:
    from alula.device.camera import Frame, FrameSource
    from alula.device.tasks.spotter import Flight
    from alula.runtime.artifact import Artifact
    from alula.runtime.artifact.task import Task
    from alula.runtime.model import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to run on, where the results go."""
    parser.add_argument(
        "file", type=Path, metavar="MODEL", help="a packed file, or an ONNX model, which is packed on the fly"
    )
    parser.add_argument("--graph", metavar="NAME", help="one of the graphs of a packed file; default: the only one")
    parser.add_argument(
        "input", metavar="SOURCE", help="an image, a folder, a video, a camera's number or a stream; or a .npy or .npz"
    )
    parser.add_argument("--top", type=positive, metavar="K", help="classes of each answer (5)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="answers as JSON lines, or outputs as .npz")
    parser.add_argument(
        "--video", type=Path, metavar="FILE.mp4", help="a copy of the video with the answers drawn on it"
    )
    parser.add_argument(
        "--energy", type=Path, metavar="FILE.json", help="an energy log: the summary here, samples in a .csv beside it"
    )
    parser.add_argument("--meter", help="power meter (auto); alone it prints the energy and writes no log")
    parser.add_argument("--frames", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--every", type=positive, metavar="N", help="read one frame of N (1)")
    parser.add_argument(
        "--sequence", action="store_true", help="a folder's images are frames of a video; by default each is read alone"
    )
    add_imaging(parser)
    add_alpha(parser)
    add_layout(parser)
    add_threads(parser)


def run(args: argparse.Namespace) -> Report:
    """Choose by what the file holds."""
    from alula.device.tasks.networks import GRAPHS
    from alula.runtime.artifact import open_artifact
    from alula.runtime.artifact.task import CLASSIFY

    samples = args.energy.with_suffix(".csv") if args.energy else None
    check_outputs([args.out, args.video, args.energy, samples], [args.file, args.input, args.labels])
    if args.graph is None and args.file.suffix != ONNX:
        artifact = open_artifact(args.file)
        if set(GRAPHS) <= set(artifact.graphs):
            return _spot(args, artifact)
    model, found = open_model(str(args.file), args.graph, args.threads)
    if _is_array(args.input):
        return _arrays(args, model, None)
    task = chosen_task(args, found, model.graph, str(args.file), args.layout)
    if task is None or task.preprocessing is None or task.kind == CLASSIFY:
        return classify(args, model.classifier(task, str(args.file)))
    return _arrays(args, model, task)


def _is_array(source: str) -> bool:
    """Whether a source is an array: by its suffix, or a file that is neither an image nor a video by its first bytes."""
    path = Path(source)
    if path.suffix.lower() in (".npy", ".npz"):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(6) == b"\x93NUMPY"


def _spot(args: argparse.Namespace, artifact: Artifact) -> Report:
    if args.top or given(args):
        option = "--top" if args.top else given(args)[0]
        _refuse_unused(args, option, "the file's networks read signs; leave it out, or choose one network with --graph")
    if args.layout:
        _refuse_unused(args, "--layout", "the networks' own is known; leave it out, or choose one network with --graph")
    from alula.device.camera import open_source
    from alula.device.tasks.annotate import AnnotatedVideo
    from alula.device.tasks.networks import assemble, spotter_charset
    from alula.device.tasks.spotter import SpotterConfig, signs_as_json

    charset = spotter_charset(artifact)
    models = alula.load_all(args.file, threads=args.threads)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_source(args.input, args.sequence, args.alpha))
        log = stack.enter_context(energy_log(args))
        drawn = stack.enter_context(AnnotatedVideo(args.video, source.fps)) if args.video else None
        progress = stack.enter_context(Progress("reading signs"))
        every = args.every or 1
        spotter = assemble(models, charset, SpotterConfig(every=every), log)
        total = args.frames or -(-len(source) // every)

        def watch(frame: Frame, seen: Any) -> None:
            if drawn:
                drawn.watch(frame, seen)
            progress(min(frame.index // every + 1, total) if total else 0, total, f"{len(seen)} signs in sight")

        flight = spotter.run(source, args.frames, watch)
        energy = log.summary() if log else None
        note = drawn.note() if drawn else ""
    if args.out:
        write_whole(args.out, lambda handle: handle.write(signs_as_json(flight.signs).encode()))
    return _flight_report(flight, source, energy, args.out, note)


def _refuse_unused(args: argparse.Namespace, option: str, why: str) -> NoReturn:
    """Say that an option means nothing for this file and this input."""
    from alula.runtime.errors import SourceError

    raise SourceError(
        f"{option}: expected only options that mean something for {args.file} on {args.input}, got {option}; {why}"
    )


def _flight_report(
    flight: Flight, source: FrameSource, energy: dict[str, Any] | None, out: Path | None, note: str
) -> Report:
    """What a run has to say.

    note : on the annotated video
    """

    columns = ("from s", "to s") if source.sequence else ("image",)
    rows: list[tuple[Cell, ...]] = []
    for sign in flight.signs:
        where = (f"{sign.first_time_s:.1f}", f"{sign.last_time_s:.1f}") if source.sequence else (sign.picture,)
        rows.append((sign.text, f"{sign.confidence:.2f}", *where, sign.sightings))
    rate = flight.frames / max(flight.duration_s, 1e-9)
    parts: list[Table | str] = [Table(("sign", "confidence", *columns, "seen"), rows)]
    parts.append(
        f"{len(rows)} signs in {flight.frames} frames, {rate:.1f} frames/s"
        + (f"; written to {printable(out)}" if out else "")
    )
    parts += [*tell_lost(source, flight.counts), *([note] if note else []), *([tell_energy(energy)] if energy else [])]
    document = {"signs": [asdict(sign) for sign in flight.signs], "frames": flight.frames, "duration_s": flight.duration_s,
                "counts": flight.counts, "damaged": source.damaged, "left_out": source.left_out, "energy": energy}  # fmt: skip
    return Report(document, parts)


def _arrays(args: argparse.Namespace, model: Model, task: Task | None) -> Report:
    """The outputs of a network as they are.

    task : with the preprocessing of an image; None for arrays
    """
    import numpy as np

    from alula.host.inputs import load_inputs

    image = task is not None
    unused = [
        f"--{name}"
        for name in ("video", "energy", "meter", "frames", "every", "sequence", "top")
        if getattr(args, name)
    ]
    unused += [] if image else [*given(args), *(["--layout"] if args.layout else [])]
    if unused:
        _refuse_unused(args, unused[0], "its outputs are given as arrays; leave it out")
    how = task.preprocessing if task else None
    inputs = load_inputs(Path(args.input), model.inputs, how, args.alpha)
    model.run(inputs)  # plans the program
    start = time.perf_counter()
    outputs = model.run(inputs)
    latency_ms = 1e3 * (time.perf_counter() - start)
    if args.out:
        write_whole(args.out, lambda handle: np.savez(handle, **outputs))  # type: ignore[arg-type]
    rows: list[tuple[Cell, ...]] = []
    for name, array in outputs.items():
        ends = (f"{array.min():.4g}", f"{array.max():.4g}") if array.size else ("", "")
        best = int(array.argmax()) if array.size and array.ndim in (1, 2) and array.shape[0] == 1 else None
        rows.append((name, "x".join(map(str, array.shape)), array.dtype.name, *ends, best))
    table = Table(("output", "shape", "dtype", "least", "greatest", "at"), rows)
    line = f"{latency_ms:.2f} ms" + (f"; written to {args.out}" if args.out else "")
    shown = {name: array.tolist() for name, array in outputs.items()} if args.json else {}  # slow where they are large
    document = {"latency_ms": latency_ms, "outputs": shown}
    return Report(document, [table, line])
