"""The rivals' aarch64 wheels on the emulated boards, counted as our networks are: N runs of the process subtracted from 2N.

ncnn reads its own format: pnnx's wheel from PyPI has the program that converts ONNX, which runs here. What it writes is not
kept. Detectors are changed where ncnn could not take them (`for_ncnn.py`). A wheel's counts never change, so `rivals.json`
keeps them with the versions that they are of.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from alula.host.ort import OrtModel
from tests.arm.boards import Board, folder
from tests.arm.counting import environment, plugin
from tests.arm.for_ncnn import for_ncnn
from tests.bench.networks import Network

STORED = Path(__file__).with_name("rivals.json")
PNNX = "pnnx==20261020"
ENGINES = ("onnxruntime", "ncnn")  # in float32: those that ours are compared with
TRAINING = "torch"  # the one whose steps of training are counted
HALF = "ncnn-fp16"  # ncnn's default on a CPU with half precision; not the same arithmetic, so for information
HALF_BOARD = "pi5"
# How far an answer may be from onnxruntime's on this machine, relative to its largest value
TOLERANCE_RATIO = {"onnxruntime": 1e-4, "ncnn": 1e-3, HALF: 0.2}

Counts = dict[str, dict[str, dict[str, Any]]]  # CPU, network, engine -> instructions, difference_ratio, version


def converter() -> Path:
    """pnnx's program, installed once beside the boards."""
    place = folder() / "pnnx"
    program = place / "pnnx" / "pnnx"
    if not program.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _checked([*command, "--target", str(place), PNNX], "pip")
    return program


def convert(network: Network, where: Path) -> Path:
    """A network in ncnn's format: the stem of its two files."""
    target = where / re.sub(r"\W", "_", network.name)
    (shape,) = network.shapes.values()
    sizes = ",".join(map(str, shape))
    names = {
        f"{kind}{part}": f"{target}.{kind}.{ending}"
        for kind in ("pnnx", "ncnn")
        for part, ending in (("param", "param"), ("bin", "bin"))
    } | {
        "pnnxpy": f"{target}_pnnx.py",
        "ncnnpy": f"{target}_ncnn.py",
        "pnnxonnx": f"{target}.pnnx.onnx",
    }
    link = where / f"{target.name}.onnx"  # pnnx writes beside its input as well
    link.write_bytes(network.onnx.read_bytes())
    options = [f"{name}={path}" for name, path in names.items()]
    _checked([str(converter()), str(link), f"inputshape=[{sizes}]", "fp16=0", *options], "pnnx")
    return target


def measure(
    boards: list[Board], networks: dict[str, Network], arrays: dict[str, Path], jobs: int, folder: Path
) -> Counts:
    """Count both rivals on every board, and ncnn's own default where it is something else."""
    given = {("onnxruntime", name): (network.onnx, arrays[name]) for name, network in networks.items()}
    for name, network in networks.items():
        taken = for_ncnn(network, folder)
        values = arrays[name] if taken is network else expected(taken, folder)
        given["ncnn", name] = given[HALF, name] = convert(taken, folder), values
    work = [
        (board, engine, name)
        for name in networks
        for engine in (*ENGINES, HALF)
        for board in boards
        if engine != HALF or board.name == HALF_BOARD
    ]
    with ThreadPoolExecutor(jobs) as pool:
        rows = list(pool.map(lambda item: count(item[0], item[1], *given[item[1], item[2]]), work))
    counts: Counts = {board.cpu: {name: {} for name in networks} for board in boards}
    for (board, engine, name), row in zip(work, rows, strict=True):
        if row is not None:
            counts[board.cpu][name][engine] = row
    return counts


def expected(network: Network, folder: Path) -> Path:
    """The network's input and onnxruntime's answer here, for every engine on every board."""
    path = folder / f"{network.name}.npz"
    answer = OrtModel(network.onnx, 1)(network.values)
    arrays = {f"in {key}": value for key, value in network.values.items()}
    np.savez(path, **arrays, **{f"out {key}": value for key, value in answer.items()})
    return path


def count(board: Board, engine: str, model: Path, arrays: Path) -> dict[str, Any] | None:
    """Instructions of one run. The answer must be near the expected one; None where that of half precision is not."""
    row = run_counted(board, engine, model, arrays)
    if row["difference_ratio"] <= TOLERANCE_RATIO[engine]:
        return row
    line = (
        f"{board.name}: expected {engine}'s answer on {model.name} within {TOLERANCE_RATIO[engine]:g} of "
        f"onnxruntime's on this machine, got {row['difference_ratio']:.2e}; not counted"
    )
    if engine != HALF:
        sys.exit(line)
    print(line, file=sys.stderr)  # values up to 255 exceed it, for example
    return None


def run_counted(board: Board, engine: str, model: Path, given: Path | str) -> dict[str, Any]:
    """What count_rivals.py tells of one engine on a board."""
    library = engine.partition("-")[0]
    result = board.python(
        "-m", "tests.arm.count_rivals", engine, model, given,
        plugin=f"{plugin()},region=later", env=environment(), extras=(library,), timeout_s=1800,
    )  # fmt: skip
    if result.returncode:
        reason = " ".join(result.stderr.split())[-300:]
        sys.exit(f"{board.name}: expected counts of {engine} on {model.name}, got {reason}")
    row: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return row


def stored() -> Counts:
    """The counts that were kept."""
    counts: Counts = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    return counts


def store(counts: Counts) -> None:
    """Keep counts; those of networks and boards that were not counted now stay."""
    merged = stored()
    for cpu, networks in counts.items():
        for network, engines in networks.items():
            merged.setdefault(cpu, {}).setdefault(network, {}).update(engines)
    STORED.write_text(json.dumps(merged, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _checked(command: list[str], what: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode:
        reason = " ".join((result.stderr or result.stdout).split())[-300:]
        sys.exit(f"{what}: expected exit status 0, got {result.returncode}: {reason}")
