"""`alula zoo [NAME -o MODEL.onnx]`: the field's networks as ONNX models, with random or trained weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from alula.arguments import positive
from alula.outputs import check_outputs
from alula.report import Cell, Report, Table, size
from alula.runtime.files import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, with which weights."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a network; default: list them all")
    parser.add_argument("-o", "--output", type=Path, metavar="MODEL.onnx", help="file to write; default: NAME.onnx")
    parser.add_argument("--seed", type=int, default=0, help="seed of random weights (0)")
    parser.add_argument("--classes", type=positive, metavar="N", help="number of classes, if not the network's own")
    parser.add_argument("--pretrained", action="store_true", help="trained weights, if there are any")


def run(args: argparse.Namespace) -> Report:
    """List the networks, or write one."""
    from alula.host.zoo import ZOO, build

    if args.name is None:
        rows: list[tuple[Cell, ...]] = [
            (name, "x".join(map(str, entry.input_shape)), entry.num_classes) for name, entry in ZOO.items()
        ]
        document = {
            "networks": [{"name": n, "input_shape": e.input_shape, "classes": e.num_classes} for n, e in ZOO.items()]
        }
        return Report(document, [Table(("network", "image", "classes"), rows)])
    check_outputs([args.output])
    model = build(args.name, args.seed, args.classes, "pretrained" if args.pretrained else None)
    path = args.output or Path(f"{args.name}.onnx")
    content = model.SerializeToString()
    write_whole(path, lambda handle: handle.write(content))
    return Report(
        {"path": str(path), "network": args.name, "size_bytes": len(content)}, [f"{path}: {size(len(content))}"]
    )
