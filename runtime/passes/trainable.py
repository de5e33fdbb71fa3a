"""A network as it is trained: optimised, but for what folds parameters into one another."""

from __future__ import annotations

from dataclasses import replace

from alula.runtime.graph import Arrays, Graph, TensorSpec
from alula.runtime.passes import PASSES
from alula.runtime.passes.affine import fold_affine
from alula.runtime.passes.batch_norm import open_batch_norm
from alula.runtime.passes.fusion import fuse_epilogues
from alula.runtime.passes.names import restore_names


def trainable_form(graph: Graph) -> Graph:
    """The network as it is trained: every pass but those that fold parameters into one another or hide tensors.

    What several nodes read is an input to the passes: none of them may give one reader a weight of its own.
    """
    shared = {name: graph.constants[name] for name in tied(graph)}
    own = (
        Arrays({name: graph.constants[name] for name in graph.constants if name not in shared})
        if shared
        else graph.constants
    )
    inputs = {**graph.inputs, **{name: TensorSpec.of(array) for name, array in shared.items()}}
    form = replace(graph, inputs=inputs, constants=own)
    for rewrite in PASSES:
        if rewrite not in (open_batch_norm, fold_affine, fuse_epilogues):
            form = rewrite(form)
    read = {name for node in form.nodes for name in node.reads} | set(form.outputs)
    kept = {name: array for name, array in shared.items() if name in read}
    pool = Arrays({**{name: form.constants[name] for name in form.constants}, **kept}) if kept else form.constants
    return restore_names(replace(form, inputs=graph.inputs, constants=pool))


def tied(graph: Graph) -> list[str]:
    """The float32 constants that are read or put out more than once: what is done to one copy must be done to all.

    A pass that folds a Transpose of one, or lays one out anew, would make two weights of it; one that folds an
    Expand or a Gather, several.
    """
    counts: dict[str, int] = {}
    reads = [*graph.outputs, *(name for node in graph.nodes for name in node.reads)]
    for name in reads:
        if name in graph.constants:
            counts[name] = counts.get(name, 0) + 1
    specs = {name: graph.constants.spec(name) for name, count in counts.items() if count > 1}
    repeated = {node.inputs[0] for node in graph.nodes if node.op in ("Expand", "Tile", "Gather")}
    specs.update({name: graph.constants.spec(name) for name in repeated if name in graph.constants})
    return [name for name, spec in specs.items() if spec.dtype == "float32" and spec.size > 1]
