"""`alula run` for files with the graphs `detect`, `classify` and `recognise`: signs in images."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alula
from alula.energy import tell_energy, up_to_now
from alula.imaging import given
from alula.progress import Progress
from alula.report import Cell, Report, Table
from alula.running import own_options
from alula.running.looking import annotated_video, energy_log, given_of, refuse_unused, tell_lost
from alula.runtime.files import printable, write_whole

if TYPE_CHECKING:
    from alula.device.camera import Frame, FrameSource
    from alula.device.tasks.spotter import Flight
    from alula.runtime.artifact import Artifact


def run(args: argparse.Namespace, artifact: Artifact) -> Report:
    """Look at a source; the signs in it."""
    alone = "leave it out, or choose one network with --graph"
    refuse_unused(args, [*given_of(args, own_options()), *given(args)], f"the file's networks read signs; {alone}")
    refuse_unused(args, given_of(args, ("layout",)), f"the networks' own is known; {alone}")
    from alula.device.camera import open_source
    from alula.device.tasks.networks import assemble, spotter_charset
    from alula.device.tasks.spotter import SpotterConfig, signs_as_json

    charset = spotter_charset(artifact)
    models = alula.load_all(args.file, threads=args.threads)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_source(args.input, args.sequence, args.alpha))
        log = stack.enter_context(energy_log(args))
        drawn = stack.enter_context(annotated_video(args, source)) if args.video else None
        progress = stack.enter_context(Progress("reading signs"))
        every = args.every or 1
        spotter = assemble(models, charset, SpotterConfig(every=every), log)
        total = args.frames or -(-len(source) // every)

        def watch(frame: Frame, seen: Any) -> None:
            if drawn:
                drawn.watch(frame, seen)
            progress(min(frame.index // every + 1, total) if total else 0, total, f"{len(seen)} signs in sight")

        flight = spotter.run(source, args.frames, watch)
        energy = up_to_now(log) if log else None
        note = drawn.note() if drawn else ""
    if args.out:
        write_whole(args.out, lambda handle: handle.write(signs_as_json(flight.signs).encode()))
    return _report(flight, source, energy, args.out, note)


def _report(flight: Flight, source: FrameSource, energy: dict[str, Any] | None, out: Path | None, note: str) -> Report:
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
    parts += [
        *tell_lost(source, flight.counts),
        *([note] if note else []),
        *([tell_energy(energy, "frame")] if energy else []),
    ]
    document = {"signs": [asdict(sign) for sign in flight.signs], "frames": flight.frames, "duration_s": flight.duration_s,
                "counts": flight.counts, "damaged": source.damaged, "left_out": source.left_out, "energy": energy}  # fmt: skip
    return Report(document, parts)
