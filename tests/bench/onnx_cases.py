"""Models with inputs and the outputs they must give: ONNX's own node tests, and networks that real exporters wrote.

The node tests are those of the installed onnx package. The networks are Debian's `libonnx-testdata`
(`apt install libonnx-testdata`): what pytorch wrote, whole networks' layers and single ops, and a few by hand.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.host.onnx.prepare import opset_of, write_out
from alula.host.onnx.reader import dtype_name
from alula.host.onnx.rules import imported_ops
from alula.runtime.errors import AlulaError, DTypeError

if TYPE_CHECKING:
    import onnx

EXPORTERS_DATA = Path("/usr/share/libonnx-testdata/data")  # where the Debian package puts it
EXPORTERS = ("pytorch-converted", "pytorch-operator", "simple")
NODES = "node"


@dataclass(frozen=True)
class Case:
    """A model, its data sets of (inputs, expected outputs) in the order of the graph, and the tolerances.

    source : node, or one of the sets of exporters
    """

    name: str
    source: str
    model: onnx.ModelProto
    data_sets: list[tuple[list[Any], list[Any]]]
    rtol: float
    atol: float

    @property
    def op(self) -> str:
        """The op that it is about: its only one, or (a function written out) the last."""
        return str(self.model.graph.node[-1].op_type)


def node_cases() -> list[Case]:
    """ONNX's node tests."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases compute their own overflows
        found = load_model_tests(kind=NODES)
    return [Case(c.name, NODES, c.model, c.data_sets, c.rtol, c.atol) for c in found]


def exporter_cases(folder: Path = EXPORTERS_DATA) -> list[Case]:
    """The networks that exporters wrote; none where the package is not installed."""
    import onnx

    return [
        Case(f"{path.parent.name} ({kind})", kind, onnx.load(path), list(_data_sets(path)), 1e-3, 1e-7)
        for kind in EXPORTERS
        for path in sorted((folder / kind).glob("*/model.onnx"))
    ]


def _data_sets(model: Path) -> Iterator[tuple[list[Any], list[Any]]]:
    """What lies beside a model in files `test_data_set_N/input_M.pb` and `output_M.pb`."""
    for folder in sorted(model.parent.glob("test_data_set_*")):
        yield _tensors(folder, "input"), _tensors(folder, "output")


def _tensors(folder: Path, kind: str) -> list[Any]:
    import onnx

    found = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(re.sub(r"\D", "", path.stem)))
    return [onnx.TensorProto.FromString(path.read_bytes()) for path in found]


def unknown_ops(model: onnx.ModelProto) -> list[str]:
    """The ops that the importer does not take, after all functions that ONNX defines for them are written out."""
    known = imported_ops()
    nodes = model.graph.node
    if any((node.domain, node.op_type) not in known for node in nodes):
        try:
            opset_of(model, "model")
            nodes = write_out(model, "model")[0].graph.node
        except AlulaError:
            pass  # it has no form in which we know its ops: it is named by those of its own
    return sorted(
        {f"{node.domain}.{node.op_type}".lstrip(".") for node in nodes if (node.domain, node.op_type) not in known}
    )


def missing_type(model: onnx.ModelProto) -> str:
    """A type in the model that the engine does not have, or ""."""
    import onnx

    graph = model.graph
    kinds = [tensor.data_type for tensor in graph.initializer]
    for info in (*graph.input, *graph.output):
        if not info.type.HasField("tensor_type"):
            return str(info.type.WhichOneof("value")).removesuffix("_type")
        kinds.append(info.type.tensor_type.elem_type)
    for node in graph.node:
        if "Sequence" in node.op_type:
            return "sequence"
        for attribute in node.attribute:
            if attribute.HasField("t"):
                kinds.append(attribute.t.data_type)
            if attribute.name in ("value_string", "value_strings"):
                return "string"
            if attribute.name in ("to", "output_dtype") and attribute.i != onnx.TensorProto.UNDEFINED:
                kinds.append(attribute.i)
    for kind in kinds:
        try:
            dtype_name(kind, "")
        except DTypeError:
            return str(onnx.TensorProto.DataType.Name(kind)).lower()
    return ""


def array_of(value: Any) -> np.ndarray[Any, Any]:
    """A value of a data set: an array, a number, or a tensor message."""
    import onnx

    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def gap(name: str, got: np.ndarray[Any, Any], wanted: Any, case: Case) -> str:
    """What is wrong with an output, or ""."""
    want = array_of(wanted)
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{name}: expected {want.dtype}{list(want.shape)}, got {got.dtype}{list(got.shape)}"
    if np.allclose(got, want, case.rtol, case.atol, equal_nan=True):
        return ""
    apart = np.abs(np.subtract(got, want, dtype=np.float64))
    wrong = int((apart > case.atol + case.rtol * np.abs(want)).sum())
    return f"{name}: {wrong} of {apart.size} differ, by up to {apart.max():.3g}"
