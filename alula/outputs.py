"""Files that commands write, checked before any work is done."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from alula.models import ONNX
from alula.runtime.errors import SourceError


def real(path: Path | str) -> Path:
    """Where it lies, links followed as far as they lead."""
    return Path(os.path.realpath(path))  # `Path.resolve` raises RuntimeError on links in a circle


def check_outputs(
    outputs: Iterable[Path | None], inputs: Iterable[Path | str | None] = (), own: Iterable[Path] = ()
) -> None:
    """Refuse an output that would overwrite an input or another output, or cannot be written.

    inputs : files, and folders whose files must not be overwritten
    own    : files that the command itself names
    raise  : SourceError, before anything is written
    """
    taken = {real(name): "an input" for name in inputs if name is not None}
    taken |= {real(path): "a file of the run" for path in own}
    folders = [place for place, what in taken.items() if what == "an input" and place.is_dir()]
    for path in outputs:
        if path is None:
            continue
        if path.exists() and any(folder in real(path).parents for folder in folders):
            raise SourceError(f"{path}: expected a new name, got a file of the data; choose another")
        if not path.parent.is_dir():
            raise SourceError(f"{path}: expected a folder {path.parent}, got none; make it first")
        if path.exists() and not path.is_file():
            raise SourceError(f"{path}: expected a file or a new name to write to, got something else; choose another")
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise SourceError(
                f"{path}: expected a folder that can be written to, got {error.strerror}; choose another"
            ) from error
        if real(path) in taken:
            raise SourceError(f"{path}: expected a name of its own, got that of {taken[real(path)]}; choose another")
        taken[real(path)] = "another output"


def check_suffix(path: Path | None, is_onnx: bool) -> None:
    """Refuse a model under the suffix of another format, by which commands tell them apart.

    raise : SourceError
    """
    if path is not None and (path.suffix == ONNX) != is_onnx:
        raise SourceError(
            f"{path}: expected a name {'that ends' if is_onnx else 'other than one'} in {ONNX}, got {path.name}; rename it"
        )
