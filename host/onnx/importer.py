"""ONNX to our graph: any opset from 7 on, channels first to channels last, with every check that an untrusted file needs.

The stages, each in its file: bytes to arrays (reader.py), old opsets to opset 21 (upgrade.py), NCHW to NHWC
(layout.py), and here the walk over the nodes that joins them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.host.onnx.checks import check_signature, check_values, is_default
from alula.host.onnx.layout import Layout, to_last
from alula.host.onnx.prepare import infer_shapes, opset_of, write_out
from alula.host.onnx.ranks import note_rank
from alula.host.onnx.reader import dense, dtype_name, load_model, to_array
from alula.host.onnx.upgrade import REPLACED, Build, Step, upgrade
from alula.runtime.errors import DTypeError, GraphError, ImportFileError, ShapeError
from alula.runtime.graph import Array, Arrays, Dim, Graph, Node, TensorSpec
from alula.runtime.ops.contract import REGISTRY, find
from alula.runtime.ops.traits import SCALE, SHIFT
from alula.runtime.passes.layer_norm import ONES, ZEROS
from alula.runtime.passes.names import CHANNELS_LAST, restore_names
from alula.runtime.planning.specialise import specialise, static_input_names

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Imported:
    """What an ONNX file holds: the network, and the text that was stored with it."""

    graph: Graph
    metadata: dict[str, str]


def import_onnx(source: str | Path | bytes | onnx.ModelProto, name: str = "") -> Imported:
    """Read an ONNX model into a channels-last graph; its inputs and outputs stay in ONNX's order.

    name  : of the graph; the model's own, or the file's, by default
    raise : ImportFileError, GraphError, ShapeError or DTypeError, one line that names the node or tensor
    """
    model, folder, where = load_model(source)
    try:
        opset = opset_of(model, where)
        if not model.graph.node:
            raise ImportFileError(f"{where}: expected a network, got a graph without nodes; export the model again")
        model = write_out(model, where)
        graph = _Walk(model, opset, folder, where).graph(name or model.graph.name or Path(where).stem)
    except (ImportFileError, GraphError, ShapeError, DTypeError) as error:
        # names come from the file: they must not break the line, or move a terminal's cursor
        raise type(error)("".join(c if c.isprintable() else "?" for c in str(error))[:1000]) from None
    return Imported(graph, {entry.key: entry.value for entry in model.metadata_props})


FILLED = {SCALE: (1, ONES), SHIFT: (0, ZEROS)}  # what exporters write where a normalisation has no scale or shift


class _Walk:
    """One import: reads constants, then takes the nodes in order."""

    def __init__(self, model: onnx.ModelProto, opset: int, folder: Path | None, where: str) -> None:
        self.model, self.opset, self.folder, self.where = model, opset, folder, where
        self.onnx_graph = model.graph
        self.constants = Arrays()
        for tensor in self.onnx_graph.initializer:
            self.constants[tensor.name] = to_array(tensor, folder, where)
        for sparse in self.onnx_graph.sparse_initializer:
            self.constants[sparse.values.name] = dense(sparse, folder, f"{where}: tensor {sparse.values.name!r}")
        self.written: set[str] = set()  # constants that stand in the file as nodes, not as weights
        self.output_names = {info.name for info in self.onnx_graph.output}
        self.steps = [step for node in self.onnx_graph.node if (step := self._step(node)) is not None]
        self.inputs = self._inputs()
        taken = {name for step in self.steps for name in (*step.inputs, *step.outputs)}
        taken |= self.constants.keys() | self.inputs.keys()
        self.build = Build(self.constants, {}, {}, taken)

    def _inputs(self) -> dict[str, TensorSpec]:
        """The graph's inputs; dimensions that are not fixed get names."""
        infos = [info for info in self.onnx_graph.input if info.name not in self.constants]
        used = {dim.dim_param for info in infos for dim in info.type.tensor_type.shape.dim if dim.dim_param}
        specs: dict[str, TensorSpec] = {}
        for info in infos:
            label = f"{self.where}: input {info.name!r}"
            if not info.type.HasField("tensor_type"):
                raise DTypeError(f"{label}: expected a tensor, got {info.type.WhichOneof('value')}; export without it")
            if not info.type.tensor_type.HasField("shape"):
                raise ShapeError(f"{label}: expected a number of dimensions, got none; set the input's shape at export")
            dims: list[Dim] = []
            for axis, dim in enumerate(info.type.tensor_type.shape.dim):
                if dim.HasField("dim_value") and dim.dim_value > 0:
                    dims.append(int(dim.dim_value))
                elif dim.dim_param and dim.dim_param not in ("?", "-1", "None"):
                    dims.append(dim.dim_param)
                else:
                    dims.append(_unique("batch" if axis == 0 else f"dim_{axis}", used))
            specs[info.name] = TensorSpec(tuple(dims), dtype_name(info.type.tensor_type.elem_type, label))
        return specs

    def _step(self, node: onnx.NodeProto) -> Step | None:
        """A node as a step; None for a Constant, which becomes a constant."""
        step = Step(node.op_type, list(node.input), list(node.output), {}, node.name)
        where = f"{self.where}: {step.label}"
        own = REGISTRY[node.op_type].domain if node.op_type in REGISTRY else ""
        if node.domain not in ((own,) if own else ("", "ai.onnx")):
            raise GraphError(f"{where}: expected an op of ONNX itself, got one of {node.domain!r}; export without it")
        for attribute in node.attribute:
            step.attrs[attribute.name] = self._attribute(attribute, where)
        if node.op_type not in (*REPLACED, "Constant"):
            find(node.op_type, where)
        if not own:
            check_signature(node, self.opset, where)
        if node.op_type == "Constant":
            self.constants[node.output[0]] = _constant(step, where)
            self.written.add(node.output[0])
            return None
        for index, operand in REGISTRY[node.op_type].operands.items() if node.op_type in REGISTRY else ():
            if operand.role in FILLED and step.input(index):
                step.inputs[index] = self._trivial(step.inputs[index], *FILLED[operand.role])
        if node.op_type == "Identity" and node.input[0] in self.constants and node.output[0] not in self.output_names:
            # Exporters keep one of several weights of equal values; these are not shared: shared ones have one name
            self.constants[node.output[0]] = self.constants[node.input[0]]
            return None
        while step.inputs and not step.inputs[-1]:
            step.inputs.pop()
        while len(step.outputs) > 1 and not step.outputs[-1]:
            step.outputs.pop()
        if not any(step.outputs):
            raise GraphError(f"{where}: expected an output, got none; the file is damaged")
        return step

    def _trivial(self, name: str, value: int, ending: str) -> str:
        """The input of a normalisation, under a name that says so if an exporter only filled it in: a Constant of ones or zeros."""
        if name not in self.written or not (self.constants[name] == value).all():
            return name
        self.constants[f"{name}{ending}"] = self.constants[name]
        return f"{name}{ending}"

    def _attribute(self, attribute: onnx.AttributeProto, where: str) -> Any:
        import onnx

        kinds = onnx.AttributeProto
        label = f"{where}: attribute {attribute.name}"
        if attribute.type == kinds.TENSOR:
            return to_array(attribute.t, self.folder, label)
        if attribute.type == kinds.SPARSE_TENSOR:
            return dense(attribute.sparse_tensor, self.folder, label)
        if attribute.type in (kinds.GRAPH, kinds.GRAPHS):
            raise GraphError(
                f"{where}: expected a network without branches or loops, got a sub-graph; export without them"
            )
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if attribute.type in (kinds.FLOATS, kinds.INTS, kinds.STRINGS):
            return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value)
        if attribute.type not in (kinds.FLOAT, kinds.INT):
            raise GraphError(f"{label}: expected a number, text, list or tensor, got another kind; export without it")
        return value

    def _shapes(self) -> None:
        """Put into `build` what can be known of shapes and dtypes."""
        for info in infer_shapes(self.model, self.inputs, self.where):
            kind = info.type.tensor_type
            if kind.HasField("shape"):
                dims = tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in kind.shape.dim)
                self.build.shapes[info.name] = dims
            try:
                self.build.dtypes[info.name] = dtype_name(kind.elem_type, info.name)
            except DTypeError:
                pass  # said by the node that makes it, if that matters
        for name, array in self.constants.items():
            self.build.shapes[name], self.build.dtypes[name] = array.shape, array.dtype.name

    def graph(self, name: str) -> Graph:
        """The whole import."""
        check_values(self.steps, self.constants, self.where)
        self._shapes()
        layout = Layout(self.build)
        nodes: list[Node] = []
        for step in self.steps:
            for modern in upgrade(step, self.opset, self.build):
                note_rank(modern, self.build)
                nodes += [_node(final, self.opset, self.where) for final in layout.wrap(modern)]
        outputs = tuple(info.name for info in self.onnx_graph.output)
        if not outputs:
            raise ImportFileError(f"{self.where}: expected outputs, got none; export the model again")
        read = {tensor for node in nodes for tensor in node.inputs} | set(outputs)
        kept = Arrays({key: array for key, array in self.constants.items() if key in read})
        graph = _one_weight(restore_names(Graph(name, self.inputs, outputs, tuple(nodes), kept)))
        self._check(graph)
        return graph

    def _check(self, graph: Graph) -> None:
        """Let every op check its shapes now, if nothing but the batch is free."""
        shapes = {
            name: (*(1 if isinstance(d, str) else d for d in s.shape[:1]), *s.shape[1:])
            for name, s in graph.inputs.items()
        }
        specs = {name: TensorSpec(shape, graph.inputs[name].dtype) for name, shape in shapes.items()}
        if static_input_names(graph) or not all(spec.is_static for spec in specs.values()):
            return
        try:
            specialise(graph, specs)
        except (GraphError, ShapeError, DTypeError) as error:
            raise type(error)(f"{self.where}: {error}") from None


