"""The energy log: phases, counters, files, and what it survives."""

from __future__ import annotations

import csv
import json
import threading
import time

import pytest

from alula.device.power import Accuracy, EnergyLog, Reading
from alula.device.power.prometheus import prometheus_text
from alula.device.power.report import tell_energy
from alula.device.power.samples import COLUMNS
from alula.runtime.errors import MeterError


class Steady:
    """A meter of constant power that can vanish; `counter` makes it count energy too."""

    name, covers, interval_s, notes = "steady", "test", 0.001, ("a note",)
    accuracy = Accuracy.MEASURED

    def __init__(self, clock=time.monotonic_ns, power_w=2.0):
        self.clock, self.power_w, self.there = clock, power_w, True

    def read(self):
        if not self.there:
            raise MeterError("steady: expected a sensor, got none")
        return Reading(self.clock(), self.power_w)

    def close(self):
        pass


@pytest.fixture
def log(clock, tmp_path):
    """A running log without a thread: readings are taken by `tick`."""
    meter = Steady(clock)
    log = EnergyLog(meter, tmp_path / "s.csv", tmp_path / "s.json", rate_hz=0, clock=clock)
    with log:
        yield log


def tick(log, clock, seconds, step_s=0.1):
    for _ in range(round(seconds / step_s)):
        clock.advance(step_s)
        log.sample()


def test_nested_phases_share_the_energy(log, clock):
    with log.phase("frame"):
        clock.advance(0.05)
        with log.phase("detect"):
            tick(log, clock, 1.0)
        tick(log, clock, 0.5)
    tick(log, clock, 0.2)
    summary = log.summary()
    frame, detect = summary["phases"]["frame"], summary["phases"]["frame/detect"]
    assert detect["energy_j"] == pytest.approx(2.0)
    assert frame["energy_j"] == pytest.approx(1.1)
    assert frame["inclusive_j"] == pytest.approx(3.1)
    assert summary["other"]["energy_j"] == pytest.approx(0.4)
    assert summary["energy_j"] == pytest.approx(3.5)
    assert summary["energy_mwh"] == pytest.approx(3.5 / 3.6)
    assert (summary["mean_w"], summary["peak_w"]) == pytest.approx((2.0, 2.0))


def test_a_decorated_function_is_a_phase_even_when_it_calls_itself(log, clock):
    @log.phase("step")
    def step(depth):
        tick(log, clock, 0.1)
        if depth:
            step(depth - 1)

    step(1)
    step(0)
    phases = log.summary()["phases"]
    assert phases["step"]["calls"] == 2
    assert phases["step/step"]["calls"] == 1
    assert phases["step"]["inclusive_j"] == pytest.approx(0.6)


def test_counters_give_joules_apiece(log, clock):
    for _ in range(4):
        tick(log, clock, 0.1)
        log.count("frames")
    log.count("steps", 2)
    counters = log.summary()["counters"]
    assert counters["frames"] == {"count": 4, "each_j": pytest.approx(0.2), "each_net_j": None}
    assert counters["steps"]["each_j"] == pytest.approx(0.4)


def test_net_figures_subtract_the_baseline(clock):
    with EnergyLog(Steady(clock), rate_hz=0, idle=1.5, clock=clock) as log:
        with log.phase("work"):
            tick(log, clock, 1.0)
        log.count("frames", 10)
    summary = log.summary()
    assert summary["net_j"] == pytest.approx(0.5)
    assert summary["phases"]["work"]["net_j"] == pytest.approx(0.5)
    assert summary["counters"]["frames"]["each_net_j"] == pytest.approx(0.05)
    assert summary["idle"]["source"] == "given" and summary["net_accuracy"] == "guessed"


def test_the_baseline_can_be_measured_first():
    with EnergyLog(Steady(), rate_hz=0, idle_s=0.02) as log:
        pass
    summary = log.summary()
    assert summary["idle_w"] == pytest.approx(2.0)
    assert summary["idle"]["source"] == "steady" and summary["net_accuracy"] == "measured"


