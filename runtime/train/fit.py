"""The loop over a data set: epochs, tests, checkpoints, and a clean end in every case.

A run is a function of its options, data and first weights: a run that resumes at a checkpoint ends with the same bits as
one that was never interrupted.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from alula.runtime.data import Batch, Dataset, Loader
from alula.runtime.errors import DivergedError, GraphError
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array
from alula.runtime.tasks.evaluate import Tally
from alula.runtime.train.checkpoint import (
    Checkpoint,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
    weights_fingerprint,
)
from alula.runtime.train.health import first_not_finite, is_finite
from alula.runtime.train.losses import Loss
from alula.runtime.train.trainer import Step, Trainer

KEEP_STEPS = 100  # a copy of the state is kept so often: a run that diverges is replayed from it
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@frozen
class Scores:
    """Of a network on a set: mean loss (cross-entropy), and how often the label is the best answer, or among the best 5."""

    loss: float
    accuracy: float
    top5: float
    samples: int


@frozen
class Epoch:
    """One epoch that is done, counted from 1.

    loss     : mean over the training batches, before each update
    accuracy : on the training batches, augmented as they were; None if the loss has no labels
    test     : on the test set after the epoch; None without one
    lr       : of the last update
    seconds  : of training, without the test; of the part after the last checkpoint if the run was resumed
    best     : whether the test's accuracy is the highest so far
    """

    number: int
    loss: float
    accuracy: float | None
    test: Scores | None
    lr: float
    seconds: float
    best: bool


@dataclass
class _Place:
    """How far a run is: all but the trainer's state."""

    epoch: int = 0
    step: int = 0
    counted: int = 0
    loss_sum: float = 0.0
    right: int = 0
    seen: int = 0
    lr: float = 0.0
    best: float = -1.0


@dataclass
class Run:
    """A training run over a data set.

    trainer    : what learns
    train      : batches; seed, order and augmentation are the loader's
    epochs     : how many in all, those before a checkpoint included
    test       : batches of the test set, never shuffled
    checkpoint : file that is written every `every_s` seconds, at the end of each epoch, and when the run is interrupted
    options    : more options that must be the same when the run resumes, by name
    watch      : called after every step with (epoch, step in the epoch, what the step gave)
    log        : a context that is entered as log("train") and log("test")
    tally      : takes what the network says of the test set after the last epoch
    """

    trainer: Trainer
    train: Loader
    epochs: int
    test: Loader | None = None
    checkpoint: Path | None = None
    every_s: float = 60.0
    options: Mapping[str, str] = field(default_factory=dict)
    watch: Callable[[int, int, Step], None] = lambda epoch, step, done: None
    log: Callable[[str], contextlib.AbstractContextManager[Any]] = lambda phase: contextlib.nullcontext()
    tally: Tally | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise GraphError(f"training: expected 1 epoch or more, got {self.epochs}; choose another number")
        if not self.train.steps:
            raise GraphError(
                f"{self.train.data.name}: expected one whole batch or more, got none; make the batch smaller"
            )
        self._place = _Place()
        self._first_weights = weights_fingerprint(self.trainer.graph)
        self._saved_at = time.monotonic()

    @property
    def epochs_done(self) -> int:
        """How many epochs the run has finished."""
        return self._place.epoch

    def resume(self) -> str:
        """Resume from the checkpoint, if there is one. return: where it resumes, and what was wrong with a newer file.

        raise : CheckpointError if it is of another run
        """
        if self.checkpoint is None:
            return ""
        found, problem = load_checkpoint(self.checkpoint, self._identity())
        if found is None:
            return ""
        self.trainer.restore(found.state)
        self._place = _Place(**found.place)
        where = f"going on in epoch {self._place.epoch + 1} at step {self._place.step + 1} of {self.train.steps}"
        if self._place.epoch >= self.epochs:
            where = f"nothing is left to do: all {self.epochs} epochs are done"
        return f"{where} ({problem}: the checkpoint before it was taken)" if problem else where

    def __iter__(self) -> Iterator[Epoch]:
        """Train; each epoch when it is done.

        raise : DivergedError if the loss or a weight is no finite number any more: the trainer then has the last good
                weights, and so has the checkpoint. KeyboardInterrupt after a signal, with the checkpoint written
        """
        while self._place.epoch < self.epochs:
            began = time.monotonic()
            with self._in_order() as stopped, self.log("train"):
                self._train_epoch(stopped)
            yield self._close_epoch(time.monotonic() - began)
            self.save()  # when the epoch's record is written: a run that is killed before takes the epoch up again

    def save(self) -> None:
        """Write the checkpoint now."""
        if self.checkpoint is not None:
            save_checkpoint(self.checkpoint, Checkpoint(self.trainer.state(), vars(self._place), self._identity()))
        self._saved_at = time.monotonic()

    def _train_epoch(self, stopped: list[int]) -> None:
        place = self._place
        kept: Mapping[str, Array] = self.trainer.state()
        kept_at = place.step
        with contextlib.closing(self.train.epoch(place.epoch, place.step)) as batches:  # type: ignore[type-var]
            for batch in batches:
                done = self.trainer.step(batch.x, batch.y)
                if not np.isfinite(done.loss):
                    self._diverged(kept, kept_at)
                place.step = batch.step + 1
                self._count(done, batch)
                due = time.monotonic() - self._saved_at >= self.every_s
                if due or stopped or place.step - kept_at >= KEEP_STEPS:
                    kept, kept_at = self._good_state(kept, kept_at), place.step
                self.watch(place.epoch, place.step, done)
                if due or stopped:
                    self.save()
                if stopped:
                    return
        self._good_state(kept, kept_at)

    def _good_state(self, kept: Mapping[str, Array], kept_at: int) -> Mapping[str, Array]:
        """The state now.

        raise : DivergedError if it is not finite
        """
        state = self.trainer.state()
        if not is_finite(state):
            self._diverged(kept, kept_at)
        return state

    def _count(self, done: Step, batch: Batch) -> None:
        place, scores = self._place, done.outputs[0]
        place.loss_sum += done.loss
        place.counted += 1
        place.lr = done.lr
        if scores.ndim == 2 and len(scores) == len(batch.y):
            place.right += int((scores.argmax(axis=1) == batch.y).sum())
        place.seen += len(batch.y)

    def _close_epoch(self, seconds: float) -> Epoch:
        place = self._place
        scores = None
        if self.test is not None:
            try:
                with self.log("test"):
                    last = place.epoch + 1 == self.epochs
                    scores = evaluate(self.trainer.infer, self.test, self.tally if last else None)
            except KeyboardInterrupt:
                self.save()
                raise
        best = scores is not None and scores.accuracy > place.best
        labelled = self.trainer.loss.name in ("cross_entropy", "distillation")
        done = Epoch(
            place.epoch + 1, place.loss_sum / max(place.counted, 1), place.right / max(place.seen, 1) if labelled else None,
            scores, place.lr, seconds, best,
        )  # fmt: skip
        self._place = _Place(place.epoch + 1, best=scores.accuracy if best and scores else place.best)
        return done

    def _diverged(self, kept: Mapping[str, Array], kept_at: int) -> NoReturn:
        """Go back to the last good weights, by replaying the steps after the state that was kept, and say what went wrong."""
        epoch, step, where = self._place.epoch, kept_at, ""
        self.trainer.restore(kept)
        with contextlib.closing(self.train.epoch(epoch, kept_at)) as batches:  # type: ignore[type-var]
            for batch in batches:
                good, step = self.trainer.state(), batch.step
                done = self.trainer.step(batch.x, batch.y)
                if not np.isfinite(done.loss) or not is_finite(self.trainer.state()):
                    self.trainer.restore(good)
                    where = first_not_finite(self.trainer, (batch.x, batch.y))
                    break
        self._place = _Place(epoch, step, best=self._place.best)
        self.save()
        advice = "correct the data" if where.startswith("input ") else "lower the rate or clip gradients"
        raise DivergedError(
            f"epoch {epoch + 1}, step {step + 1}: expected a finite loss and finite weights, got none: first not finite is "
            f"{where or 'a new weight'}; {advice}"
        )

    def _identity(self) -> dict[str, str]:
        trainer, loader = self.trainer, self.train
        return {
            "network": fingerprint(trainer.graph), "optimizer": repr(trainer.optimizer), "loss": _loss_text(trainer.loss),
            "first weights": self._first_weights, "data": _data_fingerprint(loader.data),
            "schedule": repr(trainer.schedule), "averaging": repr(trainer.averaging), "threads": str(trainer.threads),
            "accumulate": str(trainer.accumulate), "trained": str(len(trainer.trained)), "batch": str(loader.batch),
            "seed": str(loader.seed), "samples": str(len(loader.data)), **self.options,
        }  # fmt: skip

    @contextlib.contextmanager
    def _in_order(self) -> Iterator[list[int]]:
        """Signals are noted, heard between two steps, and answered when all is saved."""
        noted: list[int] = []
        ours = threading.current_thread() is threading.main_thread()
        before = {n: signal.getsignal(n) for n in SIGNALS if ours and signal.getsignal(n) not in (signal.SIG_IGN, None)}
        for number in before:
            signal.signal(number, lambda number, frame: noted.append(number))
        try:
            yield noted
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])
            raise KeyboardInterrupt  # a handler that returns cannot change this


