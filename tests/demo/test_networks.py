"""Where the demo takes its networks from."""

from __future__ import annotations

from pathlib import Path

import pytest

from alula.demo import networks
from alula.runtime.errors import SourceError


def test_networks_that_are_given_come_first(tmp_path: Path) -> None:
    assert networks.packed_networks(tmp_path / "mine.alula", tmp_path / "new.alula").path == tmp_path / "mine.alula"


def test_networks_in_the_data_folder_are_taken_where_none_can_be_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "ocr_models", lambda: None)
    monkeypatch.setattr(networks, "HERE", tmp_path / "demo")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(SourceError, match=r"expected the packed networks in .*/alula/spotter\.alula"):
        networks.packed_networks(None, tmp_path / "new.alula")
    place = tmp_path / "alula" / networks.NAME
    place.parent.mkdir()
    place.write_bytes(b"")
    found = networks.packed_networks(None, tmp_path / "new.alula")
    assert found.path == place and found.report is None
