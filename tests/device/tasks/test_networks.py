"""A spotter of a packed file: its three networks by name, the characters from the metadata, one line where these are missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alula.device.tasks.networks import GRAPHS, assemble, spotter_charset
from alula.device.tasks.spotter import SpotterConfig
from alula.runtime.errors import ArtifactError


def artifact(metadata: dict[str, Any]) -> Any:
    return SimpleNamespace(path="net.alula", metadata=metadata)


def test_the_characters_are_those_of_the_recogniser() -> None:
    metadata = {"sources": {"recognise": {"character": "a\nb\n"}}}
    assert spotter_charset(artifact(metadata)) == ["", "a", "b", " "]


@pytest.mark.parametrize(
    "metadata", [{}, {"sources": []}, {"sources": {"recognise": {}}}, {"sources": {"recognise": {"character": 1}}}]
)
def test_a_file_without_characters_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(
        ArtifactError, match=r"^net\.alula: expected the recogniser's characters under sources\.recognise"
    ):
        spotter_charset(artifact(metadata))


def test_each_network_is_used_for_what_it_is_called() -> None:
    asked: list[str] = []

    def network(name: str) -> Any:
        def answer(x: np.ndarray) -> np.ndarray:
            asked.append(name)
            return np.zeros((1, 1, *x.shape[2:]), np.float32)

        return answer

    spotter = assemble({name: network(name) for name in GRAPHS}, ["", "a"], SpotterConfig(every=2))
    assert spotter.config.every == 2
    spotter.look(SimpleNamespace(image=np.zeros((64, 64, 3), np.uint8), index=0, time_s=0.0, name=""))  # type: ignore[arg-type]
    assert asked == ["detect"]
