"""Checkpoints: everything that a run needs to resume, bit for bit.

A file is a magic word, the SHA-256 of the rest, and an uncompressed .npz archive of the trainer's state and one JSON
text about the run. The one before it stays beside it (`.previous`), and is used if the newest is damaged.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.errors import CheckpointError
from alula.runtime.files import sync_folder, write_whole
from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Graph

MAGIC = b"ALULACP1"
DIGEST_BYTES = 32
ABOUT = "about|"


@frozen
class Checkpoint:
    """One moment of a run.

    state   : of the trainer
    place   : epoch, step and sums of a run; plain JSON values
    options : what must be the same for the run to resume: name -> value as text
    """

    state: Mapping[str, Array]
    place: Mapping[str, Any]
    options: Mapping[str, str]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, keeping the one before.

    raise : OSError that names the path; the files are then as they were
    """
    buffer = io.BytesIO()
    about = json.dumps({"place": checkpoint.place, "options": checkpoint.options})
    arrays = {ABOUT: np.frombuffer(about.encode(), np.uint8), **checkpoint.state}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    content = buffer.getvalue()

    def write(handle: Any) -> None:
        handle.write(MAGIC + hashlib.sha256(content).digest() + content)

    fresh = path.with_name(f"{path.name}.new")
    write_whole(fresh, write)
    if path.exists():
        os.replace(path, previous(path))
    os.replace(fresh, path)
    sync_folder(path.parent)


def previous(path: Path) -> Path:
    """Where the checkpoint before the newest one lies."""
    return path.with_name(f"{path.name}.previous")


def load_checkpoint(path: Path, options: Mapping[str, str]) -> tuple[Checkpoint | None, str]:
    """The newest checkpoint that is whole, None if there is none; and what was wrong with a newer one, "" if nothing.

    options : of the run that resumes
    raise   : CheckpointError if it is of another run, or every file is damaged
    """
    problems = []
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        try:
            found = _read(candidate)
        except (CheckpointError, OSError) as error:
            problems.append(str(error))
            continue
        for name in sorted({*options, *found.options}):
            have, want = found.options.get(name, "nothing"), options.get(name, "nothing")
            if have != want:
                raise CheckpointError(
                    f"{candidate}: expected a run with {name} {want}, got one with {have}; "
                    "go on with the same options, or choose another folder"
                )
        return found, "; ".join(problems)
    if problems:
        raise CheckpointError(problems[0])
    return None, ""


def _read(path: Path) -> Checkpoint:
    content = path.read_bytes()
    head = len(MAGIC) + DIGEST_BYTES
    if content[: len(MAGIC)] != MAGIC:
        raise CheckpointError(f"{path}: expected a checkpoint of a training run, got another file; check the path")
    if hashlib.sha256(content[head:]).digest() != content[len(MAGIC) : head]:
        raise CheckpointError(f"{path}: expected the content that was written, got another or a part; delete the file")
    with np.load(io.BytesIO(content[head:]), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    about = json.loads(arrays.pop(ABOUT).tobytes())
    return Checkpoint(arrays, about["place"], about["options"])


def weights_fingerprint(graph: Graph) -> str:
    """A hash of all weights of a network."""
    digest = hashlib.sha256()
    for name in sorted(graph.constants):
        digest.update(np.ascontiguousarray(graph.constants[name]).tobytes())
    return digest.hexdigest()[:16]


def fingerprint(graph: Graph) -> str:
    """What tells a network from others whatever its weights are: a hash of nodes, shapes and dtypes."""
    nodes = [(node.op, node.inputs, node.outputs, repr(node.attrs)) for node in graph.nodes]
    specs = [(name, str(graph.constants.spec(name))) for name in sorted(graph.constants)]
    inputs = [(name, str(spec)) for name, spec in graph.inputs.items()]
    return hashlib.sha256(repr((nodes, specs, inputs, graph.outputs)).encode()).hexdigest()[:16]
