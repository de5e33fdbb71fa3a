"""The Pi 5's PMIC from a recorded reply, through the message that the firmware gets."""

from __future__ import annotations

import csv
import json
import os
import re
import struct

import pytest

from alula.device.power import EnergyLog, select_meter, survey
from alula.device.power.meter import Accuracy
from alula.device.power.meters.pmic import Pmic, parse
from alula.runtime.errors import MeterError
from tests.device.power.meters.dumps import PMIC_IDLE, PMIC_IDLE_W


@pytest.fixture
def firmware(tree, monkeypatch):
    """A Pi 5 whose firmware gives `firmware.reply`."""

    class Firmware:
        reply, error, refusal = PMIC_IDLE, 0, None

        def __call__(self, handle, request, message):
            if self.refusal is not None:
                raise self.refusal
            assert len(message) == 4124
            if bytes(message[24:]).rstrip(b"\0") != b"pmic_read_adc":  # the model asks for the clock
                raise OSError(22, "Invalid argument")
            struct.pack_into("=I", message, 20, self.error)
            message[24 : 24 + len(self.reply) + 1] = self.reply.encode() + b"\0"

    tree.write("proc/device-tree", model="Raspberry Pi 5 Model B Rev 1.0\0")
    tree.write("dev", vcio="")
    fake = Firmware()
    monkeypatch.setattr("fcntl.ioctl", fake)
    return fake


def test_the_sum_is_over_the_twelve_rails_with_volts_and_amperes(firmware, tree, clock):
    meter = Pmic(tree.root, clock)
    reading = meter.read()
    by_hand = sum((3.7072 * 0.00195186, 3.302609 * 0.125895, 1.812941 * 0.2312954, 1.106226 * 0.1883545, 0.8014644 * 0.306442,
                   0.8120382 * 0.82156, 0.7991202 * 0.00311355, 5.12416 * 0.0003663))  # fmt: skip
    assert reading.power_w == pytest.approx(by_hand) == pytest.approx(PMIC_IDLE_W, abs=0.005)
    assert reading.voltage_v == pytest.approx(5.13756)
    assert len(meter.rails) == 14 and meter.rails["0V8_AON"].power_w == pytest.approx(0.7991202 * 0.00311355)
    assert meter.accuracy is Accuracy.MEASURED and "not USB" in meter.covers


def test_rails_are_paired_by_name_whatever_the_order_and_the_numbers(firmware, tree):
    upside_down = "\n".join(reversed(PMIC_IDLE.splitlines())).replace("(7)", "(31)")
    assert parse(upside_down) == parse(PMIC_IDLE)


def test_the_input_and_the_clock_battery_are_never_in_the_sum(firmware, tree):
    before = Pmic(tree.root).read().power_w
    firmware.reply = PMIC_IDLE + "   EXT5V_A current(40)=3.00000000A\n    BATT_A current(41)=1.00000000A\n"
    assert Pmic(tree.root).read().power_w == before


def test_by_name_the_published_correction_is_applied_and_said_to_be_one_units(firmware, tree):
    meter = select_meter("pmic", tree.root)
    reading = meter.read()
    assert reading.raw_w == pytest.approx(PMIC_IDLE_W, abs=0.005)
    assert reading.power_w == pytest.approx(1.1451 * reading.raw_w + 0.5879) == pytest.approx(2.84, abs=0.01)
    assert meter.accuracy is Accuracy.CORRECTED
    assert any("one unit's fit" in note for note in meter.notes)
    raw = select_meter("pmic,gain=1,offset=0", tree.root)
    assert (raw.accuracy, raw.read().power_w) == (Accuracy.MEASURED, reading.raw_w)


def test_auto_takes_it_before_the_model_on_a_pi_5(firmware, tree):
    assert select_meter("auto", tree.root).name == "pmic"


@pytest.mark.parametrize(
    "reply",
    ['error=1 error_msg="Command not registered"', "", "   VDD_CORE_V volt(15)=0.81V\n", "VDD_CORE_A current(7)=nanA"],
)
def test_a_firmware_without_the_command_is_no_meter(reply, firmware, tree):
    firmware.reply = reply
    with pytest.raises(MeterError, match="expected volts and amperes of VDD_CORE"):
        Pmic(tree.root)
    assert select_meter("auto", tree.root).name.startswith("model:")


def test_a_reply_that_lacks_a_rail_is_no_reading_and_the_next_may_be_one(firmware, tree):
    meter = Pmic(tree.root)
    firmware.reply = PMIC_IDLE.replace("3V3_SYS_V", "3V3_SYS_?")
    with pytest.raises(MeterError, match="3V3_SYS"):
        meter.read()
    firmware.reply = PMIC_IDLE
    assert meter.read().power_w == pytest.approx(PMIC_IDLE_W, abs=0.005)


def test_the_firmware_may_fail_and_refuse(firmware, tree):
    firmware.error = 2
    with pytest.raises(MeterError, match=r"expected an answer of the firmware, got .*error 2"):
        Pmic(tree.root)
    firmware.refusal = OSError(25, "Inappropriate ioctl")
    with pytest.raises(MeterError, match="Inappropriate ioctl"):
        Pmic(tree.root)


def test_permission_denied_comes_with_the_group_and_the_udev_rule(firmware, tree, monkeypatch):
    firmware.refusal = PermissionError(13, "Permission denied")
    (refused,) = [candidate for candidate in survey(tree.root) if candidate.spec == "pmic"]
    assert refused.meter is None and "permission denied" in refused.missing
    assert "usermod -aG video" in refused.remedy
    assert ('KERNEL=="vcio*"' in refused.remedy) == (os.stat(tree.root / "dev/vcio").st_gid == 0)


def test_zeros_are_no_reading(firmware, tree):
    firmware.reply = re.sub(r"=\d+\.\d+A", "=0.00000000A", PMIC_IDLE)
    with pytest.raises(MeterError, match=r"expected a board that runs, got 0.00 W on all rails"):
        select_meter("pmic", tree.root)


def test_a_sagging_input_is_said(firmware, tree):
    firmware.reply = PMIC_IDLE.replace("5.13756000", "4.70000000")
    assert "sagged" in Pmic(tree.root).read().note


def test_other_boards_say_that_they_have_no_sensor(tree):
    tree.write("proc/device-tree", model="Raspberry Pi 4 Model B Rev 1.5\0")
    (candidate,) = [candidate for candidate in survey(tree.root) if candidate.spec == "pmic"]
    assert candidate.meter is None and "has no sensor of current" in candidate.missing and "INA226" in candidate.remedy


@pytest.mark.parametrize("name", ["power.csv", "power.jsonl"])
def test_the_samples_have_the_raw_watts_beside_the_corrected_ones(name, firmware, tree, tmp_path, clock):
    with EnergyLog(select_meter("pmic", tree.root, clock), tmp_path / name, rate_hz=0, clock=clock):
        clock.advance(0.1)
    text = (tmp_path / name).read_text().splitlines()
    rows = [*csv.DictReader(text)] if name.endswith("csv") else [json.loads(line) for line in text]
    assert {row["accuracy"] for row in rows} == {"corrected"}
    assert float(rows[0]["raw_w"]) == pytest.approx(PMIC_IDLE_W, abs=0.005)
    assert float(rows[0]["power_w"]) == pytest.approx(1.1451 * float(rows[0]["raw_w"]) + 0.5879, abs=1e-5)
