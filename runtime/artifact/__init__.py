"""The `.alula` file: graphs, constants in small encodings, metadata. `docs/artifact-format.md` is its specification."""

from __future__ import annotations

from alula.runtime.artifact.encodings import Encoded
from alula.runtime.artifact.reader import Artifact, PackedConstants, TensorInfo, open_artifact
from alula.runtime.artifact.writer import rewrite_metadata, write_artifact

__all__ = [
    "Artifact",
    "Encoded",
    "PackedConstants",
    "TensorInfo",
    "open_artifact",
    "rewrite_metadata",
    "write_artifact",
]
