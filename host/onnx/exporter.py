"""Export our graph to ONNX opset 21, channels first.

The ONNX tensor for one of ours may be a permutation of it (`_Writer.forms`): a convolution is written in ONNX's order, and
its result stays so through element-wise ops. A Transpose is written only where another order is read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alula.host.onnx.layout import to_first
from alula.runtime.errors import GraphError, require
from alula.runtime.graph import Array, Graph, Node
from alula.runtime.ops.contract import find
from alula.runtime.ops.traits import ChannelsLast
from alula.runtime.passes.fusion import unfuse_epilogues
from alula.runtime.passes.shapes import Shapes
from alula.runtime.passes.transposes import is_pointwise

if TYPE_CHECKING:
    import onnx

OPSET = 21
Perm = tuple[int, ...]  # () is our own order
CHANNELS_LAST = re.compile(r"\.channels_last(\.\d+)?$")  # how import and layout name a tensor that they transposed
ALONG_AXIS = frozenset({"Concat", "Softmax", "LogSoftmax", "Split"})


def export_onnx(
    graph: Graph, path: str | Path | None = None, metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Write a graph as an ONNX model that computes the same.

    path     : the file to write, none if None
    metadata : text to store in the model
    raise    : GraphError if an op has no counterpart in ONNX
    """
    onnx = require("onnx", "host", "writing an ONNX file")
    model = _Writer(unfuse_epilogues(graph)).model()
    onnx.helper.set_model_props(model, {key: str(value) for key, value in (metadata or {}).items()})
    shapeless = [info.type.tensor_type for info in model.graph.output if not info.type.tensor_type.HasField("shape")]
    try:
        for kind in shapeless:  # the values of an input decide the shape: the checker alone insists on one
            kind.shape.SetInParent()
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split())[:300]
        raise GraphError(
            f"graph {graph.name}: expected ops that ONNX can express, got: {reason}; keep it as .alula"
        ) from None
    for kind in shapeless:
        kind.ClearField("shape")
    if path is not None:
        Path(path).write_bytes(model.SerializeToString())
    return model


