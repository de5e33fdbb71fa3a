"""`alula power` as users call it: what it prints, writes, passes on and refuses."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from alula.child import Child
from alula.cli import main
from alula.energy import reads_input
from tests import power_field
from tests.test_project import ROOT

MODEL = "model,idle=2,full=6"
LONGER = ("--quiet", "20s", "--busy", "20s")  # 0.4 s here


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Corrections and baselines are kept in the test's folder."""
    monkeypatch.setenv("ALULA_POWER", str(tmp_path / "home" / "power.json"))
    return tmp_path / "home"


def ran(capsys, *words, status=0):
    assert main([str(word) for word in words]) == status
    return capsys.readouterr()


def document(capsys, *words, status=0):
    return json.loads(ran(capsys, *words, "--json", status=status).out)


def refused(capsys, *words):
    said = ran(capsys, *words, status=2)
    assert said.out == "" and said.err.count("\n") == 1 and len(said.err) < 300
    return said.err


def test_list_says_what_is_there_and_what_is_missing_and_ends_with_0(capsys):
    said = document(capsys, "power", "list")
    assert {source["meter"].split(":")[0] for source in said["sources"]} >= {
        "pmic",
        "rapl",
        "hwmon",
        "i2c",
        "model",
        "csv",
    }
    for source in said["sources"]:
        assert source["accuracy"] in ("measured", "corrected", "modelled", "guessed") and source["covers"]
        assert source["there"] or source["missing"]
    assert said["auto"] and any(source["there"] for source in said["sources"])
    assert "auto takes" in ran(capsys, "power", "list").out


def test_two_sensors_that_differ_are_named():
    from alula.device.power import Accuracy, Candidate, Trust
    from alula.metering.list import disagreements

    sources = [Candidate("i2c:1:0x40", Trust.SHUNT, None, Accuracy.MEASURED, ""),
               Candidate("pmic", Trust.CORRECTED, None, Accuracy.CORRECTED, ""),
               Candidate("rapl", Trust.COUNTER, None, Accuracy.MEASURED, "")]  # fmt: skip
    assert disagreements(sources, [3.0, 3.3, 90.0]) == []
    assert "i2c:1:0x40 and pmic differ: 3 W and 4 W" in disagreements(sources, [3.0, 4.0, None])[0]


def test_a_time_is_logged_into_every_file(capsys, tmp_path):
    prom, plot = tmp_path / "s.prom", tmp_path / "p.png"
    said = document(capsys, "power", "log", "--meter", MODEL, "--for", "200ms", "--out", tmp_path / "s.csv", "--prometheus", prom,
                    "--plot", plot, "--rate", "50")  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["energy_j"] == said["energy_j"] > 0 and said["exit_status"] == 0
    assert float(rows[-1]["energy_j"]) == pytest.approx(said["energy_j"], abs=1e-5)
    assert {row["accuracy"] for row in rows} == {said["accuracy"]} == {"modelled"}
    assert 'accuracy="modelled"' in prom.read_text() and plot.read_bytes()[:4] == b"\x89PNG"


def test_an_energy_is_a_budget_too(capsys, tmp_path):
    said = document(capsys, "power", "log", "--meter", MODEL, "--for", "100mJ", "--out", tmp_path / "s.jsonl")
    assert said["energy_j"] >= 0.1
    assert json.loads((tmp_path / "s.jsonl").read_text().splitlines()[0])["source"] == said["source"]


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_of_a_command_is_passed_on_and_the_log_is_kept(capfd, tmp_path, status):
    words = [
        "power",
        "log",
        "--meter",
        MODEL,
        "--out",
        tmp_path / "s.json",
        "--",
        "sh",
        "-c",
        f"echo --json; exit {status}",
    ]
    said = ran(capfd, *words, status=status)
    assert said.out == "--json\n" and "energy: " in said.err and "(modelled, " in said.err
    assert json.loads((tmp_path / "s.json").read_text())["state"] == "closed"


def test_a_command_is_ended_when_the_budget_is_used_up(capfd):
    said = ran(
        capfd, "power", "log", "--meter", MODEL, "--for", "100ms", "--", "sleep", "60", status=128 + signal.SIGTERM
    )
    assert "energy: " in said.err


