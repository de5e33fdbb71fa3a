"""One random network through import, pack, file and load; then its inference and its training beside the oracles."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import alula
from alula.host.onnx.importer import import_onnx
from alula.host.pack import pack
from alula.runtime.errors import AlulaError, GraphError, MemoryBudgetError
from alula.runtime.graph import Array, Graph
from alula.runtime.model import Model
from alula.runtime.train import Trainer
from alula.runtime.train.losses import MSE, CrossEntropy
from alula.runtime.train.optimizers import optimizer
from tests.host.onnx_models import onnxruntime_answers
from tests.random_networks.draw import STATISTIC, WEIGHT
from tests.random_networks.judge import (
    Difference,
    NotFinite,
    Verdict,
    compare,
    loss_floor,
    span,
    value_floor,
    weight_floor,
)
from tests.random_networks.network import STEPS, Case, network
from tests.random_networks.origins import Origins

if TYPE_CHECKING:
    from tests.random_networks.torch_oracle import Trained

ALONE = 1e-4  # share of the range that inference may be off where there is no float64 to compare with
ORACLES = 1e-3  # share of the range beyond which onnxruntime and torch do not mean the same
NOISE = 4 * float(np.finfo(np.float32).eps)  # relative: what a sum of some hundred terms may be off
TRIES = 4  # of noise


def loaded(case: Case, folder: Path) -> tuple[Model, Graph]:
    """The network out of a file, and the graph that training starts from."""
    graph = import_onnx(case.model).graph
    path = folder / "random.alula"
    pack({"random": graph}, path, trainable=case.trainable)
    return alula.load(path, threads=case.threads), graph


def inference(case: Case, model: Model, with_torch: bool = True) -> str:
    """What is wrong with the answers of a loaded network, or "".

    raise : NotFinite; RuntimeError if the oracles do not agree, or do not run it
    """
    inputs = case.inputs()
    try:
        theirs = onnxruntime_answers(case.model, inputs)
    except Exception as error:
        raise RuntimeError(f"onnxruntime: {' '.join(str(error).split())[:200]}") from None
    if with_torch:
        from tests.random_networks.torch_oracle import infer

        truths = infer(case)
    else:
        truths = theirs
    found = model.run(inputs)
    for name, truth, rival in zip(model.outputs, truths, theirs, strict=True):
        between = span(truth - rival) if truth.shape == rival.shape else np.inf
        if between > ORACLES * span(truth):
            raise RuntimeError(f"onnxruntime and torch differ by {between:.2g} at {name}")
        floor = value_floor(truth) if with_torch else ALONE * span(truth)
        if different := compare(name, found[name], truth, between, floor):
            return str(different)
    return ""


class Training:
    """The steps of a case by our trainer, to be compared with torch's."""

    def __init__(self, case: Case, source: Model | Graph) -> None:
        self.case, self.origins = case, Origins(case.model, case.roles)
        self.source, self.trains_all = source, False
        self.trainer = self._made(None)
        if case.memory_share:
            self._hold(case.memory_share)
        self.trained = [n for n in self.trainer.trained if n in self.origins.places]
        self.first = self._values()
        self.losses: list[float] = []
        self.outputs: list[list[Array]] = []
        self.values: list[dict[str, Array]] = []

    def _made(self, max_bytes: int | None) -> Trainer:
        name, options = self.case.recipe
        chosen = {
            "optimizer": optimizer(name, **options), "loss": CrossEntropy() if self.case.classes else MSE(),
            "batch_statistics": self.case.batch_statistics, "threads": self.case.threads,
            "clip_norm": self.case.clip_norm, "max_bytes": max_bytes,
        }  # fmt: skip
        if self.case.update != "all":
            try:
                return self._trainer({**chosen, "update": self.case.update})
            except GraphError:
                pass  # it has fewer layers
        self.trains_all = True
        return self._trainer(chosen)

    def _trainer(self, options: dict[str, Any]) -> Trainer:
        source = self.source
        return source.trainer(**options) if isinstance(source, Model) else Trainer(source, **options)

    def _hold(self, share: float) -> None:
        """Hold the trainer to a part of the memory, if any of its plans fits."""
        batch = (*self.case.inputs().values(), self.case.target(self._output_shape(), 0))
        held = self._made(int(share * self.trainer.program(*batch).memory.total))
        try:
            held.program(*batch)
        except MemoryBudgetError:
            return
        self.trainer = held

    def _values(self) -> dict[str, Array]:
        kept = self.trainer.values()
        return {name: value.copy() for name, value in kept.items() if name in self.origins.places}

    def run(self) -> str:
        """Take the steps; what is wrong without any oracle, or ""."""
        if unknown := [n for n in self.trainer.trained if n not in self.origins.places]:
            return f"trains {unknown[0]}, which is no tensor of the model"
        weights = [name for name, role in self.case.roles.items() if role == WEIGHT]
        if (missing := self.origins.missing(self.trained, weights)) and self.trains_all:
            return f"does not train {', '.join(missing)}"
        lr, shape = self.trainer.lr, self._output_shape()
        for step, factor in enumerate(STEPS):
            self.trainer.lr = lr * factor
            before = self.values[-1] if self.values else self.first
            done = self.trainer.step(*self.case.inputs(step).values(), self.case.target(shape, step))
            self.losses.append(done.loss)
            self.outputs.append([np.array(y) for y in done.outputs])
            self.values.append(self._values())
            changed = [n for n in self.trained if self.values[-1][n].tobytes() != before[n].tobytes()]
            if not factor and changed:
                return f"a learning rate of 0 changes {', '.join(changed)}"
        return ""

    def _output_shape(self) -> tuple[int, ...]:
        from tests.random_networks.torch_oracle import infer

        return infer(self.case)[0].shape

    def differences(self, verdict: Verdict) -> list[Difference]:
        """What is off beside torch by the rule; the verdict is told what was off by less.

        raise : NotFinite
        """
        import torch

        from tests.random_networks.torch_oracle import train

        names = self.origins.initializers(self.trained)
        truth, rival = train(self.case, names, torch.float64), train(self.case, names, torch.float32)
        if not np.isfinite(truth.losses).all():
            raise RuntimeError("torch: the loss is no number")
        if not self._beside(truth, [rival], weight_floor):
            return []
        kinds = (torch.float64, torch.float32)  # whose own rounding is another draw of the same kind
        rounded = [train(self.case, names, kind, NOISE, seed) for kind in kinds for seed in range(TRIES)]
        if not self._beside(truth, [rival, *rounded], weight_floor):
            verdict.excused = True
            return []
        found = self._beside(truth, [rival], lambda before, true: value_floor(true))
        verdict.coarse = not found
        return found

    def _beside(
        self, truth: Trained, rivals: list[Trained], floor_of_weights: Callable[[Array, Array], float]
    ) -> list[Difference]:
        found: list[Difference | None] = []
        first = self._flat({n: v for n, v in self._initial().items() if n in self.origins.begins})
        for step in range(len(STEPS)):
            off = max(abs(r.losses[step] - truth.losses[step]) for r in rivals)
            floor = loss_floor(truth.losses[step], truth.outputs[step][0])
            found.append(compare(f"loss {step}", self.losses[step], truth.losses[step], off, floor))
            for i, (ours, true) in enumerate(zip(self.outputs[step], truth.outputs[step], strict=True)):
                off = max(span(r.outputs[step][i] - true) for r in rivals)
                found.append(compare(f"output {i} of step {step}", ours, true, off, value_floor(true)))
            whole, others = self._flat(truth.values[step]), [self._flat(r.values[step]) for r in rivals]
            for name, ours in self.values[step].items():
                places = self.origins.places[name]
                true, before = whole[places], first[places]
                if np.isnan(true).any():
                    continue  # a statistic that torch does not keep
                off = max(span(other[places] - true) for other in others)
                floor = value_floor(true) if self._is_statistic(name) else floor_of_weights(before, true)
                found.append(compare(f"{self._label(name)} after step {step}", ours, true, off, floor))
        return [difference for difference in found if difference]

    def _initial(self) -> dict[str, Array]:
        from onnx import numpy_helper

        return {t.name: numpy_helper.to_array(t) for t in self.case.model.graph.initializer}

    def _flat(self, values: dict[str, Array]) -> Array:
        return self.origins.flat(values)

    def _is_statistic(self, name: str) -> bool:
        return any(self.case.roles[n] == STATISTIC for n in self.origins.initializers([name]))

    def _label(self, name: str) -> str:
        return "+".join(sorted(self.origins.initializers([name])))


