"""The command `alula`. Each command is a file in `commands/`, imported only when it runs.

A command's file has `add_arguments(parser)` and `run(args) -> Report`. Exit status: 0 done, 1 done and the answer is no
(for example, a difference above the tolerance), 2 refused with one line on standard error, 70 a fault of ours, 130
interrupted (Ctrl-C), 143 terminated (SIGTERM, from systemd or `kill`), 129 hung up. The last three close the command's
files first.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import alula
from alula import faults, streams

if TYPE_CHECKING:
    from alula.report import Report

COMMANDS = {
    "pack": "pack ONNX models into one .alula file",
    "info": "show what is in an .alula file: tensors, encodings, memory, work",
    "verify": "compare an .alula file with its ONNX model, run by onnxruntime",
    "run": "name what is in images and videos, read signs, or run a model on an array",
    "train": "train a network in place on images with labels",
    "eval": "say how often a network names the right class, and which it confuses",
    "bench": "time an .alula file, and onnxruntime for comparison",
    "power": "measure energy: list the meters, log a command, check, calibrate and compare",
    "export": "write a graph of an .alula file as an ONNX model",
    "kernels": "list the kernels, build them, or say where they are",
    "demo": "pack the OCR networks, read the flight video and write a report",
    "doctor": "say what this machine is, what works on it, and how to fix the rest",
    "zoo": "write a network of the zoo as an ONNX model",
}


ENDINGS = {signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


class Terminated(KeyboardInterrupt):
    """A signal that asks the command to end. It closes what Ctrl-C closes."""

    def __init__(self, number: int) -> None:
        super().__init__(ENDINGS[signal.Signals(number)])
        self.status = 128 + number


class Parser(argparse.ArgumentParser):
    """argparse, with one-line errors."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {streams.told(f'{message}; see {self.prog} --help')}\n")


def parser(asked: str | None) -> argparse.ArgumentParser:
    """The parser: arguments of the requested command, names of the others."""
    top = Parser(prog="alula", description="Run packed networks on a Raspberry Pi, and keep training them there.")
    top.add_argument("--version", action="version", version=f"alula {alula.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == asked:
            module = importlib.import_module(f"alula.commands.{name}")
            module.add_arguments(sub)
            sub.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
            sub.set_defaults(run=module.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    asked = next((word for word in words if not word.startswith("-")), None)
    streams.prepare()
    try:
        with _ends_in_order():
            try:
                args = parser(asked).parse_args(words)
            except SystemExit:  # after --help or --version
                sys.stdout.flush()
                raise
            report: Report = args.run(args)
            report.show(args.json)
            return report.status
    except BrokenPipeError:  # the reader (head, less) has seen enough
        streams.close_output()
        return 1
    except Terminated as end:
        return _end(str(end), end.status)
    except KeyboardInterrupt:
        return _end("interrupted", 130)
    except Exception as error:
        if said := faults.refusal(error):
            return _end(said, 2)
        if faults.is_traced():
            raise
        return _end(faults.fault(error), faults.FAULT)


@contextlib.contextmanager
def _ends_in_order() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP end the command as Ctrl-C does, unless another handler is set."""

    def end(number: int, frame: FrameType | None) -> None:
        for other in ours:
            signal.signal(other, signal.SIG_IGN)  # the files are being closed already
        raise Terminated(number)

    ours = [number for number in ENDINGS if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []  # only the main thread receives signals
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(message: str, status: int) -> int:
    """Say why, and leave nothing that fails when Python closes its streams."""
    streams.complain(message)
    if not streams.output_works():
        streams.close_output()
    return status
