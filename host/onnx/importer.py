"""ONNX to our graph: any opset from 6 on, channels first to channels last, with every check that an untrusted file needs.

In this order, each in its file: bytes to arrays (reader.py, side_files.py), without what nothing reads (unread.py), names
(names.py), one flat list of nodes (prepare.py, branches.py), opset 21 (rules.py), halves (halves.py), NCHW to NHWC (layout.py).
Here is the walk over the nodes that joins them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.host.onnx.branches import Branches, Chosen
from alula.host.onnx.checks import check_signature, check_values, is_default
from alula.host.onnx.halves import cast_ends, notes
from alula.host.onnx.layout import Layout, to_last
from alula.host.onnx.names import make_plain
from alula.host.onnx.prepare import infer_shapes, opset_of, write_out
from alula.host.onnx.ranks import note_rank
from alula.host.onnx.reader import dense, load_model, onnx_name, to_array, working_dtype
from alula.host.onnx.rules import RULES, WRITTEN, modern, step_op
from alula.host.onnx.side_files import SideFiles
from alula.host.onnx.steps import Build, Step, fresh
from alula.host.onnx.unread import drop_unread
from alula.runtime.errors import DTypeError, GraphError, ImportFileError, ShapeError
from alula.runtime.graph import Array, Arrays, Dim, Graph, Node, TensorSpec
from alula.runtime.ops.contract import REGISTRY, find
from alula.runtime.ops.traits import SCALE, SHIFT
from alula.runtime.passes.branches import decide_branches
from alula.runtime.passes.layer_norm import ONES, ZEROS
from alula.runtime.passes.names import CHANNELS_LAST, restore_names
from alula.runtime.planning.segments import needs_segments
from alula.runtime.planning.specialise import specialise, static_input_names

if TYPE_CHECKING:
    import onnx

SIZES = (1, 2, 32, 224, 512)  # of free dimensions, to check with
FILLED = {SCALE: (1, ONES), SHIFT: (0, ZEROS)}  # what exporters write where a normalisation has no scale or shift


@dataclass(frozen=True)
class Imported:
    """What an ONNX file holds: the network, the text that was stored with it, and what the import has to say."""

    graph: Graph
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


def import_onnx(source: str | Path | bytes | onnx.ModelProto, name: str = "") -> Imported:
    """Read an ONNX model into a channels-last graph; its inputs and outputs stay in ONNX's order.

    name  : of the graph; the model's own, or the file's, by default
    raise : ImportFileError, GraphError, ShapeError or DTypeError, one line that names the node or tensor
    """
    model, files, where = load_model(source)
    if not model.graph.node or not model.graph.output:
        lacks = "outputs" if model.graph.node else "nodes"
        raise ImportFileError(f"{where}: expected a network, got a graph without {lacks}; export the model again")
    model = drop_unread(model)
    make_plain(model.graph)
    opset = opset_of(model, where)
    model, branches = write_out(model, where)
    walk = _Walk(model, branches, opset, files, where)
    graph = walk.graph(name or model.graph.name or Path(where).stem)
    said = (
        *notes(walk.types, (*graph.inputs, *graph.outputs)),
        *(f"weights come through a link from {path}" for path in sorted(files.far)),
    )
    return Imported(graph, {entry.key: entry.value for entry in model.metadata_props}, said)


class _Walk:
    """One import: reads constants, then takes the nodes in order."""

    def __init__(self, model: onnx.ModelProto, branches: Branches, opset: int, files: SideFiles, where: str) -> None:
        self.model, self.branches, self.opset, self.files, self.where = model, branches, opset, files, where
        self.onnx_graph = model.graph
        self.constants = Arrays()
        for tensor in self.onnx_graph.initializer:
            array = to_array(tensor, files, where)
            if not np.array_equal(array, self.constants.get(tensor.name, array), equal_nan=array.dtype.kind == "f"):
                raise ImportFileError(
                    f"{where}: tensor {tensor.name!r}: expected one value, got two that differ; export the model again"
                )
            self.constants[tensor.name] = array
        for sparse in self.onnx_graph.sparse_initializer:
            self.constants[sparse.values.name] = dense(sparse, files, f"{where}: tensor {sparse.values.name!r}")
        self.sound = True  # whether ONNX's own shape inference found no fault
        self.types = {tensor.name: onnx_name(tensor.data_type) for tensor in self.onnx_graph.initializer}
        self.written: set[str] = set()  # constants that stand in the file as nodes, not as weights
        self.output_names = {info.name for info in self.onnx_graph.output}
        self.steps: list[Step] = []
        for node in self.onnx_graph.node:
            self._take(node)
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
                    dims.append(fresh("batch" if axis == 0 else f"dim_{axis}", used, "_"))
            kind = info.type.tensor_type.elem_type
            half = onnx_name(kind) == "float16"
            specs[info.name] = TensorSpec(tuple(dims), "float16" if half else working_dtype(kind, label))
        return specs

    def _take(self, node: onnx.NodeProto) -> None:
        """Append the steps of a node. Of an If only the choice is left: the one value, or else the other."""
        chosen = self.branches.owner(node)
        if chosen is not None:
            self._set_flags(chosen)
        if chosen is not None and self.branches.is_rest(node):
            for output, (then, other) in chosen.values.items():
                self.steps.append(Step("Identity", [then], [output], {}, node.name, chosen.flags[0], (other,)))
        elif (step := self._step(node)) is not None:
            step.guard = self.branches.guard(node)
            self.steps.append(step)

    def _set_flags(self, chosen: Chosen) -> None:
        """Append the Branch of an If, after that of the If around it, once."""
        if any(chosen.flags[0] in step.outputs for step in self.steps if step.op == "Branch"):
            return
        if chosen.outer:
            self._set_flags(self.branches.owners[chosen.outer])
            self.constants[chosen.zero] = np.zeros((), np.int64)
        otherwise = (chosen.zero, chosen.zero) if chosen.outer else ()
        flags = list(chosen.flags)
        self.steps.append(Step("Branch", [chosen.condition], flags, {}, chosen.name, chosen.outer, otherwise))

    def _step(self, node: onnx.NodeProto) -> Step | None:
        """A node as a step; None for a Constant, which becomes a constant."""
        step = Step(step_op(node.op_type, node.domain), list(node.input), list(node.output), {}, node.name)
        where = f"{self.where}: {step.label}"
        own = REGISTRY[node.op_type].domain if node.op_type in REGISTRY else ""
        contributed = step.op != node.op_type
        if not contributed and node.domain not in ((own,) if own else ("", "ai.onnx")):
            raise GraphError(f"{where}: expected an op of ONNX itself, got one of {node.domain!r}; export without it")
        for attribute in node.attribute:
            step.attrs[attribute.name] = self._attribute(attribute, where)
        if step.op not in (*WRITTEN, *RULES, "Constant"):
            find(node.op_type, where)
        if not own and not contributed:
            check_signature(node, self.opset, where)
        if node.op_type == "Constant":
            self.constants[node.output[0]] = _constant(step, where)
            self.written.add(node.output[0])
            return None
        for index, operand in REGISTRY[step.op].operands.items() if step.op in REGISTRY else ():
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
            return to_array(attribute.t, self.files, label)
        if attribute.type == kinds.SPARSE_TENSOR:
            return dense(attribute.sparse_tensor, self.files, label)
        if attribute.type in (kinds.GRAPH, kinds.GRAPHS):
            raise GraphError(
                f"{where}: expected a network without loops, got a sub-graph that runs several times; export it unrolled"
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
        infos, self.sound = infer_shapes(self.model, self.inputs)
        for info in infos:
            kind = info.type.tensor_type
            if kind.HasField("shape"):
                dims = tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in kind.shape.dim)
                self.build.shapes[info.name] = dims
            if not kind.elem_type:
                continue
            self.types[info.name] = onnx_name(kind.elem_type)
            try:
                self.build.dtypes[info.name] = working_dtype(kind.elem_type, info.name)
            except DTypeError:
                pass  # said by the node that makes it, if that matters
        for name, array in self.constants.items():
            self.build.shapes[name], self.build.dtypes[name] = array.shape, array.dtype.name

    def graph(self, name: str) -> Graph:
        """The whole import."""
        check_values(self.steps, self.constants, self.where)
        self._shapes()
        outputs = tuple(info.name for info in self.onnx_graph.output)
        for info in self.onnx_graph.output:
            if kind := info.type.tensor_type.elem_type:
                self.types.setdefault(info.name, onnx_name(kind))
        steps = cast_ends(self.steps, self.inputs, outputs, self.types, self.build)
        layouts = {"": Layout(self.build)}
        nodes: list[Node] = []
        for step in steps:
            guard, otherwise = step.guard, step.otherwise
            for flag in step.outputs if step.op == "Branch" else ():
                layouts[flag] = Layout(self.build, layouts[guard])
            for new in modern(step, self.opset, self.build):
                note_rank(new, self.build)
                made = [_node(final, self.opset, self.where) for final in layouts[guard].wrap(new)]
                nodes += (
                    [dataclasses.replace(node, guard=guard, otherwise=otherwise) for node in made] if guard else made
                )
        read = {tensor for node in nodes for tensor in node.reads} | set(outputs)
        kept = Arrays({key: array for key, array in self.constants.items() if key in read})
        graph = _one_weight(restore_names(Graph(name, self.inputs, outputs, tuple(nodes), kept)))
        graph = decide_branches(graph)
        self._check(graph)
        return graph

    def _check(self, graph: Graph) -> None:
        """Let every op check its shapes now, if nothing but the batch is free, or ONNX found a fault.

        A free dimension need not to be a small one: one size that fits is enough.
        """
        free = any(isinstance(dim, str) for spec in graph.inputs.values() for dim in spec.shape[1:])
        if static_input_names(graph) or needs_segments(graph) or (free and self.sound):
            return
        first: GraphError | ShapeError | DTypeError | None = None
        for size in SIZES:
            sized = {
                name: TensorSpec(tuple(size if isinstance(dim, str) else dim for dim in spec.shape), spec.dtype)
                for name, spec in graph.inputs.items()
            }
            try:
                specialise(graph, sized)
                return
            except (GraphError, ShapeError, DTypeError) as error:
                first = first or error
        if first is not None:
            raise type(first)(f"{self.where}: {first}") from None


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
