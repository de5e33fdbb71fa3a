"""deploy/install.sh, run for real into a temporary prefix."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.conftest import ROOT, alula_wheel, make_wheel

SCRIPT = ROOT / "deploy" / "install.sh"
Install = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the script is for Linux"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")),
        reason="this Python has no venv or no ensurepip (apt: python3-venv)",
    ),
]


@pytest.fixture
def install(tmp_path: Path, system_packages: Path) -> Install:
    """Run the script with the prefix tmp_path/alula and no system packages touched."""

    def run(*words: object, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(system_packages)} | environment
        if path:
            variables["PATH"] = f"{path}{os.pathsep}{variables['PATH']}"
        command = ["sh", str(SCRIPT), *map(str, words), "--prefix", str(tmp_path / "alula"), "--no-apt"]
        return subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def version_of(prefix: Path, system_packages: Path) -> str:
    """What the installed command says of itself."""
    return subprocess.run(
        [prefix / "current/bin/alula", "--version"], env=os.environ | {"PYTHONPATH": str(system_packages)},
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


def installed(result: subprocess.CompletedProcess[str]) -> bool:
    """Whether it ended as it should: status 1 if and only if the doctor complains, of a missing pack say."""
    said = result.stdout + result.stderr
    assert result.returncode == int("installed, but the doctor found something wrong" in said), said
    assert "power meter" in result.stdout, said  # the doctor's last check
    return True


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The reason, for a run that changed nothing."""
    assert result.returncode == 2, result.stdout + result.stderr
    return result.stderr


def fake(folder: Path, **programs: str) -> Path:
    """Programs that print one line each."""
    folder.mkdir()
    for name, line in programs.items():
        (folder / name).write_text(f"#!/bin/sh\necho {line}\n")
        (folder / name).chmod(0o755)
    return folder


def test_it_installs_says_up_to_date_upgrades_survives_failures_and_goes(
    install: Install, tmp_path: Path, system_packages: Path
) -> None:
    prefix = tmp_path / "alula"
    first, second = (alula_wheel(tmp_path, version) for version in ("0.1.1", "0.1.2"))

    assert installed(install(first))
    assert version_of(prefix, system_packages) == "alula 0.1.1"
    assert "up to date: alula 0.1.1" in install(first).stdout
    assert len(list((prefix / "venvs").iterdir())) == 1

    assert installed(install(second))
    assert version_of(prefix, system_packages) == "alula 0.1.2"

    broken = alula_wheel(tmp_path, "0.1.3", {"alula/cli.py": "raise RuntimeError('no')\n"})
    assert "the version installed before is untouched" in refused(install(broken))
    crashing = alula_wheel(tmp_path, "0.1.4", {
        "alula/device/doctor/kernels.py": (ROOT / "device/doctor/kernels.py").read_text().replace(
            "outcome = ask_child(CHOOSE", "return judge([]), judge([]), None\n    outcome = ask_child(CHOOSE"),
    })  # fmt: skip
    assert "expected kernels that compute" in refused(install(crashing))
    cut = tmp_path / "alula-0.1.5-py3-none-any.whl"
    cut.write_bytes(second.read_bytes()[:5000])
    assert "damaged" in refused(install(cut))
    assert version_of(prefix, system_packages) == "alula 0.1.2"
    assert sorted(path.name[:5] for path in (prefix / "venvs").iterdir()) == ["0.1.1", "0.1.2"]

    assert "switching back" in install(first).stdout
    assert version_of(prefix, system_packages) == "alula 0.1.1"

    assert install("--uninstall").returncode == 0
    assert not prefix.exists()