def _constant(step: Step, where: str) -> Array:
    """The value of a Constant node, in any of its forms."""
    forms = {"value_float": "float32", "value_floats": "float32", "value_int": "int64", "value_ints": "int64"}
    for name, value in step.attrs.items():
        if name in ("value", "sparse_value"):
            return np.asarray(value)
        if name in forms:
            return np.asarray(value, forms[name])
    got = ", ".join(step.attrs) or "no value"
    raise DTypeError(f"{where}: expected numbers, got {got}; export without text constants")


def _unique(hint: str, used: set[str]) -> str:
    name, count = hint, 1
    while name in used:
        count += 1
        name = f"{hint}_{count}"
    used.add(name)
    return name


def _node(step: Step, opset: int, where: str) -> Node:
    """A step as a node: its attributes checked against the op's."""
    label = f"{where}: {step.label}"
    op = find(step.op, label)
    known = {f.name for f in dataclasses.fields(op.attrs)}
    values: dict[str, Any] = {}
    for name, value in step.attrs.items():
        if name in known:
            values[name] = value
        elif not is_default(step.op, name, value, opset):
            raise GraphError(f"{label}: expected {name} at its default, got {value!r}; export the model without it")
    return Node(step.op, tuple(step.inputs), tuple(step.outputs), op.make_attrs(values, label), step.name)


def _one_weight(graph: Graph) -> Graph:
    """Let a weight that is read in both orders be one constant: the other order is a Transpose of it."""
    both = {name: name.removesuffix(CHANNELS_LAST) for name in graph.constants if name.endswith(CHANNELS_LAST)}
    both = {new: old for new, old in both.items() if old in graph.constants and graph.constants.spec(old).size > 1}
    if not both:
        return graph
    specs = {new: graph.constants.spec(new) for new in both}
    made = [Node("Transpose", (old,), (new,), find("Transpose", new).make_attrs({"perm": to_last(len(specs[new].dims))}, new))
            for new, old in both.items()]  # fmt: skip
    constants = Arrays({name: graph.constants[name] for name in graph.constants if name not in both})
    return dataclasses.replace(graph, nodes=(*made, *graph.nodes), constants=constants)
