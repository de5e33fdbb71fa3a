"""The file of corrections: found by board, shared by model, never half written, never silently lost."""

from __future__ import annotations

import json

import pytest

from alula.device.power import select_meter
from alula.device.power.board import Identity
from alula.device.power.coefficients import Correction, find, load, path_of, save
from alula.device.power.meter import Accuracy
from alula.runtime.errors import MeterError

PI5 = Identity("Raspberry Pi 5 Model B Rev 1.0", "1000")


def entry(**changes):
    return Correction(
        **({"gain": 1.2, "offset_w": 0.5, "meter": "pmic", "board": PI5.model, "serial": "1000"} | changes)
    )


def test_the_file_has_its_place():
    assert str(path_of({"HOME": "/home/pi"})) == "/home/pi/.config/alula/power.json"
    assert str(path_of({"HOME": "/home/pi", "XDG_CONFIG_HOME": "/c"})) == "/c/alula/power.json"
    assert str(path_of({"ALULA_POWER": "/f.json"})) == "/f.json"


def test_this_boards_own_correction_beats_that_of_its_model(tmp_path):
    path = tmp_path / "sub" / "power.json"
    assert load(path) == []
    save(entry(), path)
    save(entry(serial="2000", gain=1.3), path)
    save(entry(gain=1.25), path)
    stored = load(path)
    assert len(stored) == 2
    assert find(stored, "pmic", PI5).gain == 1.25
    assert find(stored, "pmic", Identity(PI5.model, "3000")).gain == 1.25
    assert find(stored, "pmic", Identity("Raspberry Pi 5 Model B Rev 1.1", "3000")) is None
    assert find(stored, "rapl", PI5) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "x"}', '{"format": "alula-power-coefficients-1"}', "\x00",
                                  '{"format": "alula-power-coefficients-1", "corrections": [{"gain": "x"}]}',
                                  '{"format": "alula-power-coefficients-1", "corrections": [{"gain": 0}]}',
                                  '{"format": "alula-power-coefficients-1", "corrections": [3]}'])  # fmt: skip
def test_a_damaged_file_is_named_and_never_overwritten(text, tmp_path, monkeypatch, tree):
    path = tmp_path / "power.json"
    path.write_text(text)
    with pytest.raises(MeterError, match=r"expected"):
        load(path)
    with pytest.raises(MeterError):
        save(entry(), path)
    assert path.read_text() == text
    monkeypatch.setenv("ALULA_POWER", str(path))
    with pytest.raises(MeterError):
        select_meter("model", tree.root)
    with pytest.raises(MeterError, match=r"power.json: expected"):
        select_meter("auto", tree.root)


def test_a_correction_of_the_model_makes_a_guess_a_model(tmp_path, monkeypatch, tree, clock):
    monkeypatch.setenv("ALULA_POWER", str(tmp_path / "power.json"))
    tree.write("proc/device-tree", model="Raspberry Pi Zero 2 W Rev 1.0\0")
    assert select_meter("auto", tree.root, clock).accuracy is Accuracy.GUESSED
    save(entry(meter="model:Raspberry Pi Zero 2 W", board="Raspberry Pi Zero 2 W Rev 1.0", gain=2.0, offset_w=1.0))
    meter = select_meter("auto", tree.root, clock)
    meter.read()
    clock.advance(10)
    reading = meter.read()
    assert meter.accuracy is Accuracy.MODELLED
    assert reading.energy_j >= 2.0 * 0.60 * 10 + 1.0 * 10 - 1e-9
    assert reading.power_w == pytest.approx(2.0 * reading.raw_w + 1.0)
    assert json.loads((tmp_path / "power.json").read_text())["corrections"][0]["gain"] == 2.0


@pytest.mark.parametrize("options", ["gain=0", "gain=-1", "gain=x", "offset=nan", "gain=inf"])
def test_a_correction_in_the_name_must_be_numbers(options, tree):
    with pytest.raises(MeterError, match=r"expected (gain|offset)="):
        select_meter(f"model,{options}", tree.root)


def test_a_machine_where_nobody_is_at_home_has_no_corrections_and_says_how_to_keep_some(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert load(tmp_path / "file" / "alula" / "power.json") == []
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    nowhere = path_of({})
    assert load(nowhere) == []
    with pytest.raises(MeterError, match="set ALULA_POWER to a file"):
        save(Correction(meter="pmic"), nowhere)