# A process that was started in the background ignores Ctrl-C, and so do its children
HEEDING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def test_ctrl_c_ends_a_log_with_its_figures(tmp_path):
    samples = tmp_path / "s.csv"
    code = f"{HEEDING}; import sys; from alula.entry import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "power", "log", "--meter", MODEL, "--out", samples], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while process.poll() is None and (not samples.exists() or len(samples.read_text().splitlines()) < 3):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == "" and out.startswith("energy: ")
    assert json.loads((tmp_path / "s.json").read_text())["state"] == "closed"


def test_figures_net_of_the_baseline_of_this_machine(capsys, tmp_path, home):
    idle = document(capsys, "power", "idle", "--meter", MODEL, "--for", "200ms")
    assert Path(idle["file"]) == home / "idle.json" and idle["power_w"] >= 2
    said = document(capsys, "power", "log", "--meter", MODEL, "--for", "100ms")
    assert said["net_j"] == pytest.approx(said["energy_j"] - idle["power_w"] * said["duration_s"])
    assert document(capsys, "power", "log", "--meter", MODEL, "--for", "100ms", "--idle", "none")["net_j"] is None
    given = document(capsys, "power", "log", "--meter", MODEL, "--for", "100ms", "--idle", "1.5")
    assert given["idle_w"] == 1.5 and given["net_accuracy"] == "guessed"
    other = home / "idle.json"
    other.write_text(other.read_text().replace("model:given", "pmic"))
    assert "baseline of this machine is of pmic" in ran(capsys, "power", "log", "--meter", MODEL, "--for", "100ms").out


def test_a_full_disk_is_said_and_the_log_goes_on(capsys):
    said = ran(capsys, "power", "log", "--meter", MODEL, "--for", "100ms", "--out", "/dev/full/x", status=2).err
    assert "/dev/full" in said
    assert "no more samples are written" in " ".join(full_disk_notes())


def full_disk_notes():
    from alula.device.power import EnergyLog, select_meter

    with EnergyLog(select_meter(MODEL), "/dev/full", rate_hz=0) as log:
        log.sample()
    return log.summary()["notes"]


def test_runs_are_compared_and_kinds_are_not_mixed(capsys, tmp_path):
    names = [tmp_path / f"{k}.json" for k in range(4)]
    for name in names:
        document(capsys, "power", "log", "--meter", MODEL, "--for", "50ms", "--out", name)
    pair = document(capsys, "power", "compare", *names[:2])
    assert pair["differences"][0]["name"] == "energy" and pair["runs"] == [1, 1]
    groups = ran(capsys, "power", "compare", *names[:2], "--against", *names[2:]).out
    assert "95 % interval" in groups and "class: modelled" in groups
    names[1].write_text(names[1].read_text().replace("model:given", "pmic"))
    assert "expected one meter, got model:given and pmic; " in refused(capsys, "power", "compare", *names[:2])
    assert document(capsys, "power", "compare", *names[:2], "--mixed")["flagged"]


@pytest.fixture
def field(monkeypatch, home):
    return power_field.set_up(monkeypatch, home)


def test_check_says_of_each_meter_whether_it_sees_the_step(capsys, field):
    both = document(capsys, "power", "check", "--meter", "pmic", "--against", "i2c:1:0x40", "--cores", "2", *LONGER)
    assert [(meter["seen"], round(meter["step_w"], 1)) for meter in both["meters"]] == [(True, 2.4), (True, 3.0)]
    assert not both["differ"]
    other = ran(
        capsys, "power", "check", "--meter", "model,idle=3,full=3", "--against", "i2c:1:0x40", *LONGER, status=1
    ).out
    assert "the meters differ" in other and "model:given: does not see the step" in other


