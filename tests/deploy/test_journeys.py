"""The two journeys of docs/, from nothing to a result: every command of the pages is run, in their order.

The laptop is a folder with what a user has; the board is another one, where Python sees NumPy, psutil, OpenCV and what the wheel
brought, nothing else. What needs a network, a board or a camera is done by the stand-ins below, everything else by the shell, as
it is written.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from packaging.requirements import Requirement

import alula
from alula.cli import main
from tests.deploy.conftest import ROOT, alula_wheel, lay_packages

cv2 = pytest.importorskip("cv2")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="install.sh is for Linux")

PAGES = ("put-my-model-on-a-pi.md", "fine-tune-on-the-board.md")
BOARD = "pi@raspberrypi.local:"
SHAPES, MINE = ("circle", "cross", "square"), ("bar", "ring")


@dataclass
class Journey:
    """laptop, board : the folders in which commands run; packages : what the board's system has"""

    laptop: Path
    board: Path
    packages: Path
    said: list[str] = field(default_factory=list)

    def sh(self, command: str, on_board: bool, fine: tuple[int, ...] = (0,)) -> None:
        """Run it as a user's shell would; what it prints is the last of `said`."""
        here = self.board if on_board else self.laptop
        variables = {name: value for name, value in os.environ.items() if not name.startswith("ALULA_")}
        variables |= {"PATH": f"{here}/bin{os.pathsep}{os.environ['PATH']}", "PYTHON": sys.executable}
        variables["PYTHONPATH"] = str(self.packages if on_board else ROOT)
        result = subprocess.run(
            ["sh", "-e", "-c", command], cwd=here, env=variables, capture_output=True, text=True, check=False
        )
        assert result.returncode in fine, f"{command}\n{result.stdout}{result.stderr}"
        self.said.append(result.stdout)


def install_extras(journey: Journey, command: str, on_board: bool) -> None:
    """No network: the extras exist, and what they ask for is installed here."""
    (names,) = re.findall(r"^pip install '\.\[([\w,]+)\]'$", command)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for wanted in (Requirement(line) for name in names.split(",") for line in extras[name]):
        assert metadata.version(wanted.name) in wanted.specifier, wanted


def build_wheel(journey: Journey, command: str, on_board: bool) -> None:
    """No minutes for three processors' kernels (tests/arm builds that wheel): the same files without packs."""
    assert command == "pip wheel --no-deps -w build ."
    (journey.laptop / "build").mkdir()
    alula_wheel(journey.laptop / "build", alula.__version__)


def copy(journey: Journey, command: str, on_board: bool) -> None:
    """No board: its home is a folder."""
    journey.sh(command.replace("scp", "cp", 1).replace(BOARD, f"{journey.board}/"), on_board)


def install_on_board(journey: Journey, command: str, on_board: bool) -> None:
    """No root: the script checks all of it and changes nothing (test_install.py installs); the wheel is unpacked beside the packages."""
    assert command.startswith("sudo sh install.sh alula-*.whl ") and "--with-vision" in command
    command = command.removeprefix("sudo ").replace("--with-camera", "").replace("--link", "")  # of /usr/local, of apt
    journey.sh(f"{command} --dry-run --no-apt --prefix {journey.board}/opt", on_board)
    (wheel,) = journey.board.glob("alula-*.whl")
    zipfile.ZipFile(wheel).extractall(journey.packages)
    write_shim(journey.board, "-S")  # without the packages of this environment


def ask_doctor(journey: Journey, command: str, on_board: bool) -> None:
    """This machine may have its faults (1)."""
    journey.sh(command, on_board, fine=(0, 1))


def look_through_camera(journey: Journey, command: str, on_board: bool) -> None:
    """No camera: a video."""
    journey.sh(re.sub(r"(\.alula) 0 ", r"\1 clip.mp4 ", command), on_board)


STAND_INS: dict[str, Callable[[Journey, str, bool], None]] = {
    r"pip install ": install_extras,
    r"pip wheel ": build_wheel,
    r"scp ": copy,
    r"sudo sh install\.sh ": install_on_board,
    r"alula doctor$": ask_doctor,
    r"alula run \S+ 0 ": look_through_camera,
}


def commands(page: str) -> list[tuple[str, bool]]:
    """The commands of a page, and whether they are for the board."""
    found, on_board = [], False
    for heading, block in re.findall(
        r"^## ([^\n]*)$|^```sh\n(.*?)^```$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.M | re.S
    ):
        if heading:
            on_board = heading.casefold() == "on the board"
        found += [(line, on_board) for line in block.replace("\\\n", " ").splitlines()]
    return found


