"""The text spotter's networks in one packed file: how they are called, the recogniser's characters, a spotter of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alula.runtime.errors import ArtifactError

if TYPE_CHECKING:
    from alula.device.tasks.log import Log
    from alula.device.tasks.spotter import Spotter, SpotterConfig
    from alula.runtime.artifact import Artifact

GRAPHS = ("detect", "classify", "recognise")
CHARSET = "character"  # key under which the recogniser's ONNX file keeps its characters, one a line


def spotter_charset(artifact: Artifact) -> list[str]:
    """The recogniser's characters, from the metadata of the ONNX file that it was packed from.

    raise : ArtifactError if the file has none
    """
    from alula.device.tasks.recognise import charset_from_metadata

    sources = artifact.metadata.get("sources")
    source = sources.get(GRAPHS[2]) if isinstance(sources, dict) else None
    text = source.get(CHARSET) if isinstance(source, dict) else None
    if not isinstance(text, str):
        raise ArtifactError(
            f"{artifact.path}: expected the recogniser's characters under sources.{GRAPHS[2]}.{CHARSET} of the metadata, "
            "got none; pack it from an ONNX file that has them"
        )
    return charset_from_metadata(text)


def assemble(
    networks: Mapping[str, Any], charset: Sequence[str], config: SpotterConfig | None = None, log: Log | None = None
) -> Spotter:
    """A spotter of networks by name: models of our engine, or anything else that `spotter.py` takes."""
    from alula.device.tasks.spotter import Spotter

    detect, classify, recognise = (networks[name] for name in GRAPHS)
    return Spotter(detect, classify, recognise, charset, config, log)
