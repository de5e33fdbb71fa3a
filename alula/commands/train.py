"""`alula train MODEL --data DIR`: train a network in place, on pictures with labels.

MODEL is an ONNX file, an .alula file or zoo:NAME. A run that was interrupted, however, goes on with --resume and ends
with the same bits as if it had not been.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alula.arguments import add_threads, natural, positive
from alula.outputs import check_outputs
from alula.progress import Progress
from alula.report import Cell, Report, Table, size

if TYPE_CHECKING:
    from alula.runtime.data import Dataset, Loader
    from alula.runtime.graph import Graph
    from alula.runtime.train import Optimizer, Trainer
    from alula.runtime.train.averaging import Averaging
    from alula.runtime.train.fit import Epoch, Run

DRY_STEPS = 5
MEASURED_BATCHES, OTHER_BATCHES = 12, 4  # that every layer is trained alone with, and seen with
TEST_BATCH = 100
MOST = 3.4e38  # of a float32
CHECKPOINT, BEST, LAST = "run.checkpoint", "best.alula", "last.alula"  # in the folder of --checkpoints


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to train, on what, how, and where the results go."""
    parser.add_argument("model", metavar="MODEL", help="MODEL.onnx, FILE.alula, or zoo:NAME for fresh weights")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="a folder or file that docs/data.md names"
    )
    parser.add_argument("--graph", metavar="NAME", help="one of the graphs of an .alula file")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.alula",
        help="the trained network; batch normalisations stay trainable",
    )
    parser.add_argument("--epochs", type=positive, default=10)
    parser.add_argument("--batch", type=positive, default=32)
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--optimizer", default="sgd", metavar="NAME", help="sgd, adam, adamw, signsgd or lion")
    recipe.add_argument("--lr", type=number, help="learning rate; the optimiser's usual one if left out")
    recipe.add_argument("--momentum", type=number, help="of sgd (0.9) and signsgd")
    recipe.add_argument("--nesterov", action="store_true", default=None, help="look ahead along the momentum")
    recipe.add_argument("--weight-decay", type=number, metavar="X")
    recipe.add_argument(
        "--decay", choices=("all", "weights"), help="what decays: all parameters, or no biases and normalisations"
    )
    recipe.add_argument("--schedule", default="cosine", metavar="NAME", help="constant, step, cosine or one-cycle")
    recipe.add_argument("--warm-up", type=natural, default=0, metavar="STEPS", help="updates in which the rate rises")
    recipe.add_argument("--label-smoothing", type=number, default=0.0, metavar="X")
    recipe.add_argument(
        "--clip-norm", type=number, default=0.0, metavar="X", help="greatest norm of all gradients together"
    )
    recipe.add_argument("--accumulate", type=positive, default=1, metavar="N", help="batches for one update")
    recipe.add_argument(
        "--average", choices=("ema", "swa"), help="write this average of the weights instead of the last ones"
    )
    recipe.add_argument(
        "--update",
        default="all",
        metavar="RULES",
        help="what is trained: all, bias, norm, last:2, names, a comma between; layer:0.25 for a part of its channels; "
        "auto:64MB for the layers that contribute most within this memory",
    )
    recipe.add_argument("--seed", type=natural, default=0, help="of fresh weights, order and augmentation")
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--pad", type=natural, default=0, metavar="N", help="border around a picture before a random crop"
    )
    pictures.add_argument("--flip", action="store_true", help="mirror every other picture")
    pictures.add_argument("--raw", action="store_true", help="do not bring channels to mean 0 and deviation 1")
    pictures.add_argument("--holdout", type=number, metavar="X", help="test with this part of the training set")
    run_ = parser.add_argument_group("run")
    run_.add_argument("--checkpoints", type=Path, metavar="DIR", help="keep the state of the run here")
    run_.add_argument("--every", type=number, default=60.0, metavar="S", help="seconds between checkpoints (60)")
    run_.add_argument("--resume", action="store_true", help="go on from --checkpoints")
    run_.add_argument("--log", type=Path, metavar="FILE.jsonl", help="one line of JSON for each epoch")
    run_.add_argument("--plot", type=Path, metavar="FILE.png", help="curves of loss and accuracy")
    run_.add_argument("--meter", help="power meter of the energy figures (auto)")
    run_.add_argument(
        "--max-memory",
        type=memory,
        metavar="BYTES",
        help="of a step: 64MB; activations are computed again until it fits",
    )
    run_.add_argument("--dry-run", action="store_true", help="say what a step costs, and train nothing")
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
    """Bytes, or with kB, MB, GB behind."""
    units = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, "": 1}
    unit = next(name for name in units if text.endswith(name))
    value = number(text.removesuffix(unit).strip() or "x") * units[unit]
    if not 1 <= value < 1 << 63:
        raise argparse.ArgumentTypeError(f"expected bytes such as 64MB, got {text!r}")
    return int(value)


