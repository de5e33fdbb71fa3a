"""Folders that can be written to, devices that can be opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alula.device.doctor import Machine, Verdict, checkup
from alula.device.doctor.access import devices, storage
from alula.device.doctor.finding import UNKNOWN, Finding
from tests.device.doctor.conftest import Fake


def test_a_folder_that_does_not_exist_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    finding = storage(tmp_path / "not" / "yet")
    assert finding.facts["cache_writable"] is True and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_a_note_with_the_variable_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object, **options: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    finding = storage(tmp_path)
    assert finding.verdict is Verdict.NOTE and "read-only" in finding.found and "XDG_CACHE_HOME" in finding.fix


def test_a_full_card_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: os.terminal_size((0, 0)) and type("U", (), {"free": 1e6}))
    assert storage(tmp_path).verdict is Verdict.WARNING


def test_groups_and_device_files_are_looked_at_on_a_pi_alone(fake: Fake) -> None:
    assert devices(fake.machine()).found == UNKNOWN
    fake.pi()
    for name in ("dev/vcio", "dev/video0", "dev/media0", "dev/dma_heap/system", "dev/i2c-1"):
        fake.write(name, "")
    finding = devices(fake.machine(groups=frozenset({"video"})))
    assert finding.verdict is Verdict.WARNING and "usermod -aG i2c" in finding.fix
    finding = devices(fake.machine(groups=frozenset({"video", "i2c"})))
    assert finding.verdict is Verdict.OK and finding.facts["has_i2c"] is True


def test_a_bus_that_is_switched_off_is_a_note_with_the_command(fake: Fake) -> None:
    fake.pi()
    finding = devices(fake.machine(is_root=True))
    assert finding.verdict is Verdict.NOTE and "do_i2c 0" in finding.fix


def test_a_user_without_a_home_or_a_temporary_folder_gets_a_finding() -> None:
    finding = storage(None)
    assert finding.verdict is Verdict.NOTE and "XDG_CACHE_HOME" in finding.fix


def test_a_place_that_may_not_be_looked_into_is_not_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("shutil.disk_usage", refuse)
    finding = storage(Path("/root/.cache/alula"))
    assert finding.verdict is Verdict.NOTE and "not writable: permission denied" in finding.found


def test_a_check_that_may_not_look_leaves_the_other_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    def board(machine: Machine) -> Finding:
        raise PermissionError(13, "Permission denied", "/proc/x")

    monkeypatch.setattr(checkup, "CHECKS", (board, lambda machine: Finding("other", Verdict.OK, "seen")))
    first, second = checkup.examine(Machine())
    assert (first.check, first.verdict, second.found) == ("board", Verdict.NOTE, "seen") and "/proc/x" in first.found


@pytest.mark.parametrize(
    ("home", "cache", "wanted"), [("/h", "", "/h/.cache/alula"), ("/h", "/c", "/c/alula"), ("~", "", None)]
)
def test_the_usual_cache_needs_a_home_or_a_variable(
    home: str, cache: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda _: home)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    assert checkup._usual_cache() == (Path(wanted) if wanted else None)
