"""The public face of the engine: `model = load("net.alula")`, then `y = model(x)`."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.runtime.compiler.loader import library
from alula.runtime.errors import DataError, DTypeError, GraphError
from alula.runtime.forks import ForkLock
from alula.runtime.graph import Array, Graph, TensorSpec
from alula.runtime.kernels.tiles import for_cpu
from alula.runtime.memory.aligned import checked_array, native
from alula.runtime.memory.arena import Arena
from alula.runtime.memory.weights import WeightStore
from alula.runtime.planning.binding import Parts
from alula.runtime.planning.call import Call
from alula.runtime.planning.program import Program
from alula.runtime.planning.segments import Segments, needs_segments
from alula.runtime.planning.specialise import Specialised, specialise, static_input_names
from alula.runtime.threads import checked_threads, team

if TYPE_CHECKING:
    from alula.runtime.artifact import Artifact
    from alula.runtime.artifact.task import Task
    from alula.runtime.tasks.classify import Classifier
    from alula.runtime.tasks.predictor import Predictor
    from alula.runtime.train.trainer import Trainer

MAX_PROGRAMS = 32  # programs kept per model; the one used longest ago goes first
KIND = attrgetter("__class__", "shape", "dtype")  # of each input, in order: what a program is planned for


class Model:
    """A network that runs. Programs for different input shapes share its weights and memory.

    threads   : how many threads run it; all cores of the process if None
    max_bytes : refuse plans that need more memory than that
    source    : the graph from which a trainer starts, if more is left in it
    """

    def __init__(
        self,
        graph: Graph,
        threads: int | None = None,
        max_bytes: int | None = None,
        metadata: Mapping[str, object] | None = None,
        source: Graph | None = None,
    ) -> None:
        self.graph, self._source = graph, source or graph
        self.metadata = dict(metadata or {})
        self.threads, self._wanted_threads = checked_threads(threads), threads
        self.max_bytes = max_bytes
        self._store, self._arena = WeightStore(), Arena()
        self._programs: OrderedDict[object, Program] = OrderedDict()
        self._planning = ForkLock()  # two threads that call the model plan one program after the other
        self._static = static_input_names(graph)
        self._segments = Segments(graph, self._made) if needs_segments(graph) else None
        self._names = tuple(graph.inputs)
        self._predictor: Predictor | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the network that it is, its constants as the file stores them; programs are planned again."""
        return Model, (self.graph, self._wanted_threads, self.max_bytes, self.metadata, self._source)

    def __deepcopy__(self, memo: object) -> Model:
        """Another model of the same network, which is never changed."""
        return copy(self)

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        """Name and spec of each input; a str in a shape is a free dimension."""
        return dict(self.graph.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.graph.outputs

    @property
    def weight_bytes(self) -> int:
        """Bytes of packed weights, once a program was planned."""
        return self._store.nbytes

    def __call__(self, /, *arrays: Array, **named: Array) -> Array | tuple[Array, ...]:
        """Run the network.

        arrays : one array per input, in order or by name; dtypes must match, nothing is converted silently
        return : the output, or a tuple of them if there are several
        raise  : ShapeError, DTypeError, GraphError: one line that names the input
        """
        if not named and (call := self._call(arrays)):
            values = call(arrays)
        else:
            results = self._run(self._gather(arrays, named))
            values = [results[name] for name in self.graph.outputs]
        return values[0] if len(values) == 1 else tuple(values)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Like calling the model, with inputs and outputs by name."""
        named = isinstance(inputs, dict) and len(inputs) == len(self._names)
        if named and self._names and all(name in inputs for name in self._names):
            arrays = [inputs[name] for name in self._names]
            if call := self._call(arrays):
                return dict(zip(self.graph.outputs, call(arrays)))
        return self._run(inputs)

    def _call(self, arrays: Iterable[Array]) -> Call | None:
        """The short way for inputs like these, if they are known; whatever is not an array goes the other way."""
        try:
            program = self._programs.get(key := tuple(map(KIND, arrays)))
            if program is None or program.call is None:
                return None
            self._programs.move_to_end(key)
        except (AttributeError, TypeError, KeyError):  # no array; or the program went while we looked
            return None
        return program.call

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        ready = self._ready(inputs)
        if self._segments:
            return self._segments.run(ready, self._specs(ready))
        return self._program_for(ready).run(ready)

    def parts(self, inputs: Mapping[str, Array]) -> Parts:
        """A run that can stop and go on (`go_on`), on memory of its own: the model may run in between.

        raise : GraphError if shapes depend on the values of the inputs
        """
        ready = self._ready(inputs)
        if self._segments:
            return self._segments.only(self._specs(ready)).parts(ready)
        return self._program_for(ready).parts(ready)

    @property
    def task(self) -> Task | None:
        """What the network is for, if its file says so.

        raise : ArtifactError if that cannot be read
        """
        from alula.runtime.artifact.task import task_of

        return task_of(self.metadata, self.graph.name, f"graph {self.graph.name}")

    def predict(self, image: str | os.PathLike[str] | Array, *, alpha: str = "white", **options: Any) -> Any:
        """What an image shows, as the file's task says: a `Classification`, `Detections`, `Poses` or `Segments`.

        image   : a file, or (H, W, 3), blue green red as OpenCV has it, or (H, W), uint8
        alpha   : of a file: white, black or drop, what a transparent image is laid over
        options : of the task: top of `Classifier.predict`; conf, iou, agnostic, only of `Detector.predict`
        raise   : DataError if the file has no such task or no preprocessing, SourceError if the image cannot be read
        """
        from alula.runtime.data.decoder import open_image
        from alula.runtime.data.image import as_bgr

        if self._predictor is None:
            self._predictor = self.predictor()
        if isinstance(image, str | os.PathLike):
            pixels: Array | None = open_image(Path(image), self._predictor.preprocessing.channels, alpha)
        else:
            pixels = as_bgr(image)
        if pixels is None:
            raise DataError(f"predict: expected a file or an image (H, W, 3) uint8, got {_shown(image)}; convert it")
        return self._predictor.predict(pixels, **options)

    def predictor(self, task: Task | None = None, where: str = "") -> Predictor:
        """This network at its task; `task` in place of the file's own. where : what messages call it

        raise : DataError, GraphError
        """
        from alula.runtime.tasks.predictor import open_predictor

        return open_predictor(self.run, self.graph, task or self.task, where or f"graph {self.graph.name}")

    def classifier(self, task: Task | None = None, where: str = "") -> Classifier:
        """What tells classes apart with this network; `task` in place of the file's own. where : what messages call it

        raise : DataError, GraphError
        """
        from alula.runtime.tasks.classify import Classifier
        from alula.runtime.tasks.predictor import without_preprocessing

        task, where = task or self.task, where or f"graph {self.graph.name}"
        if task is None:
            raise DataError(without_preprocessing(where))
        return Classifier(self.run, self.graph, task, where)

    def trainer(self, **options: Any) -> Trainer:
        """A trainer that starts from this network; the model itself stays as it is.

        options : of `alula.runtime.train.Trainer`: optimizer, loss, update, ...
        """
        from alula.runtime.train.trainer import Trainer

        return Trainer(self._source, threads=options.pop("threads", self.threads), **options)

    def run_all(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every tensor that the network stores, by name: for comparing layer by layer."""
        held = self.graph.held()  # what is skipped in some runs is no output
        names = tuple(name for node in self.graph.nodes for name in node.outputs if name and name not in held)
        everything = replace(self.graph, outputs=tuple(dict.fromkeys((*self.outputs, *names))))
        return Model(everything, self.threads, self.max_bytes).run(inputs)

    def program(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        """The program for inputs of these shapes, planned if it is new. Inputs that decide shapes have no shape alone."""
        specs = {name: TensorSpec(tuple(shapes[name]), spec.dtype) for name, spec in self.graph.inputs.items()}
        if self._segments:
            return self._segments.only(specs)
        if self._static:
            raise GraphError(
                f"graph {self.graph.name}: expected inputs that decide no shapes, got {', '.join(self._static)}; "
                "run the model with arrays instead"
            )
        return self._plan(specs, {})

    def _gather(self, arrays: tuple[Array, ...], named: Mapping[str, Array]) -> dict[str, Array]:
        names = list(self.graph.inputs)
        inputs = dict(zip(names, arrays, strict=False)) | dict(named)
        if len(arrays) + len(named) != len(names) or set(inputs) != set(names):
            raise GraphError(
                f"graph {self.graph.name}: expected the inputs {', '.join(names)}, "
                f"got {len(arrays)} by position and {sorted(named)} by name; pass each once"
            )
        return inputs

    def _ready(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs in C order and this machine's order of bytes."""
        if not isinstance(inputs, Mapping):
            raise DTypeError(
                f"graph {self.graph.name}: expected arrays by the names of inputs, got {type(inputs).__name__}; "
                "pass a dict, or call the model"
            )
        return {name: native(self._checked(name, array)).reshape(np.shape(array)) for name, array in inputs.items()}

    def _checked(self, name: str, array: Array) -> Array:
        if name not in self.graph.inputs:
            raise GraphError(
                f"graph {self.graph.name}: expected the inputs {', '.join(self.graph.inputs)}, got {name!r}; rename it"
            )
        return checked_array(name, array)

    def _program_for(self, inputs: Mapping[str, Array]) -> Program:
        return self._plan(self._specs(inputs), {name: inputs[name] for name in self._static if name in inputs})

    def _specs(self, inputs: Mapping[str, Array]) -> dict[str, TensorSpec]:
        specs = {}
        for name, array in inputs.items():
            try:
                specs[name] = TensorSpec.of(array)
            except DTypeError:
                raise DTypeError(
                    f"input {name}: expected {self.graph.inputs[name]}, got dtype {array.dtype}; convert it"
                ) from None
        return specs

    def _plan(self, specs: Mapping[str, TensorSpec], static: Mapping[str, Array]) -> Program:
        kinds = tuple((np.ndarray, specs[n].dims, np.dtype(specs[n].dtype)) for n in self._names if n in specs)
        key = (kinds, tuple((n, v.tobytes()) for n, v in static.items())) if self._static else kinds
        with self._planning.lock:
            return self._cached(key, specs, static)

    def _cached(self, key: object, specs: Mapping[str, TensorSpec], static: Mapping[str, Array]) -> Program:
        if key in self._programs:
            self._programs.move_to_end(key)
            return self._programs[key]
        network = specialise(self.graph, specs, {name: value.copy() for name, value in static.items()})
        program = self._programs[key] = self._made(network)
        while len(self._programs) > MAX_PROGRAMS:
            self._programs.popitem(last=False)
        return program

    def _made(self, network: Specialised) -> Program:
        return Program(network, self._store, self._arena, for_cpu(library().cpu), team(self.threads), self.max_bytes)


def _shown(image: object) -> str:
    return f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__


def load(
    path: str | os.PathLike[str], graph: str | None = None, threads: int | None = None, max_bytes: int | None = None
) -> Model:
    """One network of an `.alula` file.

    graph : its name; needed only where the file holds several
    raise : ArtifactError on a file that is damaged; GraphError if there is no such graph
    """
    from alula.runtime.artifact import open_artifact

    artifact = open_artifact(path)
    names = list(artifact.graphs)
    if graph is None and len(names) == 1:
        graph = names[0]
    if graph not in artifact.graphs:
        raise GraphError(
            f"{path}: expected one of the graphs {', '.join(names)}, got {graph}; choose with --graph, in Python graph={names[0]!r}"
        )
    return _model(artifact, graph, threads, max_bytes)


def load_all(
    path: str | os.PathLike[str], threads: int | None = None, max_bytes: int | None = None
) -> dict[str, Model]:
    """Every network of an `.alula` file, by name."""
    from alula.runtime.artifact import open_artifact

    artifact = open_artifact(path)
    return {name: _model(artifact, name, threads, max_bytes) for name in artifact.graphs}


def _model(artifact: Artifact, name: str, threads: int | None, max_bytes: int | None) -> Model:
    """A model of a file's graph; one that was kept trainable is made ready for inference."""
    graph = artifact.graphs[name]
    if not artifact.trainable:
        return Model(graph, threads, max_bytes, artifact.metadata)
    from alula.runtime.passes import optimise

    return Model(optimise(graph), threads, max_bytes, artifact.metadata, source=graph)
