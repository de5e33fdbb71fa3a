"""Wheels made by hand, so that installing can be tried without a build and without a network."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def make_wheel(folder: Path, name: str, version: str, files: dict[str, bytes], requires: tuple[str, ...] = ()) -> Path:
    """A wheel of pure Python files."""
    info = f"{name}-{version}.dist-info"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    files = files | {
        f"{info}/METADATA": "\n".join(lines).encode() + b"\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]).encode()
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inner, content in files.items():
            wheel.writestr(inner, content)
    return path


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def alula_wheel(folder: Path, version: str, changed: dict[str, str] | None = None) -> Path:
    """This checkout as a wheel, under a version of its own; `changed` replaces files by name."""
    files = {}
    for where, _, names in os.walk(ROOT / "alula", followlinks=True):
        for name in names:
            path = Path(where) / name
            if path.suffix in (".py", ".typed"):
                files[str(path.relative_to(ROOT))] = path.read_bytes()
    files["alula/__init__.py"] = files["alula/__init__.py"].replace(
        b'__version__ = "0.1.0"', f'__version__ = "{version}"'.encode()
    )
    files |= {name: text.encode() for name, text in (changed or {}).items()}
    script = b"[console_scripts]\nalula = alula.entry:main\n"
    return make_wheel(folder, "alula", version, files | {f"alula-{version}.dist-info/entry_points.txt": script})


@pytest.fixture(scope="session")
def system_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with NumPy and psutil alone, in the part of apt's dist-packages."""
    return lay_packages(tmp_path_factory.mktemp("dist-packages"), "numpy", "psutil")


def lay_packages(folder: Path, *names: str) -> Path:
    """Links to packages that are installed here, in a folder that is made if need be."""
    folder.mkdir(exist_ok=True)
    for name in names:
        for path in metadata.files(name) or []:
            top = folder / path.parts[0]
            if path.parts[0] != ".." and not top.exists():
                top.symlink_to(
                    Path(str(path.locate())).parents[len(path.parts) - 2] if len(path.parts) > 1 else path.locate()
                )
    return folder