def run(args: argparse.Namespace) -> Report:
    """Plan, then train."""
    from alula.runtime.errors import GraphError

    if args.resume and not args.checkpoints:
        raise GraphError("--resume: expected --checkpoints DIR with it, got none; the run's state lies there")
    _check_files(args)
    graph, classes = _network(args)
    train, test = _loaders(args, graph, classes)
    update, lines = _chosen(args, graph, train)
    trainer = _trainer(args, graph, train, update)
    report = _dry_run(args, trainer, train) if args.dry_run else _train(args, trainer, train, test)
    return Report({**report.document, "update": list(trainer.trained)}, [*lines, *report.parts])


def _check_files(args: argparse.Namespace) -> None:
    """Refuse what could not be written in the end, before anything is trained."""
    from alula.runtime.errors import SourceError

    own: list[Path] = []
    if args.checkpoints and not args.dry_run:
        try:
            args.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(
                f"{args.checkpoints}: expected a folder, or a name for one, got {error.strerror}; choose another"
            ) from error
        names = (CHECKPOINT, f"{CHECKPOINT}.previous", f"{CHECKPOINT}.new", BEST, LAST)
        own = [args.checkpoints / name for name in names]
        check_outputs(own)
    check_outputs([args.output, args.log, args.plot], [args.data, args.model], own)
    if args.plot:
        kinds = _plotter().matplotlib.backend_bases.FigureCanvasBase.filetypes
        if args.plot.suffix and args.plot.suffix.lstrip(".").lower() not in kinds:
            raise SourceError(f"{args.plot}: expected one of {', '.join(kinds)}, got {args.plot.suffix}; rename it")


def _network(args: argparse.Namespace) -> tuple[Graph, int]:
    """The graph to train, and how many classes it tells apart."""
    from alula.runtime.artifact import open_artifact
    from alula.runtime.errors import GraphError
    from alula.runtime.graph import TensorSpec
    from alula.runtime.planning.specialise import specialise

    if args.graph and (args.model.startswith("zoo:") or args.model.endswith(".onnx")):
        raise GraphError(f"--graph: expected an .alula file with it, got {args.model}; leave it out")
    if args.model.startswith("zoo:"):
        from alula.host.onnx.importer import import_onnx
        from alula.host.zoo import build

        graph = import_onnx(build(args.model.removeprefix("zoo:"), args.seed)).graph
    elif args.model.endswith(".onnx"):
        from alula.host.onnx.importer import import_onnx

        graph = import_onnx(args.model).graph
    else:
        graphs = open_artifact(args.model).graphs
        name = args.graph or (next(iter(graphs)) if len(graphs) == 1 else None)
        if name not in graphs:
            raise GraphError(
                f"{args.model}: expected one of the graphs {', '.join(graphs)}, got {name}; choose with --graph"
            )
        graph = graphs[name]
    name, shape = next((name, spec.shape) for name, spec in graph.inputs.items())
    if len(graph.inputs) != 1 or len(shape) not in (2, 4) or any(isinstance(dim, str) for dim in shape[1:]):
        raise GraphError(
            f"{args.model}: expected a network of one picture of fixed size, got {', '.join(map(str, graph.inputs.values()))}; "
            "train others with alula.runtime.train"
        )
    fixed = specialise(graph, {name: TensorSpec((1, *shape[1:]), graph.inputs[name].dtype)})
    dims = fixed.specs[graph.outputs[0]].dims
    if len(dims) != 2:
        raise GraphError(f"{args.model}: expected scores (N, C), got {dims}; train others with alula.runtime.train")
    return graph, dims[1]


