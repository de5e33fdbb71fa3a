"""Thousands of damaged files: each is refused with an ArtifactError, or is what it was. Never another error, never a flood."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from alula.runtime.artifact import open_artifact
from alula.runtime.errors import ArtifactError

from .samples import parts, sections, signed, write_sample

FLIPPED, CUT, CRAFTED = 2500, 1000, 1000
MAX_MEMORY = 32 << 20  # bytes
ODD: list[Any] = [
    None, True, -1, 0, 3, 256, 2**31, 2**60, 2**70, 0.5, "", "x", "y", "\x00\n", "Relu", "float16", [], [1, 2], {}, "\U0001f600" * 2000
]  # fmt: skip


def contents(path: Path) -> dict[str, bytes] | None:
    """Every constant of a file, or None if it was refused."""
    try:
        artifact = open_artifact(path)
        return {
            f"{name}/{constant}": graph.constants[constant].tobytes()
            for name, graph in artifact.graphs.items()
            for constant in graph.constants
        }
    except ArtifactError as error:
        assert len(str(error).splitlines()) == 1
        return None


def test_flipped_bits_and_cuts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.alula"
    sample = write_sample(path)
    whole = contents(path)
    generator = np.random.default_rng(0)
    tracemalloc.start()
    for _ in range(FLIPPED):
        damaged = bytearray(sample)
        for _ in range(int(generator.integers(1, 4))):
            damaged[generator.integers(len(damaged))] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        assert contents(path) is None or bytes(damaged) == sample
    for _ in range(CUT):
        at, length = int(generator.integers(len(sample))), int(generator.integers(1, 300))
        kind = generator.integers(3)
        damaged = sample[:at] if kind == 0 else sample[:at] + sample[at + length :]
        if kind == 2:
            damaged = sample[:at] + sample[at : at + length] + sample[at:]
        path.write_bytes(damaged)
        assert contents(path) is None or contents(path) == whole
    assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
    tracemalloc.stop()


def test_damage_under_right_checksums_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "m.alula"
    sample = write_sample(path)
    generator = np.random.default_rng(1)
    refused = 0
    tracemalloc.start()
    for _ in range(CRAFTED):
        document, _ = parts(sample)
        payloads = [bytearray(payload) for payload in sections(sample)]
        if generator.random() < 0.5:
            mutate(document, generator)
        else:
            payload = payloads[generator.integers(len(payloads))]
            payload[generator.integers(len(payload))] = generator.integers(256)
        path.write_bytes(signed(document, [bytes(payload) for payload in payloads]))
        refused += contents(path) is None
    assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
    tracemalloc.stop()
    assert CRAFTED // 4 < refused < CRAFTED


def mutate(value: Any, generator: np.random.Generator) -> None:
    """Change one thing somewhere in a JSON value, in place."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = keys[generator.integers(len(keys))]
        inner = value[key]
        if isinstance(inner, dict | list) and inner and generator.random() < 0.8:
            value = inner
            continue
        choice = generator.integers(len(ODD) + 3)
        if choice < len(ODD):
            value[key] = ODD[choice]
        elif choice == len(ODD):
            del value[key]
        elif choice == len(ODD) + 1 and isinstance(value, list):
            value.append(json.loads(json.dumps(inner)))
        elif isinstance(value, dict):
            value["extra"] = inner
        return