def draw(shape: str, rng: np.random.Generator) -> np.ndarray:
    """A photograph of sorts: one bright shape somewhere on a dark ground."""
    image = rng.integers(0, 70, (48, 64, 3)).astype(np.uint8)
    x, y, r = rng.integers(24, 40), rng.integers(18, 30), int(rng.integers(10, 15))
    colour, at = tuple(map(int, rng.integers(170, 256, 3))), (int(x), int(y))
    if shape in ("circle", "ring"):
        cv2.circle(image, at, r, colour, -1 if shape == "circle" else 3)
    elif shape == "square":
        cv2.rectangle(image, (x - r, y - r), (x + r, y + r), colour, -1)
    else:
        cv2.line(image, (x - r, y - r), (x + r, y + r), colour, 5)
        if shape == "cross":
            cv2.line(image, (x - r, y + r), (x + r, y - r), colour, 5)
    return image


def write_photos(folder: Path, shapes: tuple[str, ...], count: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for shape in shapes:
        (folder / shape).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(folder / shape / f"{number:02}.jpg"), draw(shape, rng))
    return folder


def write_shim(folder: Path, options: str) -> None:
    """The command `alula` for whoever works in this folder."""
    shim = folder / "bin" / "alula"
    shim.parent.mkdir(parents=True)
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {options} -m alula "$@"\n')
    shim.chmod(0o755)


def write_clip(path: Path) -> None:
    rng = np.random.default_rng(4)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (64, 48))
    for _ in range(6):
        writer.write(draw("ring", rng))
    writer.release()


@pytest.fixture
def journey(tmp_path: Path) -> Journey:
    """What a user has before the first command: a model from elsewhere that says nothing, its labels, photos."""
    laptop, board = tmp_path / "laptop", tmp_path / "board"
    board.mkdir()
    write_shim(laptop, "")
    (laptop / "deploy").symlink_to(ROOT / "deploy")
    write_photos(tmp_path / "elsewhere", SHAPES, 60, 0)
    trained = tmp_path / "trained.alula"
    words = ["train", "zoo:resnet20-cifar", "--data", tmp_path / "elsewhere", "--preset", "imagenet", "--epochs", 3, "--batch", 16,
             "--lr", 0.05, "--threads", 1, "-o", trained]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    assert main(["export", str(trained), "-o", str(laptop / "model.onnx")]) == 0
    model = onnx.load(laptop / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, laptop / "model.onnx")
    (laptop / "labels.txt").write_text("".join(f"{shape}\n" for shape in SHAPES))
    write_photos(laptop / "photos", SHAPES, 10, 1)
    shutil.copy(laptop / "photos" / "cross" / "00.jpg", laptop / "photo.jpg")
    write_photos(laptop / "mine" / "train", MINE, 24, 2)
    write_photos(laptop / "mine" / "test", MINE, 12, 3)
    write_clip(board / "clip.mp4")
    return Journey(laptop, board, lay_packages(board / "dist-packages", "numpy", "psutil", "opencv-python-headless"))


def accuracy(said: str) -> float:
    """Of what `alula eval` prints."""
    (percent,) = re.findall(r"accuracy ([\d.]+)%", said)
    return float(percent) / 100


def test_both_pages_lead_from_nothing_to_a_result_in_ten_commands(journey: Journey) -> None:
    said: dict[str, list[str]] = {}
    for page in PAGES:
        assert len(commands(page)) == 10
        for command, on_board in commands(page):
            stand_ins = [stand_in for pattern, stand_in in STAND_INS.items() if re.match(pattern, command)]
            before = len(journey.said)
            if stand_ins:
                stand_ins[0](journey, command, on_board)
            else:
                journey.sh(command, on_board)
            said.setdefault(command, []).extend(journey.said[before:])
    on_laptop, at_board = said["alula run model.alula photo.jpg --top 3"]
    assert "cross" in on_laptop and re.findall(r"(\w+) +([\d.]+)", on_laptop) == re.findall(
        r"(\w+) +([\d.]+)", at_board
    )
    assert accuracy(said["alula eval model.alula --data photos"][0]) > 0.8
    assert accuracy(said["alula eval mine.alula --data mine"][0]) > 0.7
    lines = [json.loads(line) for line in (journey.board / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == 6 and {line["results"][0]["name"] for line in lines} <= set(MINE)
    assert json.loads((journey.board / "energy.json").read_text())
    assert alula.load(journey.laptop / "better.alula").task.classes == MINE
    assert (journey.laptop / "better.onnx").stat().st_size > 10_000