def _loaders(args: argparse.Namespace, graph: Graph, classes: int) -> tuple[Loader, Loader | None]:
    from alula.runtime.data import Augment, Loader, holdout, moments, open_data
    from alula.runtime.errors import DataError, NoSplitError

    shape = tuple(int(dim) for dim in next(iter(graph.inputs.values())).shape[1:])
    options: dict[str, Any] = {"n_classes": classes}
    if len(shape) == 3:
        options |= {"size": shape[1:], "channels": shape[0]}
    data: Dataset = open_data(args.data, "train", **options)
    test: Dataset | None = None
    if args.holdout:
        data, test = holdout(data, args.holdout, args.seed)
    else:
        with contextlib.suppress(NoSplitError):
            test = open_data(args.data, "test", **options)
    normal: dict[str, Any] = {} if args.raw else dict(moments(data).as_options())
    crop = shape[1:] if len(shape) == 3 else None
    if crop and args.pad > max(crop):
        raise DataError(f"--pad: expected at most the picture's size {max(crop)}, got {args.pad}; make it smaller")
    augment = Augment(crop=crop, padding=args.pad, flip=args.flip, **normal)
    layout = "NCHW" if len(shape) == 3 else "NHWC"
    loader = Loader(data, args.batch, seed=args.seed, drop_last=True, augment=augment, layout=layout, reuse=True)
    if loader.sample_shape != shape:
        raise DataError(f"{data.name}: expected samples {shape}, got {loader.sample_shape}; choose another network")
    if test is None:
        return loader, None
    batch, plain = min(TEST_BATCH, len(test)), Augment(crop=crop, **normal).for_evaluation()
    return loader, Loader(test, batch, shuffle=False, augment=plain, layout=layout)


def _optimizer(args: argparse.Namespace) -> Optimizer:
    from alula.runtime.train import optimizer

    momentum = 0.9 if args.momentum is None and args.optimizer == "sgd" else args.momentum
    return optimizer(
        args.optimizer, lr=args.lr, momentum=momentum, nesterov=args.nesterov, weight_decay=args.weight_decay, decay=args.decay
    )  # fmt: skip


def _chosen(args: argparse.Namespace, graph: Graph, train: Loader) -> tuple[str | tuple[str, ...], list[Table | str]]:
    """The update rules, and what there is to say about an automatic choice."""
    from alula.runtime.errors import DataError, GraphError
    from alula.runtime.train import CrossEntropy, choose_update

    if not args.update.startswith("auto"):
        return args.update, []
    try:
        budget = memory(args.update.removeprefix("auto").removeprefix(":"))
    except argparse.ArgumentTypeError as error:
        raise GraphError(
            f"--update: expected auto:64MB, say, got {args.update!r}; give the memory of a step"
        ) from error
    wanted = MEASURED_BATCHES + OTHER_BATCHES
    if train.steps < wanted:
        raise DataError(
            f"{train.data.name}: expected {wanted} batches to choose layers by, got {train.steps}; make them smaller"
        )
    with contextlib.closing(train.epoch(0)) as epoch:  # type: ignore[type-var]
        batches = [(batch.x.copy(), batch.y.copy()) for batch, _ in zip(epoch, range(wanted), strict=False)]
    with Progress("measuring layers") as progress:
        choice = choose_update(
            graph, batches[:MEASURED_BATCHES], batches[MEASURED_BATCHES:], budget, _optimizer(args),
            CrossEntropy(args.label_smoothing), threads=args.threads, watch=lambda done, total: progress(done, total, ""),
            clip_norm=args.clip_norm, accumulate=args.accumulate, averaging=_averaging(args, 1),
        )  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (name, f"{gain:.4f}", f"{choice.chosen[name]:.0%}" if name in choice.chosen else "")
        for name, gain in choice.gains.items()
    ]
    table = Table(("layer", "lowers the loss by", "trained"), rows)
    return choice.update, [table, f"{len(choice.chosen)} layers within {size(choice.memory)}"]


def _trainer(args: argparse.Namespace, graph: Graph, train: Loader, update: str | Sequence[str]) -> Trainer:
    from alula.runtime.errors import GraphError
    from alula.runtime.train import CrossEntropy, Trainer, schedule

    updates = args.epochs * train.steps // args.accumulate
    if not updates:
        raise GraphError(
            f"--accumulate: expected at most the {args.epochs * train.steps} batches of the run, got {args.accumulate}; "
            "nothing would be learned"
        )
    return Trainer(
        graph, _optimizer(args), CrossEntropy(args.label_smoothing), update, threads=args.threads, max_bytes=args.max_memory,
        schedule=schedule(args.schedule, updates, args.warm_up), clip_norm=args.clip_norm, accumulate=args.accumulate,
        averaging=_averaging(args, updates),
    )  # fmt: skip


