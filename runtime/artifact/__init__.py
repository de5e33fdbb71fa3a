"""The `.alula` file: graphs, constants in small encodings, metadata. `docs/artifact-format.md` is its specification.

Every start reads files; the writer is imported when something is first written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alula.runtime.artifact.encodings import Encoded
from alula.runtime.artifact.reader import Artifact, PackedConstants, TensorInfo, open_artifact

if TYPE_CHECKING:
    from alula.runtime.artifact.trainable import write_trainable
    from alula.runtime.artifact.writer import rewrite_metadata, write_artifact

__all__ = [
    "Artifact",
    "Encoded",
    "PackedConstants",
    "TensorInfo",
    "open_artifact",
    "rewrite_metadata",
    "write_artifact",
    "write_trainable",
]


def __getattr__(name: str) -> Any:
    if name == "write_trainable":
        from alula.runtime.artifact import trainable

        return trainable.write_trainable
    if name not in ("rewrite_metadata", "write_artifact"):
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from alula.runtime.artifact import writer

    return getattr(writer, name)
