"""Weights beside the model ("external data"): only from the model's own folder, and only as many bytes as the file has.

The name in the model is untrusted: it must be a plain one, below the folder. A link in that folder is the user's: hubs' caches
keep every file as a link into a folder of blobs. What a link reaches outside is noted, and the import says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from alula.runtime.errors import ImportFileError

if TYPE_CHECKING:
    import onnx


@dataclass
class SideFiles:
    """Where the values of tensors may lie outside the model, and what was noticed there.

    model : the path of the model; None if it came as bytes
    far   : files that a link leads to, neither in the model's folder nor in the one that the model's own link leads to
    """

    model: Path | None = None
    far: set[Path] = field(default_factory=set)

    def read(self, tensor: onnx.TensorProto, n_bytes: int, label: str) -> bytes:
        """The bytes of a tensor.

        raise : ImportFileError if the name leads out of the folder, or the file has other bytes than the tensor needs
        """
        entries: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self._find(location, label)
        try:
            offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(n_bytes)))
        except ValueError:
            raise ImportFileError(
                f"{label}: expected whole numbers for offset and length, got others; the file is damaged"
            ) from None
        try:
            size, data = path.stat().st_size, b""
            fits = offset >= 0 and length == n_bytes and offset + length <= size
            if fits:
                with path.open("rb") as file:
                    file.seek(offset)
                    data = file.read(n_bytes)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ImportFileError(
                f"{label}: expected to read {location!r}, got {reason}; check its permissions"
            ) from None
        if not fits or len(data) != n_bytes:
            raise ImportFileError(
                f"{label}: expected {n_bytes} bytes at {offset} of {location!r}, got a length of {length} in a file of "
                f"{size}; the file is damaged"
            )
        return data

    def _find(self, location: str, label: str) -> Path:
        if self.model is None:
            raise ImportFileError(
                f"{label}: expected its values in the model, got a reference to the file {location!r}; import from a path"
            )
        parts = PurePosixPath(location).parts
        path = self.model.parent / location
        try:
            plain = parts and not PurePosixPath(location).is_absolute() and ".." not in parts and path.is_file()
        except (OSError, ValueError):  # a name that no file can have, or a folder that may not be read
            plain = False
        if not plain:
            raise ImportFileError(f"{label}: expected a file inside the model's folder, got {location!r}; put it there")
        real = path.resolve()
        near = (self.model.parent.resolve(), self.model.resolve().parent)
        if not any(real.is_relative_to(folder) for folder in near):
            self.far.add(real)
        return path
