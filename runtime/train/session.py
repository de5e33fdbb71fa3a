"""A run with all that is kept of it: its log, the energy of each epoch, the best network, the last one, the final one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from alula.runtime.artifact import write_trainable
from alula.runtime.artifact.task import Task, with_tasks
from alula.runtime.errors import DivergedError
from alula.runtime.graph import Graph
from alula.runtime.train.energy import EnergyLog, since_asked
from alula.runtime.train.fit import Epoch, Run
from alula.runtime.train.records import Record, read_log, record, write_log

AVERAGED_BATCHES = 100  # of which an averaged network takes its running statistics
CLASSES = "test_classes"  # in the last record: what `alula eval` says
MOST_CONFUSED = 100  # classes whose confusion matrix is in a record
CHECKPOINT, BEST, LAST = "run.checkpoint", "best.alula", "last.alula"  # in the folder of the checkpoints


def own_files(folder: Path) -> list[Path]:
    """The files that a session writes into the folder of its checkpoints."""
    return [folder / name for name in (CHECKPOINT, f"{CHECKPOINT}.previous", f"{CHECKPOINT}.new", BEST, LAST)]


@dataclass
class Session:
    """A run, and where its results go.

    energy  : a log that has begun; its joules are those of each epoch
    output  : the trained network; also the weights from before a divergence
    folder  : of the checkpoints: the best network, and the last one of a run that diverges and has no output
    log     : one line of JSON for each epoch
    task    : what the network is for, which every file says
    records : of the epochs that are done
    """

    run: Run
    energy: EnergyLog
    output: Path | None = None
    folder: Path | None = None
    log: Path | None = None
    task: Task | None = None
    records: list[Record] = field(default_factory=list)

    def resume(self) -> str:
        """Go on from the checkpoint, if there is one. return: what there is to say about it"""
        said = self.run.resume()
        if self.log:
            self.records = read_log(self.log, self.run.epochs_done)
        return said

    def train(self) -> None:
        """Train, and keep a record of each epoch when it is done.

        raise : DivergedError that says where the weights from before it are
        """
        spent = since_asked(self.energy)
        for epoch in self._kept():
            summary = self.energy.summary()
            self.records.append(record(epoch, spent(), summary["source"], summary["accuracy"]))
            if epoch.number == self.run.epochs and self.run.tally and self.run.test and self.task:
                files = getattr(self.run.test.data, "files", ())
                self.records[-1][CLASSES] = self.run.tally.document(self.task.classes, files)
                if len(self.task.classes) > MOST_CONFUSED:
                    del self.records[-1][CLASSES]["confusion"]
            if self.log:
                write_log(self.log, self.records)
            if epoch.best and self.folder:
                self._write(self.folder / BEST, self.run.trainer.trained_graph())

    def finish(self) -> None:
        """Write the trained network, or the average of its weights if the trainer keeps one."""
        trainer, train = self.run.trainer, self.run.train
        final = trainer.trained_graph()
        if trainer.averaging:
            final = trainer.averaged_graph((batch.x,) for batch in train.epoch(0) if batch.step < AVERAGED_BATCHES)
        if self.output:
            self._write(self.output, final)

    def _kept(self) -> Iterator[Epoch]:
        """The epochs of the run; if it diverges, the weights from before that are written."""
        try:
            yield from self.run
        except DivergedError as error:
            path = self.output or (self.folder / LAST if self.folder else None)
            if path is None:
                raise DivergedError(
                    f"{error}; the weights from before are lost: -o FILE.alula would have kept them"
                ) from None
            self._write(path, self.run.trainer.trained_graph())
            raise DivergedError(f"{error}; the weights from before are in {path}") from None

    def _write(self, path: Path, graph: Graph) -> None:
        latest = {key: value for key, value in (self.records[-1] if self.records else {}).items() if key != CLASSES}
        write_trainable(path, {graph.name: graph}, with_tasks({"training": latest}, {graph.name: self.task}))
