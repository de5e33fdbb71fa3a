"""Fuse element-wise nodes into their producer's epilogue, which works on the result while it is in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from alula.runtime.graph import Graph, Node
from alula.runtime.ops import epilogue
from alula.runtime.ops.contract import find
from alula.runtime.passes.rewrite import Rewrite, renamed
from alula.runtime.passes.shapes import Shapes


def fuse_epilogues(graph: Graph) -> Graph:
    """Append to each host the element-wise nodes that alone read its result.

    A stage may need other tensors; they are computed before the host, whose place in the order moves back if it must.
    Nothing that is needed can depend on the host, since the stage alone reads its result.
    """
    shapes, rewrite = Shapes(graph), Rewrite(graph, guarded=True)
    for node in rewrite.nodes():
        if rewrite.holds(node) and _is_stage(rewrite, node):
            _fuse(rewrite, shapes, node)
    return rewrite.graph()


def unfuse_epilogues(graph: Graph) -> Graph:
    """Every stage of every epilogue as a separate node.

    What lay between a node and its epilogue gets a new name: another node may be given an epilogue that ends in the same
    tensor, and would take the old name for its own.
    """
    rewrite, nodes = Rewrite(graph), list[Node]()
    for node in graph.nodes:
        names = {node.body_output: rewrite.fresh(f"{node.outputs[0]}|unfused")} if node.fused else {}
        nodes += [renamed(part, partial(_named, names)) for part in epilogue.unfuse(node)]
    return graph.with_nodes(nodes)


def _named(names: Mapping[str, str], name: str) -> str:
    return names.get(name, name)


def _fuse(rewrite: Rewrite, shapes: Shapes, stage: Node) -> None:
    """Hang a node on the producer of one of its inputs: the one that comes last, whose memory is the warmest."""
    hosts = [host for name in dict.fromkeys(stage.inputs) if name and (host := _host(rewrite, shapes, stage, name))]
    if not hosts:
        return
    host = max(hosts, key=lambda node: (find(node.op, node.label).hosts, rewrite.place(node)))
    before, output = host.outputs[0], stage.outputs[0]
    body, whole = f"{output}|body", stage
    if host.body_output != body and rewrite.is_known(body):
        return
    stage = replace(stage, guard="", otherwise=())
    if host.fused:
        stages_of_host = list(host.fused)
        first = stages_of_host[0]
        stages_of_host[0] = replace(
            first, inputs=tuple(body if name == host.body_output else name for name in first.inputs)
        )
        stages_of_host.append(stage)
    else:
        stages_of_host = [replace(stage, inputs=tuple(body if name == before else name for name in stage.inputs))]
    outputs, otherwise = (output, *host.outputs[1:]), ((whole.otherwise or ("",))[0], *host.otherwise[1:])
    fused = replace(host, outputs=outputs, fused=tuple(stages_of_host), otherwise=otherwise if any(otherwise) else ())
    rewrite.exchange([host, whole], [fused])


def _is_stage(rewrite: Rewrite, node: Node) -> bool:
    """Whether kernels can run the node in an epilogue."""
    if len(node.outputs) != 1 or not node.inputs:
        return False
    if node.op == "Clip":
        return all(not name or rewrite.scalar(name) is not None for name in node.inputs[1:])
    if node.op == "ClipGrad":
        return all(not name or rewrite.scalar(name) is not None for name in node.inputs[2:])
    if node.op == "Pow":
        return rewrite.scalar(node.inputs[1]) in (0.5, 1.0, 2.0)
    return find(node.op, node.label).elementwise and len(node.inputs) <= 2


def _host(rewrite: Rewrite, shapes: Shapes, stage: Node, tensor: str) -> Node | None:
    """The producer of a tensor, if `stage` may be appended to it."""
    host = rewrite.maker(tensor)
    if host is None or host.outputs[0] != tensor or tensor in rewrite.outputs or rewrite.readers(tensor) != [stage]:
        return None
    if (
        stage.fused
        or len(host.fused) >= epilogue.MAX_STAGES
        or not (find(host.op, host.label).hosts or _is_stage(rewrite, host))
    ):
        return None
    if host.guard != stage.guard or any(host.otherwise[:1]):
        return None
    if host.op == "Pow":  # a stage, but not a kernel of its own
        return None
    if (stage.op in ("Clip", "Pow", "PRelu") or stage.op.endswith("Grad")) and (
        stage.inputs[0] != tensor or tensor in stage.inputs[1:]
    ):
        return None
    if stage.inputs.count(tensor) > 1 and stage.op not in ("Add", "Mul"):
        return None
    before, after = shapes.spec(tensor), shapes.spec(stage.outputs[0])
    if before is None or after is None or before.dtype != "float32" or after.dtype != "float32":
        return None
    others = [name for name in stage.inputs if name and name != tensor]
    for name in others:
        shape = shapes.shape(name)
        if shape is None or epilogue.operand_kind(before.shape, shape) is None:
            return None
    return host
