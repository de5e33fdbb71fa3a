"""Files: written whole or not at all, even if the power fails; refused if they are none; with names that people can read."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from alula.runtime.errors import SourceError


def write_whole(path: Path, write: Callable[[BinaryIO], object], check: Callable[[Path], object] | None = None) -> None:
    """Write a file beside its place, then put it there in one step.

    check : reads the new file before it takes the place, and raises if it is not as it should be
    raise : OSError that names `path`; whatever `write` and `check` raise. No file is left then
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as handle:
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        if check:
            check(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno:  # the caller knows only `path`
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def printable(name: str | os.PathLike[str]) -> str:
    """A file's name as any terminal and any JSON file takes it: `\\xfc` for a byte that is not UTF-8, `\\n` for a line's end."""
    text = str(name)
    return text if text.isprintable() else "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    byte = ord(one) - 0xDC00  # Python's stand-in for a byte that is no text
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else one.encode("unicode_escape").decode("ascii")


def check_file(path: Path, by_name: bool = False) -> None:
    """Refuse what is no file: a pipe or a device might be read for ever.

    by_name : another library opens it by its name, which must be text
    raise   : SourceError; OSError if there is no such file
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise SourceError(f"{printable(path)}: expected a file, got {kind}; check the path")
    if by_name:
        check_name(path)


def check_name(path: str | os.PathLike[str]) -> None:
    """Refuse a name that is no text: OpenCV crashes on it.

    raise : SourceError
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise SourceError(f"{printable(path)}: expected a name in UTF-8, got other bytes; rename it") from None


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, so that new ones survive a power cut."""
    with contextlib.suppress(OSError):  # a file system without that (some network shares) has nothing to bring
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
