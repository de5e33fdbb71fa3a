"""`alula zoo [NAME -o MODEL.onnx]`: the field's networks as ONNX models, with random or trained weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alula.arguments import natural, positive
from alula.imaging import size as image_size
from alula.outputs import check_outputs, check_suffix
from alula.report import Cell, Report, Table, count, size
from alula.runtime.errors import DataError
from alula.runtime.files import write_whole

if TYPE_CHECKING:
    from alula.host.zoo import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, with which weights."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a network; default: list them all")
    parser.add_argument("-o", "--output", type=Path, metavar="MODEL.onnx", help="file to write; default: NAME.onnx")
    parser.add_argument("--seed", type=natural, default=0, help="seed of random weights (0)")
    parser.add_argument("--classes", type=positive, metavar="N", help="number of classes, if not the network's own")
    parser.add_argument("--size", type=image_size, metavar="H,W", help="of the image, if not the network's own")
    parser.add_argument("--pretrained", action="store_true", help="trained weights; without NAME: list which there are")


def run(args: argparse.Namespace) -> Report:
    """List the networks, or write one."""
    from alula.host.zoo import build

    if args.name is None:
        told = {"-o": args.output, "--seed": args.seed, "--classes": args.classes, "--size": args.size}
        for option in (option for option, value in told.items() if value):
            raise DataError(f"zoo: expected the name of a network with {option}, got none; `alula zoo` lists them")
        return _trained() if args.pretrained else _all()
    check_outputs([args.output])
    check_suffix(args.output, is_onnx=True)
    model = build(args.name, args.seed, args.classes, "pretrained" if args.pretrained else None, args.size)
    path = args.output or Path(f"{args.name}.onnx")
    content = model.SerializeToString()
    write_whole(path, lambda handle: handle.write(content))
    return Report(
        {"path": str(path), "network": args.name, "size_bytes": len(content)}, [f"{path}: {size(len(content))}"]
    )


def _all() -> Report:
    """Every network."""
    from alula.host.zoo import PRETRAINED, ZOO

    rows: list[tuple[Cell, ...]] = []
    networks: list[dict[str, Any]] = []
    for name, entry in ZOO.items():
        package = PRETRAINED[name].package if name in PRETRAINED else None
        rows.append((name, entry.task, _image(entry), entry.num_classes, count(entry.parameters), package))
        networks.append({"name": name, "task": entry.task, "input_shape": entry.input_shape, "classes": entry.num_classes,
                         "parameters": entry.parameters, "names": entry.names, "pretrained": package})  # fmt: skip
    columns = ("network", "task", "image", "classes", "parameters", "trained weights in")
    return Report({"networks": networks}, [Table(columns, rows)])


def _trained() -> Report:
    """Those that have trained weights, and which package brings them."""
    from alula.host.zoo import PRETRAINED, ZOO

    rows: list[tuple[Cell, ...]] = []
    networks: list[dict[str, Any]] = []
    for name, source in PRETRAINED.items():
        installed = source.path() is not None
        rows.append(
            (name, _image(ZOO[name]), source.data, source.licence, "yes" if installed else "no", source.package)
        )
        networks.append({"name": name, "data": source.data, "licence": source.licence, "installed": installed,
                         "package": source.package})  # fmt: skip
    columns = ("network", "image", "trained on", "licence", "installed", "pip install")
    return Report({"networks": networks}, [Table(columns, rows)])


def _image(entry: Entry) -> str:
    return "x".join(map(str, entry.input_shape))
