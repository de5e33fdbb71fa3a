"""Files that commands write: never over an input, never half."""

import errno
import os
from pathlib import Path

import pytest

from alula.device.power.report import write_summary
from alula.outputs import check_outputs
from alula.runtime.artifact.writer import write_artifact
from alula.runtime.errors import SourceError
from alula.runtime.files import write_whole
from alula.runtime.graph import Graph, TensorSpec


def test_an_output_that_is_an_input_or_another_output_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x")
    with pytest.raises(SourceError, match="got that of an input"):
        check_outputs([tmp_path / "." / "model.onnx"], [model])
    with pytest.raises(SourceError, match="got that of another output"):
        check_outputs([tmp_path / "a.csv", tmp_path / "a.csv"])
    check_outputs([tmp_path / "new.alula", None], [model, None])


def test_an_output_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected a folder"):
        check_outputs([tmp_path / "nowhere" / "a"])
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(SourceError, match="something else"):
            check_outputs([path])


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "signs.jsonl"
    write_whole(path, lambda handle: handle.write(b"old"))

    def fail(handle: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["signs.jsonl"]


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "was-there"

    def fill(handle: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for write in (fill, lambda handle: None):
        with pytest.raises(OSError) as caught:
            write_whole((tmp_path if write is fill else folder) / "signs.jsonl", write)
        assert Path(caught.value.filename).name == "signs.jsonl"
        assert "partial" not in str(caught.value)


def test_an_artifact_that_cannot_be_written_is_called_by_its_name(tmp_path: Path) -> None:
    graph = Graph("g", {"x": TensorSpec((1,))}, ("x",), ())
    with pytest.raises(OSError) as caught:
        write_artifact(tmp_path / "was-there" / "net.alula", {"g": graph})
    assert "partial" not in str(caught.value) and "net.alula" in str(caught.value)


def test_an_energy_summary_that_cannot_be_written_is_called_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "energy.json").mkdir()
    with pytest.raises(OSError) as caught:
        write_summary(tmp_path / "energy.json", {})
    assert ".tmp" not in str(caught.value) and "energy.json" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["energy.json"]