def _loss_text(loss: Loss) -> str:
    """A loss with its options, but for a teacher."""
    kinds = (int, float, str, bool, type(None), tuple)
    options: dict[str, Any] = {f.name: getattr(loss, f.name) for f in fields(loss)} if is_dataclass(loss) else {}
    shown = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in options.items()}
    return " ".join([loss.name, *(f"{k}={v}" for k, v in shown.items() if isinstance(v, (*kinds, list)))])


def _data_fingerprint(data: Dataset) -> str:
    """A hash of labels and classes, and of the names of files: images themselves are not read for it."""
    digest = hashlib.sha256(data.labels.tobytes())
    digest.update(repr((data.classes, data.shape, getattr(data, "files", ()))).encode())
    return digest.hexdigest()[:16]


def evaluate(model: Callable[[Array], Array | tuple[Array, ...]], test: Loader, tally: Tally | None = None) -> Scores:
    """Mean cross-entropy and accuracy over a set, in float64.

    model : first output: scores (N, C)
    tally : told of every image
    """
    loss, right, near, count = 0.0, 0, 0, 0
    for batch in test:
        answer = model(batch.x)
        scores = np.asarray(answer[0] if isinstance(answer, tuple) else answer, np.float64)
        shifted = scores - scores.max(axis=1, keepdims=True)
        each = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(scores)), batch.y]
        own = scores[np.arange(len(scores)), batch.y][:, None]
        ahead = (scores > own).sum(axis=1)
        if tally:
            tally.add_scores(batch.samples, batch.y, scores)
        loss, count = loss + float(each.sum()), count + len(scores)
        right, near = right + int((scores.argmax(axis=1) == batch.y).sum()), near + int((ahead < 5).sum())
    return Scores(loss / max(count, 1), right / max(count, 1), near / max(count, 1), count)
