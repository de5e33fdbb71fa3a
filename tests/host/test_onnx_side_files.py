"""Weights in side files: from the model's own folder alone, and through the links that a user laid there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from alula.host.onnx.importer import import_onnx
from alula.runtime.errors import ImportFileError
from tests.host.onnx_models import model, node

W = np.arange(12, dtype=np.float32).reshape(4, 3)


def saved(folder: Path) -> Path:
    """A product with its weight in a file of its own."""
    folder.mkdir()
    proto = model([node("MatMul", "x w")], {"x": np.ones((2, 4), np.float32)}, {"w": W})
    onnx.save(proto, folder / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0)
    return folder / "net.onnx"


def changed(path: Path, **entries: str) -> None:
    """Name another place of the weight."""
    stored = onnx.load(path, load_external_data=False)
    for entry in stored.graph.initializer[0].external_data:
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(stored.SerializeToString())


def test_weights_in_a_side_file_are_read_from_the_models_folder_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "net")
    np.testing.assert_array_equal(import_onnx(path).graph.constants["w"], W)
    with pytest.raises(ImportFileError, match="import from a path"):
        import_onnx(path.read_bytes())
    path.with_name("net.bin").rename(tmp_path / "net.bin")
    (tmp_path / "net" / "inner").mkdir()
    for location in (
        "../net.bin",
        str(tmp_path / "net.bin"),
        "inner/../../net.bin",
        "inner",
        "",
        "a" * 5000,
        "lost.bin",
    ):
        changed(path, location=location)
        with pytest.raises(ImportFileError, match="inside the model's folder") as caught:
            import_onnx(path)
        assert len(str(caught.value)) <= 300


@pytest.mark.parametrize(
    "entries", [{"offset": "8"}, {"offset": "-4"}, {"length": "44"}, {"offset": "x"}, {"offset": "9" * 30}]
)
def test_a_place_that_the_side_file_does_not_have_is_refused(entries: dict[str, str], tmp_path: Path) -> None:
    path = saved(tmp_path / "net")
    changed(path, **entries)
    with pytest.raises(ImportFileError, match="the file is damaged"):
        import_onnx(path)


def test_links_into_a_folder_of_blobs_are_followed(tmp_path: Path) -> None:
    path = saved(tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    path.rename(tmp_path / "blobs" / "aa").with_name("net.bin").rename(tmp_path / "blobs" / "bb")
    (snapshot / "net.onnx").symlink_to("../../blobs/aa")
    (snapshot / "net.bin").symlink_to("../../blobs/bb")
    imported = import_onnx(snapshot / "net.onnx")
    np.testing.assert_array_equal(imported.graph.constants["w"], W)
    assert imported.notes == ()


def test_a_link_that_leads_elsewhere_is_followed_and_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "net")
    far = path.with_name("net.bin").rename(tmp_path / "far.bin")
    path.with_name("net.bin").symlink_to(far)
    imported = import_onnx(path)
    np.testing.assert_array_equal(imported.graph.constants["w"], W)
    assert imported.notes == (f"weights come through a link from {far}",)
    far.unlink()
    with pytest.raises(ImportFileError, match="inside the model's folder"):
        import_onnx(path)