def test_files_say_what_the_summary_says(clock, tmp_path):
    paths = tmp_path / "deep" / "s.csv", tmp_path / "s.json", tmp_path / "s.prom"
    with (
        EnergyLog(Steady(clock), paths[0], paths[1], rate_hz=0, prometheus_path=paths[2], clock=clock) as log,
        log.phase("read text"),
    ):
        clock.advance(0.1)
        log.sample()
        lines = paths[0].read_text().splitlines()
        assert len(lines) == 3  # each row is there at once
        clock.advance(0.1)
    rows = list(csv.DictReader(paths[0].read_text().splitlines()))
    assert [float(row["t_s"]) for row in rows] == pytest.approx([0.0, 0.1, 0.2])
    assert rows[1]["phase"] == "read text" and rows[1]["source"] == "steady"
    summary = json.loads(paths[1].read_text())
    assert summary == log.summary()
    assert summary["state"] == "closed"
    assert (summary["source"], summary["accuracy"]) == ("steady", "measured")
    assert summary["sampling"]["achieved_hz"] == pytest.approx(10)
    assert "a note" in summary["notes"]
    assert paths[2].read_text() == prometheus_text(summary)
    assert 'alula_energy_joules{phase="read text",source="steady",accuracy="measured"} 0.4' in paths[2].read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "s.json", "s.prom"]  # no temporary file is left


def test_samples_are_json_lines_where_the_name_says_so(clock, tmp_path):
    with EnergyLog(Steady(clock), tmp_path / "s.jsonl", rate_hz=0, clock=clock) as log:
        tick(log, clock, 0.3)
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert tuple(rows[0]) == COLUMNS
    assert [row["t_s"] for row in rows] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.3])
    assert {(row["source"], row["accuracy"], row["voltage_v"]) for row in rows} == {("steady", "measured", None)}
    assert rows[3]["age_s"] == pytest.approx(0.3)  # it has shown 2 W all the time


def test_energy_since_a_mark_is_exact_and_has_its_class(log, clock):
    tick(log, clock, 0.5)
    clock.advance(0.05)
    mark = log.mark()
    clock.advance(0.05)
    assert log.energy_j(mark) == pytest.approx(0.1)
    tick(log, clock, 1.0)
    assert log.energy_j(mark) == pytest.approx(2.1)
    assert log.energy_by_class_j(mark) == {Accuracy.MEASURED: pytest.approx(2.1)}
    assert log.energy_j() == pytest.approx(3.2)
    assert log.energy_j(log.mark()) == 0


def test_one_line_tells_the_energy_its_class_and_what_is_guessed_of_it(log, clock):
    with log.phase("fly"):
        tick(log, clock, 1.0)
    log.count("frame", 4)
    assert tell_energy(log.summary(), "frame") == "energy: 2 J, 0.5 J per frame (measured, steady)"
    clock.advance(1.0)
    log.sample()
    assert tell_energy(log.summary()) == "energy: 4 J (guessed, steady, of which 2 J measured, 2 J guessed)"


def test_a_meter_that_vanishes_midway_is_said_counted_and_leaves_a_gap(log, clock, tmp_path, caplog):
    with log.phase("fly"):
        tick(log, clock, 0.5)
        log.meter.there = False
        tick(log, clock, 3.0)
        log.meter.there = True
        tick(log, clock, 0.5)
    summary = log.summary()
    assert summary["sampling"]["failed_readings"] == 30
    assert summary["gap"]["count"] == 1
    assert summary["gap"]["seconds"] == pytest.approx(3.1)
    assert summary["phases"]["fly"]["energy_j"] == pytest.approx(0.9 * 2)
    assert summary["phases"]["fly"]["gap_s"] == pytest.approx(3.1)
    assert summary["energy_j"] == pytest.approx(8.0)
    assert any("expected a sensor" in note for note in summary["notes"])
    assert "back after 30 failed readings" in caplog.text
    flags = [row["flag"] for row in csv.DictReader((tmp_path / "s.csv").read_text().splitlines())]
    assert flags.count("failed") == 1 and flags.count("gap") == 1


def test_a_meter_that_stays_away_leaves_a_gap_to_the_end(clock):
    meter = Steady(clock)
    with EnergyLog(meter, rate_hz=0, clock=clock) as log:
        tick(log, clock, 1.0)
        meter.there = False
        clock.advance(4.0)
    summary = log.summary()
    assert summary["duration_s"] == pytest.approx(5.0)
    assert summary["gap"]["seconds"] == pytest.approx(4.0)
    assert summary["gap"]["guessed_j"] == pytest.approx(8.0)


def test_with_a_fallback_the_figures_are_an_estimate_and_say_why(clock):
    class Model(Steady):
        name, accuracy = "model", Accuracy.MODELLED

    meter = Steady(clock)
    with EnergyLog(meter, rate_hz=0, fallback=Model(clock, 5.0), clock=clock) as log:
        tick(log, clock, 1.0)
        meter.there = False
        tick(log, clock, 1.0)
    summary = log.summary()
    assert summary["accuracy"] == "guessed" and summary["source"] == "steady+model"
    assert [entry["accuracy"] for entry in summary["sources"]] == ["measured", "modelled"]
    assert summary["by_class_j"] == pytest.approx({"measured": 2.0, "modelled": 3.5, "guessed": 1.05})
    assert summary["energy_j"] == pytest.approx(sum(summary["by_class_j"].values()))
    assert summary["sources"][1]["seconds"] == pytest.approx(0.7)
    assert any("fell back to model" in note for note in summary["notes"])


