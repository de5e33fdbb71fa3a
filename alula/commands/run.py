"""`alula run MODEL SOURCE`: what the model's file says that it is for.

A file with the graphs `detect`, `classify` and `recognise` reads signs. A network with a task on images (`alula/running/`) says
what it sees in an image, a folder, a video or a camera. Any other one gives its outputs for a .npy, a .npz or an image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alula.arguments import add_alpha, add_layout, add_threads, positive
from alula.energy import add_meter
from alula.imaging import add_imaging, chosen_task, refuse_unread
from alula.models import ONNX, open_model
from alula.outputs import check_outputs
from alula.report import Report
from alula.running import add_own_options, arrays, find, own_options, signs
from alula.running.looking import given_of, refuse_unused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to run on, where the results go."""
    parser.add_argument(
        "file", type=Path, metavar="MODEL", help="a packed file, or an ONNX model, which is packed on the fly"
    )
    parser.add_argument("--graph", metavar="NAME", help="one of the graphs of a packed file; default: the only one")
    parser.add_argument(
        "input", metavar="SOURCE", help="an image, a folder, a video, a camera's number or a stream; or a .npy or .npz"
    )
    add_own_options(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="answers as JSON lines, or outputs as .npz")
    parser.add_argument(
        "--video", type=Path, metavar="FILE.mp4", help="a copy of the video with the answers drawn on it"
    )
    parser.add_argument(
        "--energy", type=Path, metavar="FILE.json", help="an energy log: the summary here, samples in a .csv beside it"
    )
    add_meter(parser, "alone it prints the energy and writes no log")
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
    from alula.runtime.artifact.task import ARRAYS

    samples = args.energy.with_suffix(".csv") if args.energy else None
    check_outputs([args.out, args.video, args.energy, samples], [args.file, args.input, args.labels])
    if args.graph is None and args.file.suffix != ONNX:
        artifact = open_artifact(args.file)
        if set(GRAPHS) <= set(artifact.graphs):
            return signs.run(args, artifact)
    model, found, note = open_model(str(args.file), args.graph, args.threads)
    if _is_array(args.input):
        return arrays.run(args, model, None)
    task = chosen_task(args, found, model.graph, str(args.file), args.layout)
    if task is not None and task.preprocessing is not None and task.kind == ARRAYS:
        return arrays.run(args, model, task)
    refuse_unread(task, note, str(args.file))
    predictor = model.predictor(task, str(args.file))
    predictor.notes += [note] if note else []
    kind = "" if task is None else task.kind
    others = [name for name in own_options() if name not in find(kind).OPTIONS]
    refuse_unused(args, given_of(args, tuple(others)), f"its task is {kind}; leave it out")
    return find(kind).run(args, predictor)


def _is_array(source: str) -> bool:
    """Whether a source is an array: by its suffix, or a file that is neither an image nor a video by its first bytes."""
    path = Path(source)
    if path.suffix.lower() in (".npy", ".npz"):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(6) == b"\x93NUMPY"
