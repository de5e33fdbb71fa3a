"""Seconds that the processors worked."""

from __future__ import annotations

import sys

import psutil
import pytest

from alula.device.power.processor_time import ProcessorTime


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/stat is Linux's")
def test_the_file_says_what_psutil_says():
    times, ours = psutil.cpu_times(), ProcessorTime()
    assert ours() == pytest.approx(times.user + times.nice + times.system + times.irq + times.softirq, abs=5)
    ours.close()
    ours.close()
    assert ours() > 0


def test_without_the_file_psutil_is_asked(tmp_path):
    assert ProcessorTime(str(tmp_path / "none"))() > 0


def test_the_first_line_alone_counts(tmp_path):
    path = tmp_path / "stat"
    path.write_text("cpu  100 20 3 9999 888 40 5 0 0 0\ncpu0 7 7 7 7 7 7 7 0 0 0\n" + "intr 1" * 100)
    assert ProcessorTime(str(path))() == pytest.approx(1.68, rel=1e-9)
