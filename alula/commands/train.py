"""`alula train MODEL --data DIR`: train a network in place, on images with labels.

MODEL is an ONNX file, an .alula file or zoo:NAME. --resume continues a run that was interrupted in any way; it ends
with the same bits as a run without the interruption.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alula.arguments import add_alpha, add_layout, add_threads, natural, positive
from alula.energy import add_meter, running_log, tell_energy, up_to_now
from alula.imaging import FIGURES, add_preprocessing, chosen_preprocessing, given
from alula.outputs import check_outputs, check_suffix
from alula.progress import Progress
from alula.report import Cell, Report, Table, size
from alula.runtime.files import printable

if TYPE_CHECKING:
    from alula.models import Source
    from alula.runtime.artifact.task import Task
    from alula.runtime.data import Loader
    from alula.runtime.graph import Graph
    from alula.runtime.train import Step, Trainer
    from alula.runtime.train.classes import Batches, Images, Opened
    from alula.runtime.train.head import FittedClasses
    from alula.runtime.train.hyperparameters import Hyperparameters
    from alula.runtime.train.records import Record

MOST = 3.4e38  # of a float32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to train, on what, how, and where the results go."""
    from alula.runtime.data.choices import HEADS

    parser.add_argument("model", metavar="MODEL", help="MODEL.onnx, FILE.alula, or zoo:NAME with random weights")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="a folder or file in a format of docs/data.md"
    )
    parser.add_argument("--graph", metavar="NAME", help="one of the graphs of an .alula file")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.alula",
        help="the trained network; batch normalisations stay trainable",
    )
    parser.add_argument("--epochs", type=positive, default=10, help="passes over the data (10)")
    parser.add_argument("--batch", type=positive, default=32, help="samples per batch (32)")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--optimizer", default="sgd", metavar="NAME", help="sgd, adam, adamw, signsgd or lion")
    recipe.add_argument("--lr", type=number, help="learning rate; default: the optimiser's usual one")
    recipe.add_argument("--momentum", type=number, help="momentum of sgd (0.9) and signsgd")
    recipe.add_argument("--nesterov", action="store_true", default=None, help="Nesterov's momentum")
    recipe.add_argument("--weight-decay", type=number, metavar="X")
    recipe.add_argument(
        "--decay", choices=("all", "weights"), help="what decays: all parameters, or all but biases and normalisations"
    )
    recipe.add_argument("--schedule", default="cosine", metavar="NAME", help="constant, step, cosine or one-cycle")
    recipe.add_argument(
        "--warm-up", type=natural, default=0, metavar="STEPS", help="updates during which the rate rises"
    )
    recipe.add_argument("--label-smoothing", type=number, default=0.0, metavar="X")
    recipe.add_argument(
        "--clip-norm", type=number, default=0.0, metavar="X", help="maximum norm of all gradients together"
    )
    recipe.add_argument("--accumulate", type=positive, default=1, metavar="N", help="batches per update")
    recipe.add_argument(
        "--average", choices=("ema", "swa"), help="write this average of the weights instead of the last weights"
    )
    recipe.add_argument(
        "--update",
        default="all",
        metavar="RULES",
        help="what is trained: all, bias, norm, last:2 or names, separated by commas; layer:0.25 for a part of its channels; "
        "auto:64MB for the layers that contribute most within this memory",
    )
    recipe.add_argument(
        "--head", choices=HEADS, help="where the classes of the data are not the network's: new trains a fresh head for them, "
        "keep trains the first outputs of the old one"
    )  # fmt: skip
    recipe.add_argument("--seed", type=natural, default=0, help="seed of random weights, order and augmentation (0)")
    images = parser.add_argument_group("images")
    images.add_argument(
        "--pad", type=natural, default=0, metavar="N", help="border around an image before a random crop"
    )
    images.add_argument("--flip", action="store_true", help="mirror half of the images, at random")
    images.add_argument("--raw", action="store_true", help="do not normalise channels to mean 0 and deviation 1")
    add_layout(images)
    add_alpha(images)
    add_preprocessing(images)
    images.add_argument("--holdout", type=number, metavar="X", help="test on this part of the training set (0 to 1)")
    run_ = parser.add_argument_group("run")
    run_.add_argument("--checkpoints", type=Path, metavar="DIR", help="keep the state of the run here")
    run_.add_argument("--every", type=number, default=60.0, metavar="S", help="seconds between checkpoints (60)")
    run_.add_argument("--resume", action="store_true", help="resume from --checkpoints")
    run_.add_argument("--log", type=Path, metavar="FILE.jsonl", help="one line of JSON per epoch")
    run_.add_argument("--plot", type=Path, metavar="FILE.png", help="curves of loss and accuracy")
    add_meter(run_, "default: auto")
    run_.add_argument(
        "--max-memory",
        type=memory,
        metavar="BYTES",
        help="limit of a step, such as 64MB; activations are recomputed until it fits",
    )
    run_.add_argument("--dry-run", action="store_true", help="print what a step costs, and train nothing")
    add_threads(parser)