def test_pip_never_lays_another_numpy_over_the_systems(install: Install, tmp_path: Path, system_packages: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    cv2 = {"cv2/__init__.py": b"__version__ = 'a stand-in'\n"}
    make_wheel(wheels, "opencv_python_headless", "4.99.0", cv2, ("numpy>=99",))
    make_wheel(wheels, "opencv_python_headless", "4.11.0", cv2, ("numpy>=1.21",))
    make_wheel(wheels, "numpy", "99.0", {"numpy/__init__.py": b"__version__ = '99.0'\n"})
    result = install(alula_wheel(tmp_path, "0.1.1"), "--with-vision", "--wheels", wheels)
    assert installed(result)
    python = tmp_path / "alula/current/bin/python"
    shown = subprocess.run(
        [python, "-c", "import numpy; from importlib import metadata as m; print(numpy.__version__, m.version('opencv-python-headless'))"],
        env=os.environ | {"PYTHONPATH": str(system_packages)}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown == f"{np.__version__} 4.11.0\n"


def test_a_dry_run_changes_nothing(install: Install, tmp_path: Path) -> None:
    wheel = alula_wheel(tmp_path, "0.1.1")
    result = install(wheel, "--dry-run", "--with-vision", "--link")
    assert result.returncode == 0, result.stderr
    assert "would run:" in result.stdout and f"numpy=={np.__version__}" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == [wheel.name]


@pytest.mark.parametrize(
    "programs, words",
    [
        ({"uname": "aarch64", "getconf": "32"}, "32-bit programs on a 64-bit kernel"),
        ({"uname": "armv7l", "getconf": "32"}, "got armv7l"),
        ({"df": "'x\nx 1 1 1024 1% /'"}, "got 1 MB"),
    ],
)
def test_a_machine_that_will_not_do_is_refused(
    programs: dict[str, str], words: str, install: Install, tmp_path: Path
) -> None:
    wheel = alula_wheel(tmp_path, "0.1.1")
    assert words in refused(install(wheel, path=fake(tmp_path / "bin", **programs)))
    assert not (tmp_path / "alula").exists()


def test_an_old_python_is_refused(install: Install, tmp_path: Path) -> None:
    old = fake(tmp_path / "bin", python3="3.9") / "python3"
    assert "got 3.9" in refused(install(alula_wheel(tmp_path, "0.1.1"), PYTHON=str(old)))


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], "expected a wheel"),
        (["absent-1.whl"], "no such file"),
        (["--nonsense"], "see --help"),
        (["--wheels"], "expected"),
        (["{wheel}", "--with-camera"], "picamera2"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words: list[str], expected: str, install: Install, tmp_path: Path) -> None:
    wheel = alula_wheel(tmp_path, "0.1.1")
    said = refused(install(*(word.format(wheel=wheel) for word in words)))
    assert expected in said and said.count("\n") == 1


def test_a_folder_of_somebody_else_is_neither_filled_nor_removed(install: Install, tmp_path: Path) -> None:
    (tmp_path / "alula").mkdir()
    (tmp_path / "alula" / "thesis.tex").write_text("mine")
    assert "got another" in refused(install(alula_wheel(tmp_path, "0.1.1")))
    assert "got another" in refused(install("--uninstall"))
    assert (tmp_path / "alula" / "thesis.tex").read_text() == "mine"


def test_a_file_where_the_link_should_be_is_told_before_anything_is_made(tmp_path: Path) -> None:
    taken = tmp_path / "bin" / "alula"
    script = tmp_path / "install.sh"
    script.write_text(SCRIPT.read_text().replace("LINK=/usr/local/bin/alula", f"LINK={taken}"))
    command = ["sh", script, alula_wheel(tmp_path, "1.0.0"), "--link", "--no-apt", "--prefix", tmp_path / "alula"]

    def said() -> str:
        return refused(
            subprocess.run(
                command, env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, check=False
            )
        )

    assert f"--link: expected a folder {taken.parent} that this user may write to, got none; use sudo" in said()
    taken.parent.mkdir()
    taken.write_text("mine")
    assert f"{taken}: expected no file or a link, got a file; remove it first" in said()
    assert not (tmp_path / "alula").exists() and taken.read_text() == "mine"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_script_has_no_complaints_from_shellcheck() -> None:
    result = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
