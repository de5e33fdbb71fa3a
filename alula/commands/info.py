"""`alula info F.alula`: what is in a packed file, and what a run needs."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from alula.arguments import add_file, add_shape, add_threads
from alula.report import Cell, Report, Table, count, size, tell_task

SHOWN_FLAGS = 3  # in the list of what they skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and the shapes to plan memory for."""
    add_file(parser)
    add_shape(parser)
    add_threads(parser)
    parser.add_argument("--tensors", action="store_true", help="a row for every tensor, also small ones")


def run(args: argparse.Namespace) -> Report:
    """Tensors, encodings and bits per weight; memory and multiply-adds for the given shapes."""
    from alula.host.inputs import parse_shapes
    from alula.runtime.artifact import open_artifact
    from alula.runtime.artifact.task import task_of
    from alula.runtime.errors import GraphError, ShapeError

    artifact = open_artifact(args.file)
    artifact.check_digest()
    if args.graph and args.graph not in artifact.graphs:
        raise GraphError(f"{args.file}: expected one of the graphs {', '.join(artifact.graphs)}, got {args.graph}")
    names = [args.graph] if args.graph else list(artifact.graphs)
    shapes = parse_shapes(args.shape)
    known = {key for name in names for key in artifact.graphs[name].inputs}
    if unknown := sorted(set(shapes) - known - {""}):
        raise ShapeError(
            f"{args.file}: expected shapes for the inputs {', '.join(sorted(known))}, got one for {unknown[0]}; check --shape"
        )
    graphs = [_graph(artifact, name, shapes, args.threads) for name in names]
    tasks = {name: task_of(artifact.metadata, name, str(args.file)) for name in names}
    tensors: list[dict[str, Any]] = [
        {"graph": t.graph, "tensor": t.name, "shape": t.spec.shape, "dtype": t.spec.dtype, "encoding": t.encoding,
         "bits_per_weight": t.bits_per_weight, "stored_bytes": t.stored_size}
        for t in artifact.tensors if t.graph in names
    ]  # fmt: skip
    document = {"path": str(args.file), "size_bytes": artifact.size, "digest": artifact.digest,
                "metadata": artifact.metadata, "graphs": graphs, "tensors": tensors}  # fmt: skip
    parts: list[Table | str] = [_tensor_table(tensors, args.tensors), _graph_table(graphs)]
    if without := [g["unplanned"] for g in graphs if g.get("kernels") is False]:
        parts.append(f"memory and multiply-adds need kernels; {without[0]}")
    elif unplanned := [g["graph"] for g in graphs if g["unplanned"] and not g.get("data_dependent")]:
        parts.append(
            f"{', '.join(unplanned)}: memory and multiply-adds need sizes for free dimensions, "
            f"as in --graph {unplanned[0]} --shape 1,3,48,320"
        )
    parts += [
        f"{g['graph']}: planned while it runs, since shapes depend on data: {g['data_dependent']}"
        for g in graphs
        if g.get("data_dependent")
    ]
    parts += [
        f"{g['graph']}: without a kernel, run in NumPy: {', '.join(g['reference_nodes'])}"
        for g in graphs
        if g.get("reference_nodes")
    ]
    parts += [_guards(g) for g in graphs if g["guards"]]
    parts += [f"{name}: {tell_task(task)}" for name, task in tasks.items() if task]
    weights = sum(t.spec.size for t in artifact.tensors if t.graph in names)
    bits = 8 * sum(t["stored_bytes"] for t in tensors) / max(weights, 1)
    parts.append(
        f"{args.file}: {size(artifact.size)}, {count(weights)} weights at {bits:.2f} bits each, digest {artifact.digest[:16]}"
    )
    return Report(document, parts)


def _graph(artifact: Any, name: str, shapes: dict[str, tuple[int, ...]], threads: int | None) -> dict[str, Any]:
    """One graph: its inputs, and its plan if its shapes are known."""
    from alula.host.inputs import resolve_shapes
    from alula.runtime.errors import CompilerError, GraphError, ShapeError
    from alula.runtime.model import Model
    from alula.runtime.planning.segments import data_dependent

    graph = artifact.graphs[name]
    row: dict[str, Any] = {
        "graph": name, "inputs": {n: str(spec) for n, spec in graph.inputs.items()}, "outputs": list(graph.outputs),
        "nodes": len(graph.nodes), "ops": dict(Counter(node.op for node in graph.nodes).most_common()), "unplanned": "",
        "guards": dict(Counter(node.guard for node in graph.nodes if node.guard).most_common()),
    }  # fmt: skip
    mine = {key: shape for key, shape in shapes.items() if key in graph.inputs or not key}
    try:
        chosen = resolve_shapes(graph.inputs, mine, name)
        model = Model(graph, threads)
        program = model.program(chosen)
    except (ShapeError, GraphError) as error:
        waits = data_dependent(graph)
        if mine and not waits:
            raise  # asked for, and refused
        return {**row, "unplanned": str(error), "data_dependent": waits.label if waits else ""}
    except CompilerError as error:
        return {**row, "unplanned": str(error), "kernels": False}
    return row | {
        "shapes": {key: list(shape) for key, shape in chosen.items()}, "weight_bytes": model.weight_bytes,
        "arena_bytes": program.arena_bytes, "macs": program.macs, "instructions": len(program.instructions),
        "reference_nodes": [node.label for node in program.reference_nodes],
    }  # fmt: skip


def _guards(row: dict[str, Any]) -> str:
    """Which flags skip how many nodes."""
    flags = ", ".join(f"{flag} ({number})" for flag, number in list(row["guards"].items())[:SHOWN_FLAGS])
    flags += f" and {len(row['guards']) - SHOWN_FLAGS} more" if len(row["guards"]) > SHOWN_FLAGS else ""
    return (
        f"{row['graph']}: {sum(row['guards'].values())} of {row['nodes']} nodes are skipped where a flag is 0: {flags}"
    )


def _tensor_table(tensors: list[dict[str, Any]], every: bool) -> Table:
    """A row for each tensor; those that are less than 1 % of the file together in one row, unless all are wanted."""
    total = sum(t["stored_bytes"] for t in tensors)
    shown = [t for t in tensors if every or t["stored_bytes"] >= 0.01 * total]
    rows: list[tuple[Cell, ...]] = [
        (
            t["graph"],
            t["tensor"],
            "x".join(map(str, t["shape"])),
            t["encoding"],
            f"{t['bits_per_weight']:.2f}",
            size(t["stored_bytes"]),
        )
        for t in shown
    ]
    if rest := len(tensors) - len(shown):
        small = total - sum(t["stored_bytes"] for t in shown)
        rows.append(("", f"{rest} more (--tensors shows them)", "", "", "", size(small)))
    return Table(("graph", "tensor", "shape", "encoding", "bits per weight", "stored"), rows)


def _graph_table(graphs: list[dict[str, Any]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for g in graphs:
        inputs = ", ".join(f"{name} {spec}" for name, spec in g["inputs"].items())
        planned = ("", "", "", "") if g["unplanned"] else (
            " ".join("x".join(map(str, s)) for s in g["shapes"].values()), size(g["weight_bytes"]), size(g["arena_bytes"]), count(g["macs"])
        )  # fmt: skip
        rows.append((g["graph"], inputs, g["nodes"], *planned))
    return Table(("graph", "inputs", "nodes", "planned for", "weights", "activations", "multiply-adds"), rows)