def number(text: str) -> float:
    """A finite number from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"expected a number from 0 on that a float32 holds, got {text!r}")
    return value


def memory(text: str) -> int:
    """Bytes, or with the suffix kB, MB or GB."""
    units = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, "": 1}
    unit = next(name for name in units if text.endswith(name))
    value = number(text.removesuffix(unit).strip() or "x") * units[unit]
    if not 1 <= value < 1 << 63:
        raise argparse.ArgumentTypeError(f"expected bytes such as 64MB, got {text!r}")
    return int(value)


def run(args: argparse.Namespace) -> Report:
    """Plan, then train."""
    from alula.models import open_graph
    from alula.runtime.artifact.task import CLASSIFY, Task
    from alula.runtime.errors import GraphError
    from alula.runtime.train.classes import Images, count_classes

    if args.resume and not args.checkpoints:
        raise GraphError("--resume: expected --checkpoints DIR with it, got none; the run's state lies there")
    _check_files(args)
    source = open_graph(args.model, args.graph, args.seed)
    seen = chosen_preprocessing(args, source.task.preprocessing if source.task else None, args.model)
    has_figures = bool(
        (source.task and source.task.preprocessing) or {f"--{name}" for name in FIGURES} & {*given(args)}
    )
    images = Images(args.pad, args.flip, args.raw, args.holdout, args.layout, args.alpha, seen, has_figures)
    outputs = count_classes(source.graph, args.model)
    opened = images.open(args.data, source.graph, args.seed)
    fitted = _fitted(args, source, outputs, opened)
    if fitted.places:
        opened = opened.relabelled(fitted.classes, fitted.places)
    data = images.loaders(opened, fitted.graph, len(fitted.classes), args.batch, args.seed)
    how = _hyperparameters(args)
    update, lines = _chosen(args, how, fitted.graph, data.train)
    trainer = how.trainer(fitted.graph, data.train, update)
    task = Task(CLASSIFY, fitted.classes, data.preprocessing)
    report = _dry_run(args, trainer, data.train) if args.dry_run else _train(args, trainer, data, images, task)
    notes = [*fitted.notes, *data.notes]
    document = {**report.document, "update": list(trainer.trained), "notes": notes, "classes": list(fitted.classes)}
    return Report(document, [*lines, *report.parts, *notes])


def _fitted(args: argparse.Namespace, source: Source, outputs: int, opened: Opened) -> FittedClasses:
    """The network with outputs for the classes of the data."""
    from alula.models import ZOO, open_graph
    from alula.runtime.train.head import KEEP, FittedClasses, fit_classes

    classes = opened.train.classes
    if args.model.startswith(ZOO) and len(classes) != outputs and args.head != KEEP:
        fresh = open_graph(args.model, seed=args.seed, classes=len(classes)).graph
        return FittedClasses(
            fresh, classes, None, (f"a network of {len(classes)} outputs, one for each class of the data",)
        )
    known = source.task.classes if source.task else ()
    return fit_classes(source.graph, outputs, known, classes, args.head, args.seed, args.model)


def _check_files(args: argparse.Namespace) -> None:
    """Refuse what could not be written in the end, before anything is trained."""
    from alula.runtime.errors import SourceError

    own: list[Path] = []
    if args.checkpoints and not args.dry_run:
        from alula.runtime.train.session import own_files

        try:
            args.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(
                f"{args.checkpoints}: expected a folder, or a name for one, got {error.strerror}; choose another"
            ) from error
        own = own_files(args.checkpoints)
        check_outputs(own)
    check_suffix(args.output, is_onnx=False)
    check_outputs([args.output, args.log, args.plot], [args.data, args.model], own)
    if args.plot:
        from alula.curves import check_format

        check_format(args.plot)


def _hyperparameters(args: argparse.Namespace) -> Hyperparameters:
    from alula.runtime.train.hyperparameters import Hyperparameters

    return Hyperparameters(
        args.epochs, args.optimizer, args.lr, args.momentum, args.nesterov, args.weight_decay, args.decay, args.schedule,
        args.warm_up, args.label_smoothing, args.clip_norm, args.accumulate, args.average, args.max_memory, args.threads,
    )  # fmt: skip


def _chosen(
    args: argparse.Namespace, how: Hyperparameters, graph: Graph, train: Loader
) -> tuple[str | Sequence[str], list[Table | str]]:
    """The update rules, and what there is to say about an automatic choice."""
    from alula.runtime.errors import GraphError

    if not args.update.startswith("auto"):
        return args.update, []
    try:
        budget = memory(args.update.removeprefix("auto").removeprefix(":"))
    except argparse.ArgumentTypeError as error:
        raise GraphError(
            f"--update: expected auto:64MB, say, got {args.update!r}; give the memory of a step"
        ) from error
    with Progress("measuring layers") as progress:
        choice = how.choose(graph, train, budget, lambda done, total: progress(done, total, ""))
    rows: list[tuple[Cell, ...]] = [
        (name, f"{gain:.4f}", f"{choice.chosen[name]:.0%}" if name in choice.chosen else "")
        for name, gain in choice.gains.items()
    ]
    table = Table(("layer", "lowers the loss by", "trained"), rows)
    return choice.update, [table, f"{len(choice.chosen)} layers within {size(choice.memory)}"]


def _dry_run(args: argparse.Namespace, trainer: Trainer, train: Loader) -> Report:
    """What some steps cost, and what a run would."""
    from alula.runtime.train.rehearsal import STEPS, rehearse

    cost = rehearse(trainer, train, lambda: running_log(args.meter, rate_hz=50))
    memory, step_s, step_j, energy = cost.memory, cost.step_s, cost.step_j, cost.energy
    steps = args.epochs * train.steps
    document = {
        "parameters": cost.parameters, "macs": cost.macs, "step_s": step_s, "memory_total_bytes": memory.total,
        "memory_bytes": {"activations": memory.activations, "weights": memory.weights, "variables": memory.variables},
        "step_j": step_j, "energy_source": energy["source"], "energy_accuracy": energy["accuracy"],
        "steps": steps, "run_s": steps * step_s, "run_j": None if step_j is None else steps * step_j,
        "roles": trainer.roles,
    }  # fmt: skip
    shown = "" if step_j is None else f", {step_j:.3g} J ({energy['accuracy']}, {energy['source']})"
    lines = [
        f"a step of {args.batch}: {step_s * 1e3:.2f} ms (mean of {STEPS}), {size(memory.total)} of memory{shown}",
        f"{args.epochs} epochs of {train.steps} steps: {steps * step_s:.0f} s" + ("" if step_j is None else f", {steps * step_j:.3g} J"),
    ]  # fmt: skip
    return Report(document, [_roles(trainer), *lines])


def _roles(trainer: Trainer) -> Table:
    """What is trained and what is not."""
    specs = {name: trainer.graph.constants.spec(name) for name in trainer.roles}
    return Table(
        ("weight", "shape", "elements", "role"),
        [
            (name, "x".join(map(str, specs[name].dims)) or "1", specs[name].size, role)
            for name, role in trainer.roles.items()
        ],
    )


def _train(args: argparse.Namespace, trainer: Trainer, data: Batches, images: Images, task: Task) -> Report:
    """The run itself."""
    from alula.runtime.tasks.classify import kind_of_scores
    from alula.runtime.tasks.evaluate import Tally
    from alula.runtime.train.fit import Run
    from alula.runtime.train.rehearsal import step_memory
    from alula.runtime.train.session import CHECKPOINT, Session

    train, test = data.train, data.test
    memory = step_memory(trainer, train)
    options = {
        "images": str(images), "update": args.update, "epochs": str(args.epochs), "clip": str(args.clip_norm),
    }  # fmt: skip
    if args.head:
        options["head"] = args.head
    checkpoint = args.checkpoints / CHECKPOINT if args.checkpoints else None
    title = f"training, {size(memory.total)} a step"
    with running_log(args.meter) as energy, Progress(title) as progress:

        def watch(epoch: int, step: int, done: Step) -> None:
            energy.count("step")
            progress(epoch * train.steps + step, args.epochs * train.steps, f"epoch {epoch + 1}, loss {done.loss:.4f}")

        tally = Tally(len(task.classes), kind_of_scores(trainer.graph)) if test else None
        whole = Run(trainer, train, args.epochs, test, checkpoint, args.every, options, watch, energy.phase, tally)
        session = Session(whole, energy, args.output, args.checkpoints, args.log, task)
        resumed = session.resume() if args.resume else ""
        session.train()
        used = up_to_now(energy)
    session.finish()
    if args.plot and session.records:
        from alula.curves import draw

        draw(args.plot, session.records)
    damaged = {**train.damaged, **(test.damaged if test else {})}
    return _report(args, session.records, resumed, memory.total, damaged, used, len(train.data))


def _report(
    args: argparse.Namespace, records: list[Record], resumed: str, step_bytes: int, damaged: Mapping[str, str],
    used: dict[str, Any], images: int,
) -> Report:  # fmt: skip
    """What a run has to say.

    resumed : where it went on
    damaged : images that were left out
    used    : summary of the energy log
    images  : of an epoch
    """
    from alula.runtime.data.listing import tell_left_out

    document = {"epochs": records, "output": args.output and str(args.output), "resumed": resumed, "damaged": damaged,
                "memory_total_bytes": step_bytes, "energy": used}  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (r["epoch"], f"{r['loss']:.4f}", _percent(r["accuracy"]), f"{r['test_loss']:.4f}" if r["test_loss"] is not None else "",
         _percent(r["test_accuracy"]), f"{r['seconds']:.1f}", f"{r['energy_j']:.1f}", f"{r['energy_j'] / images:.2g}")
        for r in records
    ]  # fmt: skip
    source = f"J ({records[-1]['energy_accuracy']})" if records else "J"
    table = Table(("epoch", "loss", "accuracy", "test loss", "test accuracy", "s", source, "J/image"), rows)
    lines = [f"a step of {args.batch}: {size(step_bytes)} of memory", *([resumed] if resumed else [])]
    ends = [tell_energy(used, "step")]
    ends += [f"{printable(args.output)}: written"] if args.output else []
    ends += [tell_left_out(damaged, "damaged images, left out")] if damaged else []
    return Report(document, [*lines, table, *ends])


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
