"""Commands in hostile surroundings and on hostile files: what must never come of them is more than a line.

A command runs in a child that is forked from this process, so that its surroundings (variables, user, streams) are its
own and nothing is imported anew. What it may do: end with a status of the command line, say one line of less than 300
characters on standard error if it refuses, and be done in time.
"""

from __future__ import annotations

import io
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

STATUSES = {0, 1, 2, 130}
MAX_LINE = 300
MAX_BYTES = 1 << 30  # that a command may take beside what was mapped before
PROGRESS = "packed networks: "  # what the demo says it does
STRANGER = 12345  # a user without a name


@dataclass(frozen=True)
class Surroundings:
    """Where a command runs.

    variables : set in its environment; one that is None is not there
    encoding  : of standard output, which refuses what it cannot encode
    closed    : of the descriptors 0, 1 and 2
    output    : "pipe"; or "full", a disk without room; or "gone", a pipe that nobody reads
    user      : as whom it runs, if this process may choose
    folder    : where it runs; the current one if empty
    """

    name: str
    variables: Mapping[str, str | None] = field(default_factory=dict)
    encoding: str = "utf-8"
    closed: tuple[int, ...] = ()
    output: str = "pipe"
    user: int | None = None
    folder: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    said: str
    complained: str
    seconds: float
    grown_bytes: int = 0
    can_complain: bool = True

    @property
    def is_bad(self) -> str:
        """What it should not have done; empty if nothing."""
        lines = [line for line in self.complained.splitlines() if not line.startswith(PROGRESS)]
        if self.seconds < 0:
            return "did not end"
        if "Traceback" in self.complained or "internal fault" in self.complained:
            return f"a fault: {lines[-1] if lines else ''}"
        if self.grown_bytes > MAX_BYTES:
            return f"took {self.grown_bytes / 1e9:.1f} GB"
        if self.status not in STATUSES:
            return f"status {self.status}: {self.complained[-200:]}"
        if self.status == 2 and self.can_complain and (len(lines) != 1 or len(lines[0]) >= MAX_LINE):
            return f"{len(lines)} lines, {max(map(len, lines), default=0)} characters: {self.complained[:400]}"
        return ""


PLAIN = Surroundings("plain")


def surroundings(folder: Path) -> list[Surroundings]:
    """All of them; `folder` is for what they need."""
    a_file, locked = folder / "file", folder / "locked"
    a_file.write_text("no folder")
    locked.mkdir(mode=0o500)
    strange = folder / "a folder with späces, ümlauts and \udcff"
    strange.mkdir()
    nowhere = {"HOME": None, "XDG_CACHE_HOME": None, "XDG_DATA_HOME": None, "TMPDIR": str(folder / "absent")}
    return [
        PLAIN,
        Surroundings("no HOME", {"HOME": None}),
        Surroundings("HOME is a file", {"HOME": str(a_file), "XDG_CACHE_HOME": None}),
        Surroundings("HOME is not there", {"HOME": str(folder / "absent"), "XDG_CACHE_HOME": None}),
        Surroundings("no folder is there", nowhere),
        Surroundings("no name, no HOME", nowhere, user=STRANGER),
        Surroundings("somebody else's HOME", {"HOME": "/root", "XDG_CACHE_HOME": None}, user=STRANGER),
        Surroundings("a cache that cannot be written", {"XDG_CACHE_HOME": str(locked)}, user=STRANGER),
        Surroundings("a cache that is a file", {"XDG_CACHE_HOME": str(a_file), "TMPDIR": str(a_file)}),
        Surroundings("ASCII", {"LC_ALL": "C", "LANG": None}, encoding="ascii"),
        Surroundings("strict UTF-8", encoding="utf-8"),
        Surroundings("no standard input", closed=(0,)),
        Surroundings("no standard output", closed=(1,)),
        Surroundings("no standard error", closed=(2,)),
        Surroundings("no streams", closed=(0, 1, 2)),
        Surroundings("a full disk", output="full"),
        Surroundings("a reader that is gone", output="gone"),
        Surroundings("a strange folder", folder=str(strange)),
        Surroundings("a folder to read only", user=STRANGER, folder=str(locked)),
    ]