def _runs_in_onnxruntime(case: Case) -> bool:
    try:
        onnxruntime_answers(case.model, case.inputs())
    except Exception:  # whatever it says: the network is not one that we must run
        return False
    return True


def check(seed: int, index: int, with_training: bool = True, with_torch: bool = True) -> Verdict:
    """Everything about one network."""
    case, start = network(seed, index), time.perf_counter()
    verdict = Verdict(index, ops=case.ops, blocks=case.blocks)
    stage = "inference"
    try:
        with tempfile.TemporaryDirectory() as folder:
            model, graph = loaded(case, Path(folder))
            verdict.reason = inference(case, model, with_torch)
        if verdict.reason:
            verdict.verdict = "inference_wrong"
        elif with_training:
            stage = "training"
            training = Training(case, model if case.trainable else graph)
            verdict.reason = training.run()
            if not verdict.reason:
                found = training.differences(verdict)
                verdict.reason = "; ".join(map(str, found[:3]))
            if verdict.reason:
                verdict.verdict = "training_wrong"
    except AlulaError as error:
        verdict.verdict, verdict.reason = "refused", f"{stage}: {type(error).__name__}: {error}"
        if not _runs_in_onnxruntime(case):
            verdict.verdict = "unusable"
    except NotFinite:
        verdict.verdict, verdict.reason = "crashed", f"{stage}: NaN or infinity where the oracle has numbers"
    except RuntimeError as error:
        verdict.verdict, verdict.reason = "unusable", f"{stage}: {error}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = " ".join(str(error).split())[:200]
        verdict.verdict = "crashed"
        verdict.reason = f"{stage}: {type(error).__name__}: {message} ({Path(where.filename).name}:{where.lineno})"
    verdict.seconds = time.perf_counter() - start
    return verdict
