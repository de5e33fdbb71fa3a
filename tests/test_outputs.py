"""Files that commands write: never over an input, never half."""

from pathlib import Path

import pytest

from alula.outputs import check_outputs, write_whole
from alula.runtime.errors import SourceError


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
