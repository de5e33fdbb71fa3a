"""onnxruntime, set up fairly: all graph optimisations, the given number of threads, and its default spinning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alula.runtime.errors import ImportFileError, require
from alula.runtime.files import check_file
from alula.runtime.graph import Array

ERRORS_ONLY = 3


class OrtModel:
    """An ONNX model in onnxruntime, on the CPU.

    threads : as many as onnxruntime itself would take if None
    raise   : ImportFileError if onnxruntime cannot load or run the model
    """

    def __init__(
        self, model: Path | bytes, threads: int | None = None, purpose: str = "comparing with onnxruntime"
    ) -> None:
        ort = require("onnxruntime", "host", purpose)
        self._errors = _errors(ort)
        self._where = str(model) if isinstance(model, Path) else "ONNX model"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = ERRORS_ONLY
        if threads:
            options.intra_op_num_threads = threads
        if isinstance(model, Path):
            check_file(model, by_name=True)
        try:
            source = str(model) if isinstance(model, Path) else model
            self.session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise ImportFileError(
                f"{self._where}: expected a model that onnxruntime loads, got {_line(error)}"
            ) from None
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by name."""
        try:
            return dict(zip(self.outputs, self.session.run(None, dict(values))))
        except self._errors as error:
            raise ImportFileError(
                f"{self._where}: expected onnxruntime to run it, got {_line(error)}; check the shapes"
            ) from None


def _errors(ort: Any) -> tuple[type[Exception], ...]:
    """onnxruntime's exceptions have no common base of their own."""
    state = ort.capi.onnxruntime_pybind11_state
    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, ValueError, RuntimeError)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
