"""The wheel on an emulated Raspberry Pi 3 with each release, beside NumPy and psutil alone: installed as a user would, then the demo."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alula.demo.networks import INSTALL_OCR, NAME, ocr_models, pack_networks
from tests.arm.boards import BOARDS, CHECKOUT, Board, ensure
from tests.arm.debian import RELEASES, BoardsError

FRAMES = 5
pytestmark = pytest.mark.xdist_group("wheel")  # built and installed once


@pytest.fixture(scope="module", params=RELEASES)
def pi3(request: pytest.FixtureRequest) -> Board:
    """The board with 1 GB, with one release after the other."""
    try:
        return ensure()["pi3"].on(RELEASES[request.param])
    except BoardsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, with the packs of all boards."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(CHECKOUT)
    ]  # fmt: skip
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:] + result.stdout[-1000:]
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(pi3: Board, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment of the board that sees the system's packages, with the wheel in it."""
    environment = tmp_path_factory.mktemp("board") / "env"
    made = pi3.python("-m", "venv", "--system-site-packages", environment)
    assert made.returncode == 0, made.stderr[-2000:]
    put = pi3.python(
        "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel,
        executable=environment / "bin" / "pip",
    )  # fmt: skip
    assert put.returncode == 0, put.stderr[-2000:]
    return environment


def test_the_board_has_numpy_and_psutil_alone(pi3: Board, installed: Path) -> None:
    code = (
        "import importlib.metadata as m; print(*sorted({d.name.lower() for d in m.distributions()}));"
        "import numpy, psutil, alula; print(alula.__file__)"
    )
    result = pi3.python("-P", "-c", code, executable=installed / "bin" / "python")
    names, where = result.stdout.splitlines()
    assert set(names.split()) - {"setuptools"} == {"alula", "numpy", "pip", "psutil"}  # pip's own, with Python 3.11
    assert where.startswith(str(installed))


def test_on_a_read_only_file_system_the_kernels_compute_and_the_rest_says_why(pi3: Board, installed: Path) -> None:
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-m", "mount", "--make-rprivate", "/"], check=False).returncode:
        pytest.skip("only root may mount file systems")
    places = " ".join(shlex.quote(str(place)) for place in dict.fromkeys(("/", "/tmp", installed, pi3.home)))
    alula = shlex.quote(str(installed / "bin" / "alula"))
    script = f"""
        mount --make-rprivate / && for place in {places}; do
            mount --bind "$place" "$place" && mount -o remount,bind,ro "$place" || exit 99
        done
        cd {shlex.quote(str(installed))}
        {alula} doctor --json || exit 98
        {alula} kernels build --cpu cortex-a72 --out packs
        {alula} demo
        exit 0
    """
    result = pi3.python("-m", "sh", "-c", script, executable=Path(unshare))
    assert result.returncode == 0, result.stderr[-2000:]
    findings = {
        finding["check"]: finding for finding in json.loads(result.stdout.partition("\n}\n")[0] + "}")["checks"]
    }
    assert findings["self-test"]["verdict"] == "ok"
    assert "read-only file system" in findings["storage"]["found"]
    assert result.stderr.splitlines() == [
        "alula: packs: expected to write a pack there, got Read-only file system; choose another folder",
        "alula: alula-demo: Read-only file system",
    ]


def test_the_demo_runs_from_the_wheel(pi3: Board, installed: Path, tmp_path: Path) -> None:
    models = ocr_models()
    if models is None:
        pytest.skip(f"the OCR networks are not here: {INSTALL_OCR}")
    home = tmp_path / "home"
    data = home / ".local" / "share" / "alula"
    data.mkdir(parents=True)
    pack_networks(models, data / NAME)  # as a deployment copies them
    result = pi3.python(
        "demo", "--frames", str(FRAMES), "--out", tmp_path / "out", "--json",
        executable=installed / "bin" / "alula", env={"HOME": str(home)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    document = json.loads(result.stdout)
    summary = document["summary"]
    assert (summary["mode"], summary["frames"]) == ("stored crops", FRAMES)
    assert summary["signs"] >= FRAMES and summary["signs_exact_ratio"] == 1.0
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == document
    assert document["machine"]["machine"] == "aarch64"
    assert not (home / ".cache").exists(), "the wheel's own pack was taken: nothing was compiled"


def test_the_demo_without_networks_says_where_they_belong(pi3: Board, installed: Path, tmp_path: Path) -> None:
    result = pi3.python(
        "demo", "--out", tmp_path / "out", executable=installed / "bin" / "alula", env={"HOME": str(tmp_path)}
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert str(tmp_path / ".local" / "share" / "alula" / NAME) in result.stderr


def test_a_zero_2_w_has_room_for_it(pi3: Board, installed: Path) -> None:
    zero = BOARDS["zero2"].on(pi3.release)
    code = f"import sys; sys.prefix = {str(installed)!r}; sys.path.insert(0, {str(next(installed.glob('lib/*/site-packages')))!r})"
    result = zero.python("-P", "-c", f"{code}; from alula.runtime.compiler import library; print(library().path.name)")
    assert result.stdout == "cortex-a53.so\n", result.stderr[-2000:]