def test_a_meter_that_is_not_there_at_the_start_raises_and_makes_no_file(clock, tmp_path):
    meter = Steady(clock)
    meter.there = False
    with pytest.raises(MeterError, match="expected a sensor"), EnergyLog(meter, tmp_path / "s.csv", clock=clock):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_exception_in_the_body_still_writes_the_summary(clock, tmp_path):
    log = EnergyLog(Steady(clock), None, tmp_path / "s.json", clock=clock)
    with pytest.raises(ZeroDivisionError), log, log.phase("work"):
        _ = 1 / 0
    assert json.loads((tmp_path / "s.json").read_text())["state"] == "ZeroDivisionError"


def test_a_disk_that_refuses_is_survived(clock, tmp_path):
    (tmp_path / "file").write_text("")
    with EnergyLog(Steady(clock), "/dev/full", tmp_path / "file" / "s.json", rate_hz=0, clock=clock) as log:
        tick(log, clock, 0.3)
    notes = " ".join(log.summary()["notes"])
    assert "no more samples are written" in notes
    assert "expected to write the summary" in notes
    assert log.summary()["energy_j"] == pytest.approx(0.6)


@pytest.mark.parametrize("name", ["", "a/b", "a\n", '"', " a", "a  b"])
def test_a_phase_name_that_would_break_a_file_is_refused(log, name):
    with pytest.raises(MeterError, match="expected letters"):
        log.phase(name)


def test_phases_belong_to_one_thread_and_counters_to_all(log):
    errors = []

    def other():
        log.count("frames")
        try:
            with log.phase("capture"):
                pass
        except MeterError as error:
            errors.append(str(error))

    with log.phase("detect"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(errors) == 1 and "expected the thread" in errors[0]
    assert log.summary()["counters"]["frames"]["count"] == 1


def test_a_log_that_is_not_running_refuses_phases_and_a_second_start(clock):
    log = EnergyLog(Steady(clock), rate_hz=0, clock=clock)
    with pytest.raises(MeterError, match="got a new one"), log.phase("a"):
        pass
    with pytest.raises(MeterError, match="has begun"):
        log.summary()
    with pytest.raises(MeterError, match="has begun"):
        log.energy_j()
    with pytest.raises(MeterError, match="expected a running log"):
        log.mark()
    with log:
        pass
    log.close()
    assert log.sample() is False
    with pytest.raises(MeterError, match="got a closed one"), log.phase("a"):
        pass
    with pytest.raises(MeterError, match="got one that is closed"), log:
        pass


def test_the_sampler_thread_books_short_phases_while_the_program_works(tmp_path):
    # Real time, but only what does not depend on how long anything took.
    with EnergyLog(Steady(), tmp_path / "s.csv", tmp_path / "s.json", rate_hz=200, save_every_s=0.01) as log:
        for _ in range(40):
            with log.phase("frame"):
                with log.phase("short"):
                    pass
                time.sleep(0.002)
            log.count("frames")
        deadline = time.monotonic() + 10
        while not (tmp_path / "s.json").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert json.loads((tmp_path / "s.json").read_text())["state"] == "running"  # saved on the way
    summary = log.summary()
    parts = [*summary["phases"].values(), summary["other"], summary["gap"]]
    assert sum(part["energy_j"] for part in parts) == pytest.approx(summary["energy_j"], rel=1e-9)
    assert summary["energy_j"] == pytest.approx(2.0 * summary["duration_s"], rel=1e-9)
    assert summary["phases"]["frame/short"]["calls"] == 40
    assert summary["phases"]["frame/short"]["energy_j"] > 0
    assert summary["sampling"]["readings"] > 3
    assert not [thread for thread in threading.enumerate() if thread.name == "energy-log"]


def test_a_read_that_never_returns_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("alula.device.power.sampler.STUCK_S", 0.05)
    release = threading.Event()

    class Stuck(Steady):
        def read(self):
            if threading.current_thread().name == "energy-log":
                release.wait(10)
            return super().read()

    with EnergyLog(Stuck(), rate_hz=100) as log, log.phase("work"):
        time.sleep(0.05)
    thread = log._sampler.thread
    assert any("left behind" in note for note in log.summary()["notes"])
    before = log.summary()
    release.set()
    thread.join(5)
    assert log.summary()["energy_j"] == before["energy_j"]  # what it brings is too late
