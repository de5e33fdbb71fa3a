"""Which meter is chosen on which machine."""

from __future__ import annotations

import pytest

from alula.device.power.meter import Accuracy, Meter
from alula.device.power.select import select_meter, survey
from alula.runtime.errors import MeterError


def rapl(tree):
    tree.write("sys/class/powercap/intel-rapl:0", name="package-0", energy_uj=5, max_energy_range_uj=10**11)


def ina(tree, number=0, **more):
    tree.write(f"sys/class/hwmon/hwmon{number}", **({"name": "ina219", "in1_input": 5000, "curr1_input": 600} | more))


def test_an_empty_machine_gets_the_model_and_the_reasons(tree):
    meter = select_meter(root=tree.root)
    assert meter.name == "model:guess" and isinstance(meter, Meter)
    assert meter.accuracy is Accuracy.GUESSED
    assert any(note.startswith("not used: rapl:") for note in meter.notes)
    assert any(note.startswith("not used: hwmon:") for note in meter.notes)


def test_a_shunt_beats_the_model(tree):
    ina(tree)
    assert select_meter(root=tree.root).name.startswith("hwmon:")


def test_a_counter_of_the_processor_beats_a_shunt_without_one(tree):
    ina(tree)
    rapl(tree)
    assert select_meter(root=tree.root).name == "rapl"


def test_a_shunt_with_an_energy_counter_beats_all(tree):
    ina(tree, name="ina228", energy1_input=0)
    rapl(tree)
    assert select_meter(root=tree.root).name.startswith("hwmon:")
    assert [c.spec for c in survey(tree.root) if c.meter] == ["hwmon:hwmon0", "rapl", "model"]


def test_an_ambiguous_shunt_is_refused_and_said(tree):
    ina(tree, 0)
    ina(tree, 1)
    meter = select_meter(root=tree.root)
    assert meter.name == "model:guess"
    assert any("one power monitor of 2" in note for note in meter.notes)
    assert select_meter("hwmon:hwmon1", tree.root).name == "hwmon:ina219@hwmon1"


def test_meters_can_be_named(tree, tmp_path):
    rapl(tree)
    tree.write("sys/class/hwmon/hwmon0", name="ina3221", in2_input=5000, curr2_input=600)
    (tmp_path / "t.csv").write_text("0,1\n1,1\n")
    assert select_meter("rapl", tree.root).name == "rapl"
    assert select_meter("hwmon:hwmon0:2", tree.root).read().power_w == pytest.approx(3.0)
    assert select_meter("model,idle=2,full=6", tree.root).name == "model:given"
    assert select_meter("model", tree.root).name == "model:guess"
    assert select_meter(f"csv:{tmp_path / 't.csv'},replay=0").name == "csv:t.csv"


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "joulescope",
        "auto:x",
        "rapl:0",
        "rapl,a=1",
        "csv",
        "model:2",
        "model,idle=2",
        "model,idle=a,full=b",
        "hwmon:a:b",
        "hwmon",
    ],
)
def test_a_meter_that_is_not_there_is_refused(tree, spec):
    with pytest.raises(MeterError, match="expected"):
        select_meter(spec, tree.root)