def run(words: Sequence[str | Path], around: Surroundings = PLAIN, limit_s: float = 30.0) -> Outcome:
    """A command in its surroundings. seconds is -1 if it was killed at the limit."""
    output, complaints = os.pipe(), os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            _settle(around, output[1], complaints[1])
            os._exit(_main([os.fspath(word) for word in words]))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(99)
    os.close(output[1])
    os.close(complaints[1])
    texts = {output[0]: b"", complaints[0]: b""}
    is_killed = False
    open_pipes = set(texts)
    while open_pipes:
        ready = select.select(list(open_pipes), [], [], max(0.0, start + limit_s - time.monotonic()))[0]
        if not ready:
            os.killpg(child, signal.SIGKILL)
            is_killed = True
            break
        for pipe in ready:
            part = os.read(pipe, 1 << 16)
            texts[pipe] += part
            if not part:
                open_pipes.discard(pipe)
    _, code, usage = os.wait4(child, 0)
    for pipe in texts:
        os.close(pipe)
    said, complained = (texts[pipe].decode("utf-8", "backslashreplace") for pipe in (output[0], complaints[0]))
    seconds = -1.0 if is_killed else time.monotonic() - start
    grown = 1024 * usage.ru_maxrss - _pages(1)
    return Outcome(os.waitstatus_to_exitcode(code), said, complained, seconds, grown, 2 not in around.closed)


def _settle(around: Surroundings, output: int, complaints: int) -> None:
    """Make the surroundings this process's own."""
    if around.output == "full":
        output = os.open("/dev/full", os.O_WRONLY)
    elif around.output == "gone":
        reader, output = os.pipe()
        os.close(reader)
    for number, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, complaints)):
        os.dup2(source, number)
    os.closerange(3, 256)
    for name, value in around.variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    os.environ.pop("ALULA_TRACEBACK", None)
    if around.folder:
        os.chdir(around.folder)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_pages(0) + 4 * MAX_BYTES, resource.RLIM_INFINITY))
    if around.user is not None and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(around.user)
        os.setuid(around.user)
    streams = {
        number: None if number in around.closed else io.TextIOWrapper(io.FileIO(number, mode, closefd=False), encoding, errors)
        for number, mode, encoding, errors in (
            (0, "r", "utf-8", "strict"),
            (1, "w", around.encoding, "strict"),
            (2, "w", around.encoding, "backslashreplace"),
        )
    }  # fmt: skip
    sys.stdin, sys.stdout, sys.stderr = streams[0], streams[1], streams[2]  # type: ignore[assignment]
    for number in around.closed:
        os.close(number)