def _averaging(args: argparse.Namespace, updates: int) -> Averaging | None:
    from alula.runtime.train import EMA, SWA

    return {None: None, "ema": EMA(), "swa": SWA(start=3 * updates // 4)}[args.average]


def _dry_run(args: argparse.Namespace, trainer: Trainer, train: Loader) -> Report:
    """Some steps on a trainer that is thrown away: what they cost, and what a run would."""
    from alula.device.power import EnergyLog, select_meter

    batches = train.epoch(0)
    batch = next(batches)
    program = trainer.program(batch.x)
    memory = program.memory
    trainer.step(batch.x, batch.y)
    with contextlib.closing(select_meter(args.meter or "auto")) as meter, EnergyLog(meter, rate_hz=50) as log:
        start = time.perf_counter()
        for _ in range(DRY_STEPS):
            trainer.step(batch.x, batch.y)
        step_s = (time.perf_counter() - start) / DRY_STEPS
    batches.close()  # type: ignore[attr-defined]
    summary = log.summary()
    step_j = None if summary["mean_w"] is None else summary["mean_w"] * step_s
    steps, values = args.epochs * train.steps, trainer.values()
    document = {
        "parameters": sum(values[name].size for name in trainer.trained), "macs": program.macs,
        "step_s": step_s, "memory_total_bytes": memory.total,
        "memory_bytes": {"activations": memory.activations, "weights": memory.weights, "variables": memory.variables},
        "step_j": step_j, "energy_source": summary["source"], "energy_accuracy": summary["accuracy"],
        "steps": steps, "run_s": steps * step_s, "run_j": None if step_j is None else steps * step_j,
        "roles": trainer.roles,
    }  # fmt: skip
    energy = "" if step_j is None else f", {step_j:.3g} J ({summary['accuracy']}, {summary['source']})"
    lines = [
        f"a step of {args.batch}: {step_s * 1e3:.2f} ms (mean of {DRY_STEPS}), {size(memory.total)} of memory{energy}",
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


def _train(args: argparse.Namespace, trainer: Trainer, train: Loader, test: Loader | None) -> Report:
    import numpy as np

    from alula.device.power import EnergyLog, select_meter
    from alula.runtime.train.fit import Run

    memory = trainer.program(np.empty((args.batch, *train.sample_shape), np.float32)).memory
    checkpoint = args.checkpoints / CHECKPOINT if args.checkpoints else None
    records: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        meter = stack.enter_context(contextlib.closing(select_meter(args.meter or "auto")))
        log = stack.enter_context(EnergyLog(meter))
        progress = stack.enter_context(Progress(f"training, {size(memory.total)} a step"))
        options = {"pictures": f"pad {args.pad}, flip {args.flip}, raw {args.raw}, holdout {args.holdout}",
                   "update": args.update, "epochs": str(args.epochs), "clip": str(args.clip_norm)}  # fmt: skip

        def watch(epoch: int, step: int, done: Any) -> None:
            progress(epoch * train.steps + step, args.epochs * train.steps, f"epoch {epoch + 1}, loss {done.loss:.4f}")

        whole = Run(trainer, train, args.epochs, test, checkpoint, args.every, options, watch, log.phase)
        resumed = whole.resume() if args.resume else ""
        if args.resume and args.log:
            records = _logged(args.log, whole.epochs_done)
        energy = _energy(log)
        for epoch in _kept(whole, args, trainer, records):
            records.append(_record(epoch, energy, log.summary()))
            if args.log:
                _write_log(args.log, records)
            if epoch.best and args.checkpoints:
                _write_network(args.checkpoints / BEST, trainer.trained_graph(), records[-1])
    final = trainer.trained_graph()
    if args.average:
        final = trainer.averaged_graph((batch.x,) for batch in train.epoch(0) if batch.step < 100)
    if args.output:
        _write_network(args.output, final, records[-1] if records else {})
    if args.plot and records:
        _plot(args.plot, records)
    damaged = {**train.damaged, **(test.damaged if test else {})}
    document = {"epochs": records, "output": args.output and str(args.output), "resumed": resumed, "damaged": damaged,
                "memory_total_bytes": memory.total}  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (r["epoch"], f"{r['loss']:.4f}", _percent(r["accuracy"]), f"{r['test_loss']:.4f}" if r["test_loss"] is not None else "",
         _percent(r["test_accuracy"]), f"{r['seconds']:.1f}", f"{r['energy_j']:.1f}")
        for r in records
    ]  # fmt: skip
    source = f"J ({records[-1]['energy_accuracy']})" if records else "J"
    table = Table(("epoch", "loss", "accuracy", "test loss", "test accuracy", "s", source), rows)
    lines = [f"a step of {args.batch}: {size(memory.total)} of memory", *([resumed] if resumed else [])]
    lines += [f"{len(damaged)} damaged pictures were left out: {next(iter(damaged))}"] if damaged else []
    return Report(document, [*lines, table, *([f"{args.output}: written"] if args.output else [])])


def _kept(whole: Run, args: argparse.Namespace, trainer: Trainer, records: list[dict[str, Any]]) -> Iterator[Epoch]:
    """The epochs of a run; if it diverges, the weights from before that are written."""
    from alula.runtime.errors import DivergedError

    try:
        yield from whole
    except DivergedError as error:
        path = args.output or (args.checkpoints / LAST if args.checkpoints else None)
        if path is None:
            raise DivergedError(
                f"{error}. The weights from before are lost: -o FILE.alula would have kept them"
            ) from None
        _write_network(path, trainer.trained_graph(), records[-1] if records else {})
        raise DivergedError(f"{error}. The weights from before that step are in {path}") from None


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _energy(log: Any) -> Callable[[], float]:
    """Joules since it was last asked."""
    last = 0.0

    def since() -> float:
        nonlocal last
        log.sample()
        now = log.summary()["energy_j"]
        spent, last = now - last, now
        return float(spent)

    return since


def _record(epoch: Epoch, energy: Callable[[], float], summary: dict[str, Any]) -> dict[str, Any]:
    test = epoch.test
    return {
        "epoch": epoch.number, "loss": epoch.loss, "accuracy": epoch.accuracy, "test_loss": test and test.loss,
        "test_accuracy": test and test.accuracy, "test_top5": test and test.top5, "lr": epoch.lr, "seconds": epoch.seconds,
        "energy_j": energy(), "energy_source": summary["source"], "energy_accuracy": summary["accuracy"],
    }  # fmt: skip


def _logged(path: Path, epochs: int) -> list[dict[str, Any]]:
    """The records of the epochs that are done."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        return [record for record in records if record["epoch"] <= epochs]
    return []


def _write_log(path: Path, records: list[dict[str, Any]]) -> None:
    from alula.runtime.files import write_whole

    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    write_whole(path, lambda handle: handle.write(content))


def _write_network(path: Path, graph: Graph, record: dict[str, Any]) -> None:
    from alula.host.pack import pack

    pack({graph.name: graph}, path, metadata={"training": record}, trainable=True)


def _plotter() -> Any:
    from alula.runtime.errors import require

    require("matplotlib", "demo", "curves").use("Agg")
    return require("matplotlib.pyplot", "demo", "curves")


def _plot(path: Path, records: list[dict[str, Any]]) -> None:
    """Loss on the left, accuracy on the right, one point for each epoch."""
    from alula.runtime.files import write_whole

    figure, axes = _plotter().subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    epochs = [record["epoch"] for record in records]
    for axis, keys, title in (
        (axes[0], ("loss", "test_loss"), "loss"), (axes[1], ("accuracy", "test_accuracy"), "accuracy"),
    ):  # fmt: skip
        for key, name in zip(keys, ("training", "test"), strict=True):
            if all(record[key] is not None for record in records):
                axis.plot(epochs, [record[key] for record in records], marker=".", label=name)
        axis.set(xlabel="epoch", ylabel=title)
        axis.grid(alpha=0.3)
        axis.legend()
    kind = path.suffix.lstrip(".") or "png"
    write_whole(path, lambda handle: figure.savefig(handle, format=kind, dpi=150))
