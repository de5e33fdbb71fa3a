"""The software of the emulated boards: QEMU from apt, Debian's arm64 packages by extraction, aarch64 wheels by pip.

No arm64 program runs while they are laid out. Everything is built beside its place and moved there when it is whole, so
what a killed run leaves behind is built again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alula.runtime.errors import AlulaError

TOOLS = {"qemu-aarch64": "qemu-user", "mmdebstrap": "mmdebstrap"}  # program: Debian package
# The last torch whose wheel for aarch64 asks for no CUDA; onnx reads the networks that it trains
TORCH = (
    "torch==2.8.0", "filelock", "fsspec", "jinja2", "markupsafe", "ml_dtypes", "mpmath", "networkx", "onnx", "protobuf",
    "sympy", "typing-extensions",
)  # fmt: skip
EXTRAS = {  # wheels laid beside it on request, each with what it needs itself
    "opencv": ("opencv-python-headless",),
    "onnxruntime": ("onnxruntime", "flatbuffers", "packaging", "protobuf"),
    "ncnn": ("ncnn",),
    "torch": TORCH,
    "pytest": ("pytest", "iniconfig", "packaging", "pluggy", "pygments"),
}
PLATFORMS = tuple(f"manylinux_2_{minor}_aarch64" for minor in (36, 35, 34, 31, 28, 27, 26, 24, 17)) + (
    "manylinux2014_aarch64",
)
HOOKS = Path("/usr/share/mmdebstrap/hooks/merged-usr")
ALTERNATIVES = ("libblas.so.3", "liblapack.so.3")  # links that update-alternatives makes where packages are set up


@dataclass(frozen=True)
class Release:
    """What boards run.

    packages : of the Debian `suite`, with Python `python`
    wheels   : of aarch64, laid beside them where NumPy and psutil are not Debian's
    opencv   : the newest one that takes this NumPy, as pip finds it when it must keep NumPy
    """

    name: str
    suite: str
    python: str
    packages: tuple[str, ...]
    wheels: tuple[str, ...] = ()
    opencv: str = "opencv-python-headless"


# Raspberry Pi OS is one of these; NumPy 1.24 and 2.2. Of Python packages, there is what Alula needs, and nothing else
COMMON = ("python3-numpy", "python3-psutil", "coreutils", "libstdc++6")
BOOKWORM = Release(
    "bookworm", "bookworm", "3.11", ("python3.11", "python3.11-venv", *COMMON), opencv="opencv-python-headless<4.12",
)  # fmt: skip
TRIXIE = Release("trixie", "trixie", "3.13", ("python3.13", "python3.13-venv", *COMMON))
# Where the stored counts come from: the rivals' wheels ask for a newer NumPy than Debian's
COUNTED = Release(
    "counted", "bookworm", "3.11",
    ("python3.11", "python3.11-venv", "libc6", "libstdc++6", "libgomp1", "libgcc-s1", "zlib1g", "libffi8", "libexpat1",
     "coreutils"),
    wheels=("numpy", "psutil"),
)  # fmt: skip
RELEASES = {release.name: release for release in (BOOKWORM, TRIXIE)}  # where Alula must run


class BoardsError(AlulaError, OSError):
    """Tools or downloads of the emulated boards that cannot be had here."""


def qemu() -> str:
    """The path of qemu-aarch64, installed by apt if need be.

    raise : BoardsError where it is missing and cannot be installed
    """
    return _tool("qemu-aarch64")


def arm64_root(folder: Path, release: Release) -> Path:
    """Debian's Python for arm64 with NumPy and psutil, in `folder`/roots/`release.name`.

    raise : BoardsError if a download fails
    """
    root, recipe = folder / "roots" / release.name, repr((release, PLATFORMS, ALTERNATIVES))
    if _whole(root, recipe):
        return root
    part = root.with_name(f"{release.name}.part")
    root.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    hooks = [f"--hook-dir={HOOKS}"] if HOOKS.is_dir() else []
    mode = "root" if os.geteuid() == 0 else "unshare"
    _run(
        [_tool("mmdebstrap"), f"--mode={mode}", "--variant=extract", "--architectures=arm64", "--skip=check/qemu",
         *hooks, f"--include={','.join(release.packages)}", release.suite, str(part)],
        f"Debian {release.suite} for arm64",
    )  # fmt: skip
    libraries = part / "usr" / "lib" / "aarch64-linux-gnu"
    for name in ALTERNATIVES:
        if found := list(libraries.glob(f"*/{name}")):
            (libraries / name).symlink_to(found[0].relative_to(libraries))
    if release.wheels:
        _install(release.wheels, part / "usr" / "local" / "lib" / f"python{release.python}" / "dist-packages", release)
    return _settle(part, root, recipe)


def wheels(folder: Path, extra: str, release: Release) -> Path:
    """The aarch64 wheels of one of EXTRAS, in `folder`/extras/`release.name`/`extra`.

    raise : BoardsError if a download fails or there is no such extra
    """
    if extra not in EXTRAS:
        raise BoardsError(f"boards: expected an extra of {', '.join(EXTRAS)}, got {extra!r}; check the spelling")
    packages = (release.opencv,) if extra == "opencv" else EXTRAS[extra]
    place, recipe = folder / "extras" / release.name / extra, repr((packages, release.python, PLATFORMS))
    if _whole(place, recipe):
        return place
    part = place.with_name(f"{extra}.part")
    shutil.rmtree(part, ignore_errors=True)
    _install(packages, part, release)
    return _settle(part, place, recipe)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _whole(place: Path, recipe: str) -> bool:
    stamp = place / ".recipe"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe


def _settle(part: Path, place: Path, recipe: str) -> Path:
    (part / ".recipe").write_text(recipe, encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    part.rename(place)
    return place


def _tool(program: str) -> str:
    if found := shutil.which(program):
        return found
    package = TOOLS[program]
    if os.geteuid() or not shutil.which("apt-get"):
        raise BoardsError(
            f"boards: expected the program {program}, got none; as root on Debian or Ubuntu: apt-get install {package}"
        )
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *TOOLS.values()]
    if _succeeds(install) or (_succeeds(["apt-get", "update", "--quiet"]) and _succeeds(install)):
        if found := shutil.which(program):
            return found
    _run(install, f"apt-get's {package}")
    raise BoardsError(f"boards: expected {program} from {package}, got none; install it by hand")


def _install(packages: Sequence[str], target: Path, release: Release) -> None:
    """Unpack aarch64 wheels into a folder, without those that they depend on."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile",
         "--only-binary=:all:", "--python-version", release.python, "--implementation", "cp",
         "--abi", f"cp{release.python.replace('.', '')}", "--abi", "abi3", "--abi", "none", *platforms,
         "--target", str(target), *packages],
        f"aarch64 wheels of {', '.join(packages)}",
    )  # fmt: skip


def _succeeds(command: Sequence[str]) -> bool:
    return _capture(command).returncode == 0


def _run(command: Sequence[str], what: str) -> None:
    result = _capture(command)
    if result.returncode:
        lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip()]
        telling = [line for line in lines if line.lower().startswith(("e:", "error", "fatal", "err:"))] or lines[-1:]
        reason = " ".join(" ".join(telling[:2]).split())[:300] or f"exit status {result.returncode}"
        raise BoardsError(f"boards: expected {what}, got from {Path(command[0]).name}: {reason}; is the network there?")


def _capture(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
