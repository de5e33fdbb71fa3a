"""Checkpoints of PyTorch are read as tensors, without running what else their pickle asks for."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from alula.host.torch_weights import load_torch_weights
from alula.runtime.errors import ImportFileError


class _Call:
    """Pickles as a call of something in another module."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, self.arguments


def _checkpoint(path: Path, content: bytes, data: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", content)
        archive.writestr("net/data/0", data)
    return path


def test_a_checkpoint_with_anything_but_tensors_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    hostile = pickle.dumps({"w": _Call(Path.touch, target)}, 2)
    with pytest.raises(ImportFileError, match="in its pickle"):
        load_torch_weights(_checkpoint(tmp_path / "net.pth", hostile))
    (tmp_path / "old.pth").write_bytes(hostile)
    with pytest.raises(ImportFileError, match="in its pickle"):
        load_torch_weights(tmp_path / "old.pth")
    assert not target.exists()


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps(7), pickle.dumps(0x1950A86A20F9469CFC6C)])
def test_what_is_not_a_checkpoint_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(data)
    with pytest.raises(ImportFileError, match="expected a PyTorch checkpoint"):
        load_torch_weights(tmp_path / "net.pth")


def test_a_zipped_checkpoint_is_read_with_its_strides(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    stream = io.BytesIO()
    _write_state(stream, size=(2, 3), stride=(1, 2), count=6)
    found = load_torch_weights(_checkpoint(tmp_path / "net.pth", stream.getvalue(), values.tobytes()))
    np.testing.assert_array_equal(found["w"], values.reshape(3, 2).T)
    stream = io.BytesIO()
    _write_state(stream, size=(2, 3), stride=(1, 3), count=6)
    with pytest.raises(ImportFileError, match="beyond its storage"):
        load_torch_weights(_checkpoint(tmp_path / "bad.pth", stream.getvalue(), values.tobytes()))


def _write_state(stream: io.BytesIO, size: tuple[int, ...], stride: tuple[int, ...], count: int) -> None:
    """Write the pickle of {"w": tensor} as PyTorch does, opcode by opcode."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + v.to_bytes(4, "little") for v in values) + b"t"

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    storage = (
        b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + text("cpu")
        + b"J"
        + count.to_bytes(4, "little")
        + b"tQ"
    )
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J\0\0\0\0" + numbers(size) + numbers(stride) + b"tR"
    stream.write(b"\x80\x02}" + text("w") + tensor + b"s.")
