"""Every error that Alula raises on purpose. The message is one line: where, expected, got, what to do.

AlulaError
├── GraphError        ValueError    a graph that is not well formed: unknown op, missing tensor, cycle
├── ShapeError        ValueError    shapes that do not fit each other
├── DTypeError        TypeError     a dtype that an op or an input does not take
├── ImportFileError   ValueError    not an ONNX file, or one that cannot be read as our graph
├── ArtifactError     ValueError    an `.alula` file that is damaged, hostile, or from a newer version
├── CompilerError     RuntimeError  kernels that cannot be built, found or loaded on this machine
├── MemoryBudgetError MemoryError   a plan that needs more memory than the budget
├── MissingExtraError ImportError   an optional dependency that is not installed; names the extra
├── CheckpointError   ValueError    a checkpoint that is damaged, or of another run
├── DivergedError     ArithmeticError  a loss or a weight that is not finite
├── DataError         ValueError    a data set that is empty, damaged, or does not fit what is asked of it
│   ├── NoSplitError                one that has no such split
│   └── NoAnswerError               outputs of a network that say nothing of this image: not finite
├── SourceError       OSError       a camera, video, folder or file that cannot be opened or read
├── MeterError        OSError       a power meter that is absent, unreadable or implausible
└── BudgetError       ValueError    a budget of energy, time or battery that cannot be read or kept
"""

from __future__ import annotations

import importlib
import re
from types import ModuleType

MAX_LINE = 280  # characters of a message: what the command puts in front of it fits into 300
MIN_PART = 30  # of a part of it that is shortened
FRAME = ": expected |, got |; "
A_PATH = r"(?<![^\s'\"`])~?/[^\s:;,]{1,180}"  # whoever reads the line copies it


class AlulaError(Exception):
    """The root: `except AlulaError` catches whatever this project refuses, and nothing else."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class GraphError(AlulaError, ValueError):
    """A graph that is not well formed."""


class ShapeError(AlulaError, ValueError):
    """Shapes that do not fit each other."""


class DTypeError(AlulaError, TypeError):
    """A dtype that an op or an input does not take."""


class ImportFileError(AlulaError, ValueError):
    """A model file that cannot be read as our graph."""


class ArtifactError(AlulaError, ValueError):
    """An `.alula` file that is damaged, hostile, or from a newer version."""


class CompilerError(AlulaError, RuntimeError):
    """Kernels that cannot be built, found or loaded on this machine."""


class MemoryBudgetError(AlulaError, MemoryError):
    """A plan that needs more memory than it may have."""


class MissingExtraError(AlulaError, ImportError):
    """An optional dependency that is not installed."""


class CheckpointError(AlulaError, ValueError):
    """A checkpoint that is damaged, or of another run."""


class DivergedError(AlulaError, ArithmeticError):
    """A loss or a weight that is no finite number any more."""


class DataError(AlulaError, ValueError):
    """A data set that is empty, damaged, or does not fit what is asked of it."""


class NoSplitError(DataError):
    """A data set that has no such split."""


class NoAnswerError(DataError):
    """Outputs that say nothing of this image; of another one they may."""


class SourceError(AlulaError, OSError):
    """Images that cannot be opened or read."""


class MeterError(AlulaError, OSError):
    """A power meter that is absent, unreadable or implausible."""


class BudgetError(AlulaError, ValueError):
    """A budget of energy, time or battery that cannot be read or kept."""


def one_line(text: str) -> str:
    """A message as one line of at most MAX_LINE printable characters: names in it come from files that may be hostile.

    Its longest parts (where, expected, got, what to do) lose their middles; paths only where nothing else is left to cut.
    """
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    if len(line) <= MAX_LINE:
        return line
    for kept in (f"({FRAME}|{A_PATH})", f"({FRAME})"):
        parts = re.split(kept, line)
        for longest in range(MAX_LINE, MIN_PART - 1, -1):
            shorter = "".join(part if index % 2 else _cut(part, longest) for index, part in enumerate(parts))
            if len(shorter) <= MAX_LINE:
                return shorter
    return _cut(line, MAX_LINE)  # many short parts


def reason(error: object, max_length: int = 150) -> str:
    """What another library says, for a part of our own line: one line, cut off at `max_length`; of no words the class."""
    return " ".join(str(error).split())[:max_length] or type(error).__name__


def _cut(text: str, max_length: int) -> str:
    """A text of at most `max_length`: of a longer one the beginning and the end."""
    if len(text) <= max_length:
        return text
    tail = (max_length - 5) * 2 // 5
    return f"{text[: max_length - 5 - tail]} ... {text[-tail:]}"


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    raise : MissingExtraError, naming the extra
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose}: expected the Python package {module.split('.')[0]}, got {error}; "
            f"install it with: pip install 'alula[{extra}]'"
        ) from error
