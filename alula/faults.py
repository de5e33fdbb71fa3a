"""How a command ends when something was raised: one line, and a status that says whose mistake it was.

What we refuse ourselves, what the system refuses, and input too large or too deep for this machine end with 2. Anything else is a fault of
ours: it ends with 70 (EX_SOFTWARE), and the line says where. With ALULA_TRACEBACK=1 a fault is raised as it is.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from alula.runtime.errors import AlulaError

FAULT = 70  # of sysexits.h: an internal software error
ROOT = Path(__file__).resolve().parent.parent


def is_traced() -> bool:
    """Whether faults are raised as they are."""
    return os.environ.get("ALULA_TRACEBACK", "") not in ("", "0")


def refusal(error: BaseException) -> str:
    """What is said of an error that is no fault; empty for one that is."""
    if isinstance(error, AlulaError):
        return str(error)
    if isinstance(error, OSError):
        names = [
            os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes | Path)
        ]
        reason = error.strerror or str(error) or type(error).__name__
        if isinstance(error, FileNotFoundError) and len(names) == 1:
            reason = f"expected a file, got {reason}; check the path"
        return ": ".join([" and ".join(names), reason]) if names else reason
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return f"expected more memory, got none left{detail}; close other programs or use a smaller shape"
    if isinstance(error, RecursionError):
        return "expected input with fewer levels, got some nested too deeply to be read; simplify it"
    return ""


def fault(error: BaseException) -> str:
    """What is said of a fault: its class, where it happened in our code, its message, how to see more."""
    name = type(error).__qualname__
    module = type(error).__module__
    shown = name if module == "builtins" else f"{module}.{name}"
    said = " ".join(str(error).split())
    told = f": {said[:120]}" if said else ""
    return f"{_place(error)}: internal fault, {shown}{told}; set ALULA_TRACEBACK=1 to see all of it, and report it"


def _place(error: BaseException) -> str:
    """`file:line` of the innermost frame in our own code."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        path = Path(frame.filename).resolve()
        if path.is_relative_to(ROOT) and "site-packages" not in path.relative_to(ROOT).parts:
            return f"{path.relative_to(ROOT)}:{frame.lineno}"
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "alula"