class _Writer:
    """One export. `forms` holds, by our tensor's name, which ONNX tensors are which permutation of it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shapes = Shapes(graph)
        self.forms: dict[str, dict[Perm, str]] = {name: {(): name} for name in graph.inputs}
        made = (name for node in graph.nodes if node.op != "Transpose" for name in node.outputs)
        self.taken = {*graph.inputs, *graph.constants, *graph.outputs, *made}
        self.initializers: dict[str, Array] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.node_names: set[str] = set()
        self.opset = OPSET
        self.domains: set[str] = set()

    def model(self) -> onnx.ModelProto:
        """The whole export."""
        from onnx import helper, numpy_helper, shape_inference

        for node in self.graph.nodes:
            self._write(node)
        self._name_outputs()
        inputs = [
            helper.make_tensor_value_info(name, _elem_type(spec.dtype), list(spec.shape))
            for name, spec in self.graph.inputs.items()
        ]
        outputs = [self._output_info(name) for name in self.graph.outputs]
        weights = [numpy_helper.from_array(np.asarray(array), name) for name, array in self.initializers.items()]
        proto = helper.make_graph(self.nodes, self.graph.name or "graph", inputs, outputs, weights)
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(name, 1) for name in sorted(self.domains))]
        model = helper.make_model(
            proto, opset_imports=opsets, producer_name="alula", ir_version=helper.find_min_ir_version_for(opsets[:1])
        )
        return shape_inference.infer_shapes(model)

    def _output_info(self, name: str) -> onnx.ValueInfoProto:
        import onnx

        spec = self.shapes.spec(name)
        if spec is None:  # onnxruntime infers it
            return onnx.ValueInfoProto(name=name)
        return onnx.helper.make_tensor_value_info(name, _elem_type(spec.dtype), list(spec.shape))

    def fresh(self, hint: str) -> str:
        """A name that nothing else has."""
        name, count = hint, 1
        while name in self.taken:
            count += 1
            name = f"{hint}.{count}"
        self.taken.add(name)
        return name

    def constant(self, hint: str, array: Array) -> str:
        """A new initializer; returns its name."""
        name = self.fresh(hint)
        self.initializers[name] = array
        return name

    def want(self, name: str, perm: Perm = ()) -> str:
        """The ONNX tensor that is ours, transposed by `perm`; writes a Transpose where there is none yet."""
        perm = () if perm == tuple(range(len(perm))) else perm
        forms = self.forms.setdefault(name, {})
        if perm in forms:
            return forms[perm]
        if name in self.graph.constants:
            array = self.graph.constants[name]
            held = name if name not in self.initializers else self.fresh(f"{name}.transposed")
            self.initializers[held] = np.ascontiguousarray(array.transpose(perm)) if perm else array
            forms[perm] = held
            return held
        source, held = next(iter(forms.items()))
        order = perm if not source else tuple(source.index(axis) for axis in perm or range(len(source)))
        forms[perm] = self.fresh(f"{name}.transposed" if perm else f"{name}.plain")
        self._add("Transpose", [held], [forms[perm]], perm=list(order))
        return forms[perm]

    def _add(self, op: str, inputs: list[str], outputs: list[str], name: str = "", **attrs: Any) -> None:
        import onnx

        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        while name in self.node_names:  # ONNX wants each once
            name += "_"
        self.node_names |= {name} - {""}
        domain = find(op, name).domain
        self.domains |= {domain} - {""}
        self.nodes.append(onnx.helper.make_node(op, inputs, outputs, name, domain=domain, **attrs))

    def _rank(self, node: Node, name: str) -> int:
        rank = self.shapes.rank(name)
        if rank is None:
            raise GraphError(
                f"{node.label}: expected a known number of dimensions of {name!r}, got none; fix the inputs' shapes"
            )
        return rank

    def _write(self, node: Node) -> None:
        if node.guard:
            raise GraphError(
                f"{node.label}: expected a node that always runs, got one that {node.guard!r} skips: ONNX has no such thing; "
                "keep it as .alula"
            )
        if node.op == "Transpose":
            self._transpose(node)
            return
        if node.op == "Swish":
            self._swish(node)
            return
        attrs = self._attributes(node)
        spatial = find(node.op, node.label).channels_last
        transposed = self._spatial(node, spatial) if spatial else self._transposed(node, attrs)
        perm, inputs = transposed or ((), [self.want(name) if name else "" for name in node.inputs])
        outputs = list(node.outputs)
        for index, name in enumerate(node.outputs):
            if name:
                whole = spatial.outputs if spatial else range(len(outputs)) if node.op == "Split" else (0,)
                moved = perm if index in whole else ()
                outputs[index] = self._onnx_name(name) if moved else name
                self.forms[name] = {moved: outputs[index]}
        self._add(node.op, inputs, outputs, node.name, **attrs)

    def _onnx_name(self, name: str) -> str:
        """The name that a tensor had before it was transposed to channels last, if that is free."""
        plain = CHANNELS_LAST.sub("", name)
        return name if plain in self.taken else self.fresh(plain)

    def _spatial(self, node: Node, spatial: ChannelsLast) -> tuple[Perm, list[str]]:
        """A spatial op's inputs in ONNX's order; biases and statistics are vectors."""
        rank = self._rank(node, node.inputs[0])
        perm = to_first(rank) if rank > 2 else ()
        named = enumerate(node.inputs)
        return perm, [self.want(name, perm if i in spatial.inputs else ()) if name else "" for i, name in named]

    def _transpose(self, node: Node) -> None:
        """No node: the same ONNX tensor is another permutation of the result."""
        x, y = node.inputs[0], node.outputs[0]
        perm = node.attrs.perm or tuple(reversed(range(self._rank(node, x))))
        if x not in self.forms or not self.forms[x]:
            self.want(x)
        self.forms[y] = {}
        for source, held in self.forms[x].items():
            order = tuple(perm.index(axis) for axis in source or range(len(perm)))
            self.forms[y][() if order == tuple(range(len(perm))) else order] = held

    def _swish(self, node: Node) -> None:
        """Swish came with opset 24; older runtimes know its parts."""
        x, y = node.inputs[0], node.outputs[0]
        perm = next(iter(self.forms.get(x, {(): x})))
        source = inner = self.want(x, perm)
        if node.attrs.alpha != 1:
            spec = self.shapes.spec(x)
            alpha = self.constant(f"{y}.alpha", np.asarray(node.attrs.alpha, spec.dtype if spec else "float32"))
            inner = self.fresh(f"{y}.scaled")
            self._add("Mul", [source, alpha], [inner])
        gate = self.fresh(f"{y}.gate")
        self._add("Sigmoid", [inner], [gate])
        self._add("Mul", [source, gate], [y], node.name)
        self.forms[y] = {perm: y}

    def _transposed(self, node: Node, attrs: dict[str, Any]) -> tuple[Perm, list[str]] | None:
        """How to write a node on permuted inputs, if one is permuted and the op allows it; may change `attrs`."""
        variables = [name for name in node.inputs if name and name not in self.graph.constants]
        found = [perm for name in variables for perm in self.forms[name] if () not in self.forms[name]]
        if not found:
            return None
        perm = found[0]
        rank = len(perm)
        if is_pointwise(node):
            return self._transposed_pointwise(node, perm)
        if node.op in ALONG_AXIS:
            data = node.inputs if node.op == "Concat" else node.inputs[:1]
            if any(name in self.graph.constants or self.shapes.rank(name) != rank for name in data):
                return None
            attrs["axis"] = perm.index(getattr(node.attrs, "axis", 0) % rank)
            rest = [self.want(name) if name else "" for name in node.inputs[len(data) :]]
            return perm, [*(self.want(name, perm) for name in data), *rest]
        if node.inputs[0] not in variables or len(variables) != 1:
            return None
        extra = self._transposed_operands(node, perm)
        return None if extra is None else (perm, [self.want(node.inputs[0], perm), *extra])

    def _transposed_pointwise(self, node: Node, perm: Perm) -> tuple[Perm, list[str]] | None:
        names = []
        for name in node.inputs:
            rank = self.shapes.rank(name) if name else 0
            constant = self.graph.constants[name] if name and name in self.graph.constants else None
            if not name:
                names.append("")
            elif rank == len(perm):
                names.append(self.want(name, perm))
            elif rank == 0 or (constant is not None and constant.size == 1):
                names.append(self.want(name))
            elif constant is not None and rank is not None and rank < len(perm):
                wide = constant.reshape((1,) * (len(perm) - rank) + constant.shape).transpose(perm)
                names.append(self.constant(f"{name}.transposed", np.ascontiguousarray(wide)))
            else:
                return None
        return perm, names

    def _transposed_operands(self, node: Node, perm: Perm) -> list[str] | None:
        """The constant operands of an op, for an input in another order; None if it has no such rule."""
        operands = [self.graph.constants[name] if name else None for name in node.inputs[1:]]
        names = node.inputs[1:]
        rank = len(perm)
        if node.op == "Resize" and not node.attrs.axes:
            rows = [v if v is None or not v.size else v.reshape(-1, rank)[:, list(perm)].reshape(-1) for v in operands]
        elif node.op == "Pad" and not (len(names) > 2 and names[2]) and operands[0] is not None:
            rows = [operands[0].reshape(2, rank)[:, list(perm)].reshape(-1), *operands[1:]]
        elif node.op.startswith("Reduce") and node.attrs.keepdims and operands and operands[0] is not None:
            rows = [np.array([perm.index(int(axis) % rank) for axis in operands[0].reshape(-1)], np.int64)]
        else:
            return None
        return ["" if row is None else self.constant(f"{name}.transposed", row) for name, row in zip(names, rows)]

    def _attributes(self, node: Node) -> dict[str, Any]:
        """What differs from the defaults, as ONNX writes it."""
        import onnx

        attrs: dict[str, Any] = {}
        for field in dataclasses.fields(node.attrs):
            value = getattr(node.attrs, field.name)
            if value is None or value == () or (field.default is not dataclasses.MISSING and value == field.default):
                continue
            attrs[field.name] = list(value) if isinstance(value, tuple) else value
        if node.op == "Cast":
            attrs["to"] = _elem_type(node.attrs.to)
        elif node.op == "QuantizeLinear" and node.attrs.output_dtype:
            attrs["output_dtype"] = _elem_type(node.attrs.output_dtype)
        elif node.op == "EyeLike" and node.attrs.dtype:
            attrs["dtype"] = _elem_type(node.attrs.dtype)
        elif node.op == "ConstantOfShape":
            attrs = {"value": onnx.numpy_helper.from_array(np.array([node.attrs.value], node.attrs.dtype))}
        elif node.op in ("LSTM", "GRU", "RNN") and not node.attrs.hidden_size:
            shape = self.shapes.shape(node.inputs[2])
            attrs["hidden_size"] = shape[-1] if shape else 0
        self.opset = max(self.opset, _opset_for(node, set(attrs)))
        return attrs

    def _name_outputs(self) -> None:
        """Make every graph output an ONNX tensor of its own name, in our order."""
        from onnx import helper

        produced = {name for node in self.nodes for name in node.output}
        names: dict[str, str] = {}
        copies = []
        for name in self.graph.outputs:
            held = self.want(name)
            produced |= {name for node in self.nodes[-1:] for name in node.output}
            if held != name and held in produced and held not in self.graph.outputs and held not in names:
                names[held] = name
            elif held != name or held in self.initializers or held in self.graph.inputs:
                copies.append((held, name))
        spoken_for = set(names.values()) | {name for _, name in copies}
        for name in spoken_for & (produced | set(self.initializers) | set(self.graph.inputs)):
            if name not in names:  # another permutation has the output's name
                names[name] = self.fresh(f"{name}.transposed")
        for node in self.nodes:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        self.initializers = {names.get(name, name): array for name, array in self.initializers.items()}
        for held, name in copies:
            self.nodes.append(helper.make_node("Identity", [names.get(held, held)], [name]))


def _opset_for(node: Node, attributes: set[str]) -> int:
    """The opset that has the op with these attributes: 21, or a newer one if need be."""
    import onnx

    if find(node.op, node.label).domain:
        return OPSET
    if onnx.defs.has(node.op, OPSET) and attributes <= set(onnx.defs.get_schema(node.op, OPSET).attributes):
        return OPSET
    if not onnx.defs.has(node.op):
        raise GraphError(f"{node.label}: expected an op that ONNX has, got one of our own; keep the model as .alula")
    return int(onnx.defs.get_schema(node.op).since_version)


def _elem_type(dtype: str) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
