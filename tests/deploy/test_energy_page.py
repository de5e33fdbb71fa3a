"""docs/energy.md: every command of the page is run in its order, on a simulated board; what only a board has is read by the shell."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from alula.cli import main
from tests.power_field import set_up
from tests.test_project import ROOT

PAGE = (ROOT / "docs" / "energy.md").read_text(encoding="utf-8")
MISSION = "#!/bin/sh\nsleep 0.1\n"
LOGGER = "#!/bin/sh\necho power_w\nfor k in $(seq 10 99); do echo 3.$k; sleep 0.05; done\n"


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: a mission, a logger, and `alula` for the shell."""
    set_up(monkeypatch, tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "bin"
    folder.mkdir()
    shim = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m alula "$@"\n'
    for path, text in ((tmp_path / "mission.sh", MISSION), (folder / "LOGGER", LOGGER), (folder / "alula", shim)):
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def by_shell(command: str) -> str:
    result = subprocess.run(["sh", "-e", "-c", command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, (command, result)
    return result.stdout


def test_every_command_of_the_page_runs(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said: dict[str, str] = {}
    running: list[subprocess.Popen[bytes]] = []
    for command in commands():
        if command.endswith("&"):
            running.append(subprocess.Popen(["sh", "-c", f"exec {command[:-1]}"]))
        elif "|" in command:  # by a shell, whose clock is the real one
            result = subprocess.run(
                ["sh", "-e", "-c", command.replace("--for 10s", "--for 300ms")], capture_output=True, check=True
            )
            said[command] = result.stdout.decode()
        else:
            assert command.startswith("alula ")
            assert main(shlex.split(command)[1:]) == 0, (command, capfd.readouterr())
            output = capfd.readouterr()
            said[command] = output.out + output.err
    for process in running:
        process.terminate()
        process.wait()
    assert len(said) > 12
    shown = {words: text for command, text in said.items() for words in [" ".join(command.split()[:3])]}
    assert "auto takes" in shown["alula power list"] and "yes" in shown["alula power check"]
    assert re.search(r"power = 1\.2\d* x raw", shown["alula power calibrate"])
    assert "95 % interval" in shown["alula power compare"]
    assert all("energy: " in text for command, text in said.items() if " log " in command)
    flight = json.loads((here / "flight.json").read_text())
    rows = list(csv.DictReader((here / "flight.csv").read_text().splitlines()))
    assert flight["net_j"] is not None and float(rows[-1]["energy_j"]) == pytest.approx(flight["energy_j"], abs=1e-5)
    assert (here / "flight.png").read_bytes()[:4] == b"\x89PNG"
    assert (here / "home" / "idle.json").exists() and (here / "home" / "power.json").exists()


def test_the_lines_for_a_board_alone_are_lines_of_a_shell() -> None:
    lines = re.findall(r"`((?:echo|sudo|i2cdetect) [^`]*)`", PAGE)
    assert len(lines) > 4
    for line in lines:
        subprocess.run(["sh", "-n", "-c", line], check=True)


def test_the_example_in_python_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    names = {"camera": range(3), "detect": lambda frame: frame, "adapt": lambda: None}
    exec(compile(example, "docs/energy.md", "exec"), names)
    summary = json.loads((here / "flight.json").read_text())
    assert summary["counters"]["frame"]["count"] == 3 and summary["phases"]["infer"]["calls"] == 3
