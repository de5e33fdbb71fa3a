"""Files that commands write, checked before any work is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from alula.runtime.errors import SourceError


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | str | None] = ()) -> None:
    """Refuse what would destroy an input or another output, or cannot be a new file.

    raise : SourceError, before anything is written
    """
    taken = {Path(name).resolve(): "an input" for name in inputs if name is not None}
    for path in outputs:
        if path is None:
            continue
        if not path.parent.is_dir():
            raise SourceError(f"{path}: expected a folder {path.parent}, got none; make it first")
        if path.exists() and not path.is_file():
            raise SourceError(f"{path}: expected a file or a new name to write to, got something else; choose another")
        if path.resolve() in taken:
            raise SourceError(
                f"{path}: expected a name of its own, got that of {taken[path.resolve()]}; choose another"
            )
        taken[path.resolve()] = "another output"
