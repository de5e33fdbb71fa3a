"""Commands where nothing is as it should be: one line or an answer (`tests/bench/environments.py` runs them all)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alula import cli, faults, streams
from alula.device.camera import VideoFile, open_source
from alula.device.tasks.annotate import AnnotatedVideo
from alula.host.ort import OrtModel
from alula.report import Report
from alula.runtime.compiler.loader import library
from alula.runtime.errors import SourceError
from tests.hostile import MAX_LINE, Inputs, commands, good_inputs, hostile_files, run, surroundings

ROOT = Path(__file__).parent.parent
QUICK = ("info --json", "run")
MAGICS = ("png", "zip", "npy", "alula", "onnx")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inputs]:
    """What is right, in a folder that everybody may read, with this machine's kernels beside it."""
    folder = tmp_path_factory.mktemp("hostile")
    for each in (folder, *folder.parents):
        if each.name.startswith(("hostile", "pytest-")) and each.owner() == folder.owner():
            each.chmod(0o755)
    for suffix in (".so", ".json"):
        shutil.copy(library().path.with_suffix(suffix), folder / f"pack{suffix}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALULA_PACK", str(folder / "pack.so"))
        patch.delenv("ALULA_CHECK")
        found = good_inputs(folder)
        for name in QUICK:  # imports what they need: another user may not be allowed to read it
            assert cli.main([str(word) for word in commands(found, folder)[name]]) == 0
        yield found


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_commands_in_hostile_surroundings_answer_or_say_one_line(inputs: Inputs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    bad = {}
    for around in surroundings(tmp_path):
        name = QUICK[bool(around.variables or around.user)]
        if wrong := run(commands(inputs, out)[name], around).is_bad:
            bad[around.name] = wrong
    assert not bad


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(
    ("good", "words"), [("onnx", "pack FILE -o OUT"), ("packed", "info FILE"), ("array", "run NET FILE")]
)
def test_hostile_files_are_refused_in_one_line(good: str, words: str, inputs: Inputs, tmp_path: Path) -> None:
    names = {"OUT": tmp_path / "out.alula", "NET": inputs.packed}
    bad, statuses = {}, set()
    for kind, path in hostile_files(tmp_path, getattr(inputs, good), MAGICS).items():
        outcome = run([{**names, "FILE": path}.get(word, word) for word in words.split()], limit_s=10)
        statuses.add(outcome.status)
        if outcome.is_bad:
            bad[kind] = outcome.is_bad
    assert not bad and 2 in statuses


class Odd(Exception):
    """Of another library."""


def _raises(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The status of a command that raises it."""

    def fail(*_: object) -> Report:
        raise error

    monkeypatch.setattr("alula.commands.zoo.run", fail)
    return cli.main(["zoo"])


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (RecursionError("maximum"), 2, "nested too deeply"),
        (MemoryError(), 2, "expected more memory, got none left;"),
        (MemoryError("Unable to allocate 9 EiB"), 2, "9 EiB"),
        (PermissionError(13, "Permission denied", "/no/such"), 2, "/no/such: Permission denied"),
        (FileNotFoundError(2, "No such file", "a", None, "b"), 2, "a and b: No such file"),
        (OSError(), 2, "OSError"),
        (
            ValueError("argmin of an\n empty sequence"),
            70,
            "fault, ValueError: argmin of an empty sequence; set ALULA_TRACEBACK=1",
        ),
        (UnicodeEncodeError("ascii", "ü", 0, 1, "no"), 70, "fault, UnicodeEncodeError"),
        (Odd("x" * 1000), 70, "tests.test_environments.Odd: xxx"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_whatever_is_raised_becomes_one_line_and_a_status(
    error: BaseException, status: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ALULA_TRACEBACK")
    assert _raises(error, monkeypatch) == status
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and len(said) <= MAX_LINE
    if status == faults.FAULT:
        assert f"tests/{Path(__file__).name}:" in said


def test_a_fault_is_raised_as_it_is_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALULA_TRACEBACK", "1")
    with pytest.raises(Odd):
        _raises(Odd("as it is"), monkeypatch)


def test_a_line_has_no_control_characters_and_keeps_its_beginning_and_end() -> None:
    assert streams.told("a\nb \x1b[31m \udcff ü") == "a b \\x1b[31m \\xff ü"
    line = streams.told(f"begin {'x' * 1000} end")
    assert len(line) < MAX_LINE and line.startswith("begin x") and line.endswith("x end")


@pytest.mark.parametrize(
    "shell", ["alula zoo >&-", "alula zoo >/dev/full", "alula zoo | true", "alula --help >/dev/full"]
)
def test_an_output_that_takes_nothing_leaves_no_traceback(shell: str) -> None:
    words = shell.replace("alula", f"'{sys.executable}' -m alula", 1)
    done = subprocess.run(["bash", "-c", f"{words}; exit ${{PIPESTATUS[0]}}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1, 2) and done.stderr.count("\n") == (done.returncode == 2)
    assert "Traceback" not in done.stderr


def test_a_name_that_is_no_text_is_not_given_to_opencv(inputs: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "n\udcff.avi"
    path.write_bytes(b"RIFF")
    for make in (
        lambda: VideoFile(path),
        lambda: AnnotatedVideo(tmp_path / "m\udcff.mp4", 10),
        lambda: open_source("rtsp://\udcff"),
        lambda: OrtModel(path),
    ):
        with pytest.raises(SourceError, match=r"\\xff.*: expected a name in UTF-8, got other bytes; rename it"):
            make()
