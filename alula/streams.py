"""Standard output and error as commands use them: nothing that is printed fails for its characters, or because nobody reads it."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from alula.runtime.errors import one_line
from alula.runtime.files import printable


def prepare() -> None:
    """Open what the caller closed, and escape what a stream cannot encode.

    A closed descriptor would be the next file's: what is printed would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            with contextlib.suppress(OSError, ValueError):  # what it held before goes nowhere, or it was closed
                stream.reconfigure(errors="backslashreplace")


def complain(message: str) -> None:
    """One line on standard error, if there is anyone to read it."""
    with contextlib.suppress(OSError, ValueError):
        print(f"alula: {told(message)}", file=sys.stderr, flush=True)


def told(message: str) -> str:
    """A message as one line that every terminal takes, short enough for a name before it."""
    return one_line(printable(" ".join(message.split())))


def close_output() -> None:
    """What is still to be printed goes nowhere: its reader is gone, or the disk is full."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def output_works() -> bool:
    """Whether standard output takes what was printed so far."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return False
    return True