def test_calibrate_keeps_its_correction_or_says_why_not(capsys, field, home):
    flat = refused(capsys, "power", "calibrate", "--meter", "model,idle=3,full=3", "--against", "i2c:1:0x40")
    assert "expected a power that follows the load" in flat and not home.exists()
    said = document(capsys, "power", "calibrate", "--meter", "pmic", "--against", "i2c:1:0x40")
    assert said["gain"] == pytest.approx(1.25, abs=0.02) and said["residual_w"] < 0.1
    (kept,) = json.loads(Path(said["file"]).read_text())["corrections"]
    assert kept["meter"] == "pmic" and kept["gain"] == said["gain"] and "against i2c:1:0x40" in kept["source"]
    steps = len({0, 1, os.cpu_count() or 1})
    by_hand = document(capsys, "power", "calibrate", "--meter", "pmic", "--watts", ",".join("369"[:steps]))
    assert by_hand["gain"] > 0 and by_hand["against"] == "watts by hand"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["log", "--for", "3frames"], "expected one of the units"),
        (["log", "--for", "3W"], "--for: expected a time or an energy"),
        (["log", "--meter", "nonsense"], "expected auto, "),
        (["log", "--meter", MODEL, "--", "no-such-command"], "no-such-command: expected a command"),
        (["log", "--meter", MODEL, "--rate", "-1"], "expected readings a second, above 0"),
        (["log", "--meter", MODEL, "--rate", "0"], "expected readings a second, above 0"),
        (["log", "--meter", MODEL, "--rate", "nan"], "expected readings a second, above 0"),
        (["log", "--meter", MODEL, "--out", "x.txt"], "expected a name that ends in .csv, .jsonl, .json"),
        (["log", "--meter", MODEL, "--out", "x.CSV"], "expected a name that ends in .csv, .jsonl, .json"),
        (["log", "--meter", f"{MODEL},gain=1e300"], "expected gain=a number above 0"),
        (["log", "--meter", f"{MODEL},offset=-1e13"], "expected offset=a number"),
        (["log", "--meter", MODEL, "--idle", "1e300", "--for", "1ms"], "expected watts from 0 on"),
        (["log", "--meter", MODEL, "--idle", "nan", "--for", "1ms"], "expected watts from 0 on"),
        (["log", "--meter", MODEL, "--idle", "none.json", "--for", "1ms"], "none.json"),
        (["log", "--meter", MODEL, "--out", "no/folder/x.csv"], "expected a folder"),
        (["idle", "--meter", MODEL, "--for", "10J"], "expected a time"),
        (["compare", "a.json"], "expected two files"),
        (["compare", "a.json", "b.json"], "a.json"),
        (["calibrate", "--watts", "1,2,3,4,5"], "expected"),
        (["calibrate", "--watts", "1,x"], "expected watts such as"),
        (["calibrate", "--watts", "1,inf"], "expected watts such as"),
        (["check", "--cores", "100000"], "--cores: expected at most"),
        (["log", "--meter", MODEL, "--idle", "/dev/zero"], "/dev/zero: expected a file"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    try:
        assert said in refused(capsys, "power", *words)
    except SystemExit as end:  # argparse itself
        assert end.code == 2 and said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_not_said_to_be_and_the_figures_are_told(capsys, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    summary, rows, plot = tmp_path / "x.json", tmp_path / "x.csv", tmp_path / "x.png"
    once = ("power", "log", "--meter", MODEL, "--for", "50ms")
    monkeypatch.setattr("alula.device.power.log.write_summary", full)
    said = ran(capsys, *once, "--out", summary, status=2)
    assert "energy: " in said.out and "No space left" in said.out and "written" not in said.out
    assert ran(capsys, *once, "--out", summary, "--", "true").err.count("energy: ") == 1, "the command's own status"
    monkeypatch.undo()
    monkeypatch.setattr("alula.device.power.samples.csv.writer", lambda *_, **__: types.SimpleNamespace(writerow=full))
    said = ran(capsys, *once, "--out", rows, status=2)
    assert "no more samples are written" in said.out and f"{rows}: written" not in said.out
    monkeypatch.undo()
    monkeypatch.setattr("alula.curves.draw_power", full)
    said = ran(capsys, *once, "--out", summary, "--plot", plot, status=2)
    assert "x.png: expected room" in said.out and f"{summary}: written" in said.out and "energy: " in said.out


def test_a_command_leaves_the_meter_its_standard_input():
    assert [reads_input(spec) for spec in (None, "auto", "csv:-", "csv:-,max=9", "csv:-.csv")] == [
        False, False, True, True, False,
    ]  # fmt: skip
    assert Child(["cat"], has_input=False).wait(30)
