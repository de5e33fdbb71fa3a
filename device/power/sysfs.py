"""Reading the kernel's one-value files, with errors that say what to do."""

from __future__ import annotations

from pathlib import Path

from alula.runtime.errors import MeterError


def read_text(path: Path, permission_hint: str = "run as a user that may read it") -> str:
    """The file's text, stripped. raise: MeterError, naming the file and the cause."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip("\0 \n\t")
    except PermissionError as error:
        raise MeterError(f"{path}: expected a readable file, got permission denied; {permission_hint}") from error
    except OSError as error:
        reason = error.strerror or error
        raise MeterError(f"{path}: expected a readable file, got '{reason}'; is the sensor still there?") from error


def read_int(path: Path, permission_hint: str = "run as a user that may read it") -> int:
    """The file's integer. raise: MeterError, naming the file and the cause."""
    text = read_text(path, permission_hint)
    try:
        return int(text)
    except ValueError as error:
        raise MeterError(f"{path}: expected an integer, got {text[:40]!r}; is the driver the right one?") from error