def _pages(column: int) -> int:
    """Bytes that this process has mapped (0), and that are in memory (1)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[column]) * resource.getpagesize()


def _main(words: list[str]) -> int:
    """The command, and what Python does at its end: 120 if its output cannot be written."""
    from alula.cli import main

    try:
        status = main(words)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            return 120
    return status


@dataclass(frozen=True)
class Inputs:
    """What commands are run on: a small network and its data, in one folder."""

    folder: Path
    onnx: Path
    packed: Path
    array: Path
    images: Path


def good_inputs(folder: Path) -> Inputs:
    """A convolution and a layer, an input for them, and a folder of images in two classes."""
    from alula.host.onnx.importer import import_onnx
    from alula.host.pack import pack
    from alula.runtime.data.opencv import opencv

    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 3, 3, 3)), "v": rng.standard_normal((2, 4)), "b": np.zeros(2)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "b"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    inputs = Inputs(folder, *(folder / name for name in ("net.onnx", "net.alula", "x.npy", "images")))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    inputs.onnx.write_bytes(model.SerializeToString())
    pack({"net": import_onnx(inputs.onnx, "net")}, inputs.packed)
    np.save(inputs.array, rng.standard_normal((1, 3, 8, 8)).astype(np.float32))
    for split, count in (("train", 4), ("test", 2)):
        for name in ("straße", "weg"):
            place = inputs.images / split / name
            place.mkdir(parents=True)
            for i in range(count):
                opencv("images").imwrite(str(place / f"{i}.png"), rng.integers(0, 255, (8, 8, 3), np.uint8))
    return inputs


def commands(inputs: Inputs, out: Path) -> dict[str, list[str | Path]]:
    """Every command, on what is right. `out` can be written to."""
    return {
        "pack": ["pack", inputs.onnx, "-o", out / "packed.alula"],
        "info": ["info", inputs.packed],
        "info --json": ["info", inputs.packed, "--json"],
        "verify": ["verify", inputs.packed, "--against", inputs.onnx],
        "run": ["run", inputs.packed, inputs.array],
        "train": [
            "train",
            inputs.onnx,
            "--data",
            inputs.images,
            "--epochs",
            "1",
            "--batch",
            "4",
            "-o",
            out / "trained.alula",
        ],
        "bench": ["bench", inputs.packed, "--rounds", "1", "--threads", "1"],
        "export": ["export", inputs.packed, "-o", out / "exported.onnx"],
        "kernels": ["kernels", "where"],
        "demo": ["demo", "--model", inputs.packed, "--out", out / "demo", "--frames", "1"],
        "doctor": ["doctor"],
        "power list": ["power", "list"],
        "power log": ["power", "log", "--meter", "model", "--for", "200ms", "--out", out / "energy.csv"],
        "power log command": ["power", "log", "--meter", "model", "--prometheus", out / "energy.prom", "--", "true"],
        "power idle": ["power", "idle", "--meter", "model", "--for", "300ms", "--out", out / "idle.json"],
        "zoo": ["zoo"],
        "help": ["--help"],
        "nothing": [],
    }


MAGICS = {
    "png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff\xe0", "gif": b"GIF89a", "bmp": b"BM", "tiff": b"II*\0",
    "webp": b"RIFF\x20\0\0\0WEBPVP8 ", "zip": b"PK\x03\x04", "gzip": b"\x1f\x8b\x08", "elf": b"\x7fELF\x02\x01\x01",
    "npy": b"\x93NUMPY\x01\0v\0{'descr': '<f4', ", "alula": b"ALULA\0\0\0\1\0\0\0", "mp4": b"\0\0\0\x20ftypisom",
    "avi": b"RIFF\xff\0\0\0AVI LIST", "onnx": b"\x08\x08\x12\x07pytorch:", "idx": b"\0\0\x08\x03\0\0\xff\xff", "pickle": b"\x80\x04c",
}  # fmt: skip


def hostile_files(folder: Path, good: Path, magics: Sequence[str] = tuple(MAGICS)) -> dict[str, Path]:
    """Files with the suffix of a good one that are anything but it; some begin as files of other types."""
    rng, content, suffix = np.random.default_rng(0), good.read_bytes(), good.suffix
    files = {
        name: folder / f"{name}{suffix}"
        for name in ("empty", "random", "cut", "one byte", "changed", "closed", "sparse")
    }
    files["empty"].write_bytes(b"")
    files["one byte"].write_bytes(content[:1])
    files["random"].write_bytes(rng.bytes(4096))
    files["cut"].write_bytes(content[: len(content) * 2 // 3])
    changed = bytearray(content)
    changed[len(content) // 2] ^= 0x55
    files["changed"].write_bytes(changed)
    files["closed"].write_bytes(content)
    files["closed"].chmod(0)
    with files["sparse"].open("wb") as file:
        file.write(content)
        file.truncate(1 << 40)
    for name in magics:
        files[name] = folder / f"{name} magic{suffix}"
        files[name].write_bytes(MAGICS[name] + rng.bytes(300))
    files["folder"] = folder / f"folder{suffix}"
    files["folder"].mkdir()
    files["fifo"] = folder / f"fifo{suffix}"
    os.mkfifo(files["fifo"])
    for name, target in (("zero", "/dev/zero"), ("null", "/dev/null"), ("loop", f"loop{suffix}")):
        files[name] = folder / f"{name}{suffix}"
        files[name].symlink_to(target)
    files["absent"] = folder / f"absent{suffix}"
    files["name"] = folder / f"n\udcffme\n\x1b[31m{suffix}"
    files["name"].write_bytes(rng.bytes(64))
    return files
