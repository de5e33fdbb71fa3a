"""How the boards are built: what is whole stays, what is half is built again, what cannot be had is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.arm import boards, debian
from tests.arm.boards import BOARDS
from tests.arm.debian import BOOKWORM, TRIXIE, BoardsError, Release


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Downloads that write one file and are written down."""
    done: list[str] = []

    def install(packages: tuple[str, ...], target: Path, release: Release) -> None:
        done.append(" ".join(packages))
        target.mkdir(parents=True)
        (target / "module.py").write_text("")

    monkeypatch.setattr(debian, "_install", install)
    return done


def test_wheels_are_downloaded_once(tmp_path: Path, downloads: list[str]) -> None:
    place = debian.wheels(tmp_path, "opencv", TRIXIE)
    assert debian.wheels(tmp_path, "opencv", TRIXIE) == place
    assert downloads == ["opencv-python-headless"] and (place / "module.py").exists()


def test_what_a_killed_run_left_is_built_again(tmp_path: Path, downloads: list[str]) -> None:
    for name in ("opencv", "opencv.part"):
        (tmp_path / "extras" / "trixie" / name).mkdir(parents=True)
        (tmp_path / "extras" / "trixie" / name / "half.py").write_text("")
    place = debian.wheels(tmp_path, "opencv", TRIXIE)
    assert downloads and not (place / "half.py").exists()


def test_another_recipe_is_built_again(tmp_path: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    debian.wheels(tmp_path, "ncnn", TRIXIE)
    monkeypatch.setitem(debian.EXTRAS, "ncnn", ("ncnn==1.0",))
    debian.wheels(tmp_path, "ncnn", TRIXIE)
    assert downloads == ["ncnn", "ncnn==1.0"]


def test_an_old_numpy_keeps_the_opencv_that_takes_it(tmp_path: Path, downloads: list[str]) -> None:
    assert debian.wheels(tmp_path, "opencv", BOOKWORM) != debian.wheels(tmp_path, "opencv", TRIXIE)
    assert downloads == ["opencv-python-headless<4.12", "opencv-python-headless"]


def test_an_unknown_extra_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BoardsError, match="opencv, onnxruntime"):
        debian.wheels(tmp_path, "tensorflow", TRIXIE)


def test_a_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian.shutil, "which", lambda _: None)
    with pytest.raises(BoardsError, match=r"expected the program qemu-aarch64, got none; .* apt-get install qemu-user"):
        debian.qemu()


def test_a_failed_download_is_one_line_with_its_reason() -> None:
    with pytest.raises(BoardsError) as caught:
        debian._run(["sh", "-c", "echo working; echo 'E: no route to host' >&2; exit 1"], "wheels")
    assert str(caught.value) == "boards: expected wheels, got from sh: E: no route to host; is the network there?"


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_a_board_shows_its_own_processor_memory_and_model(board: boards.Board) -> None:
    files = boards.files(board)
    assert files["proc/cpuinfo"].count(f"CPU part\t: {board.part}\n") == board.cores
    assert f"MemTotal: {board.memory_kb:>14} kB" in files["proc/meminfo"]
    assert files["proc/device-tree/model"] == f"{board.model}\0"
    assert ("asimddp" in files["proc/cpuinfo"]) == (board.cpu == "cortex-a76")
