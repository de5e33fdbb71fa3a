"""All checks together: on a machine of nothing, and as the command."""

from __future__ import annotations

import json

import pytest

from alula.cli import main
from alula.device.doctor import Finding, Verdict, examine, worst
from alula.device.doctor.checkup import CHECKS
from alula.device.doctor.dependencies import optional
from tests.device.doctor.conftest import Fake

FINDINGS = [
    Finding("board", Verdict.OK, "a board", facts={"board": "a board"}),
    Finding("memory", Verdict.NOTE, "little", "buy more", {"memory_total_mb": 5}),
]


def test_a_machine_of_nothing_is_examined_without_a_traceback(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = tuple(check for check in CHECKS if check is not optional)  # a child for each that is installed here
    monkeypatch.setattr("alula.device.doctor.checkup.CHECKS", quick)
    findings = list(examine(fake.machine()))
    assert len(findings) >= len(quick)
    names = [name for finding in findings for name in finding.facts]
    assert len(names) == len(set(names))


def test_the_worst_verdict_counts() -> None:
    assert worst([]) is Verdict.OK
    assert worst(FINDINGS) is Verdict.NOTE
    assert worst([Finding("x", Verdict.WRONG, ""), *FINDINGS]) is Verdict.WRONG


@pytest.mark.parametrize("more, status", [([], 0), ([Finding("cpu", Verdict.WARNING, "hot")], 0),
                                          ([Finding("cpu", Verdict.WRONG, "none", "get one")], 1)])  # fmt: skip
def test_the_command_s_status_tells_whether_something_is_wrong(
    more: list[Finding], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alula.device.doctor.examine", lambda machine: iter(FINDINGS + more))
    assert main(["doctor"]) == status
    shown = capsys.readouterr().out
    assert "note: memory: buy more" in shown and "1 ok, 1 note" in shown
    assert main(["doctor", "--json"]) == status
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == worst(FINDINGS + more)
    assert document["facts"] == {"board": "a board", "memory_total_mb": 5}
    assert document["checks"][1] == {"check": "memory", "verdict": "note", "found": "little", "fix": "buy more"}


def test_a_limit_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--limit", "0"])
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1
