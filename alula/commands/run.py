"""`alula run F.alula INPUT`: read the signs in a video, or run a model on an array.

A file with the graphs `detect`, `classify` and `recognise` reads signs; INPUT is then a video, a camera, a stream or a
folder of images, or one image. Any other file runs one graph on a .npy, a .npz or an image.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import alula
from alula.arguments import add_alpha, add_file, add_layout, add_shape, add_threads, positive
from alula.outputs import check_outputs
from alula.progress import Progress
from alula.report import Cell, Report, Table
from alula.runtime.files import printable, write_whole

if TYPE_CHECKING:
    from alula.device.camera import Frame, FrameSource
    from alula.device.tasks.spotter import Flight
    from alula.runtime.artifact import Artifact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to run on, where the results go."""
    add_file(parser)
    parser.add_argument(
        "input", metavar="INPUT", help="a video, camera index, stream or folder; or a .npy, .npz or image"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="signs as JSON lines, or outputs as .npz")
    parser.add_argument("--video", type=Path, metavar="FILE.mp4", help="a copy of the video with the signs drawn on it")
    parser.add_argument(
        "--energy", type=Path, metavar="FILE.json", help="an energy log: the summary here, samples in a .csv beside it"
    )
    parser.add_argument("--meter", help="power meter for the energy log (auto)")
    parser.add_argument("--frames", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--every", type=positive, metavar="N", help="read one frame of N (1)")
    parser.add_argument(
        "--sequence", action="store_true", help="a folder's images are frames of a video; by default each is read alone"
    )
    add_alpha(parser)
    add_layout(parser)
    add_shape(parser)
    add_threads(parser)


def run(args: argparse.Namespace) -> Report:
    """Choose by what the file holds."""
    from alula.device.tasks.networks import GRAPHS
    from alula.runtime.artifact import open_artifact
    from alula.runtime.errors import SourceError

    if args.meter and not args.energy:
        raise SourceError(
            "--meter: expected --energy FILE.json with it, got none; there is no energy log to measure for"
        )
    samples = args.energy.with_suffix(".csv") if args.energy else None
    check_outputs([args.out, args.video, args.energy, samples], [args.file, args.input])
    artifact = open_artifact(args.file)
    if args.graph is None and set(GRAPHS) <= set(artifact.graphs):
        return _spot(args, artifact)
    return _infer(args)


def _spot(args: argparse.Namespace, artifact: Artifact) -> Report:
    if args.shape:
        _refuse_unused(args, "--shape", "the images give the shapes; leave it out, or choose one network with --graph")
    if args.layout:
        _refuse_unused(args, "--layout", "the networks' own is known; leave it out, or choose one network with --graph")
    from alula.device.camera import open_source
    from alula.device.power import EnergyLog, select_meter
    from alula.device.tasks.annotate import AnnotatedVideo
    from alula.device.tasks.networks import assemble, spotter_charset
    from alula.device.tasks.spotter import SpotterConfig, signs_as_json

    charset = spotter_charset(artifact)
    models = alula.load_all(args.file, threads=args.threads)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_source(args.input, args.sequence, args.alpha))
        log = None
        if args.energy:
            meter = stack.enter_context(contextlib.closing(select_meter(args.meter or "auto")))
            log = stack.enter_context(EnergyLog(meter, args.energy.with_suffix(".csv"), args.energy))
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
    from alula.runtime.data.listing import tell_left_out

    columns = ("from s", "to s") if source.sequence else ("image",)
    rows: list[tuple[Cell, ...]] = []
    for sign in flight.signs:
        where = (f"{sign.first_time_s:.1f}", f"{sign.last_time_s:.1f}") if source.sequence else (sign.picture,)
        rows.append((sign.text, f"{sign.confidence:.2f}", *where, sign.sightings))
    rate = flight.frames / max(flight.duration_s, 1e-9)
    lost = {name: n for name, n in flight.counts.items() if name in ("dropped", "unreadable") and n}
    parts: list[Table | str] = [Table(("sign", "confidence", *columns, "seen"), rows)]
    parts.append(
        f"{len(rows)} signs in {flight.frames} frames, {rate:.1f} frames/s"
        + (f"; written to {printable(out)}" if out else "")
    )
    parts += [f"frames that were {name}: {n:.0f}" for name, n in lost.items()]
    notes = [tell_left_out(source.damaged, "unreadable"), tell_left_out(source.left_out), note]
    parts += [line for line in notes if line]
    if energy:
        each = energy["counters"].get("frame", {}).get("each_j")
        shown = "" if each is None else f", {each:.3g} J per frame"
        parts.append(f"energy ({energy['accuracy']}, {energy['source']}){shown}")
    document = {"signs": [asdict(sign) for sign in flight.signs], "frames": flight.frames, "duration_s": flight.duration_s,
                "counts": flight.counts, "damaged": source.damaged, "left_out": source.left_out, "energy": energy}  # fmt: skip
    return Report(document, parts)


def _infer(args: argparse.Namespace) -> Report:
    import numpy as np

    from alula.device.tasks.networks import GRAPHS
    from alula.host.inputs import is_image, load_inputs, parse_shapes

    image = is_image(Path(args.input))
    if args.shape and not image:
        _refuse_unused(args, "--shape", "it is what an image is resized to, and arrays have shapes; leave it out")
    if args.layout and not image:
        _refuse_unused(args, "--layout", "it is for an image, and arrays have the network's; leave it out")
    for name in ("video", "energy", "frames", "every", "sequence"):
        if getattr(args, name):
            _refuse_unused(
                args, f"--{name}", f"it is for a file with the graphs {', '.join(GRAPHS)} on a video; leave it out"
            )
    model = alula.load(args.file, graph=args.graph, threads=args.threads)
    inputs = load_inputs(Path(args.input), model.inputs, parse_shapes(args.shape), args.layout, args.alpha)
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
