"""The log of a run is read as far as the run is done; one that cannot be read is begun anew."""

from __future__ import annotations

from pathlib import Path

from alula.runtime.train.records import read_log, write_log


def test_records_of_epochs_that_are_not_done_are_left_out(tmp_path: Path) -> None:
    records = [{"epoch": n, "loss": 1 / n} for n in (1, 2, 3)]
    write_log(tmp_path / "log.jsonl", records)
    assert read_log(tmp_path / "log.jsonl", 2) == records[:2]


def test_a_log_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert read_log(tmp_path / "none.jsonl", 2) == []
    for text in ("{", '{"loss": 1}\n'):
        (tmp_path / "log.jsonl").write_text(text)
        assert read_log(tmp_path / "log.jsonl", 2) == []
