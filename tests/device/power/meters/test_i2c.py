"""INA chips on the bus, from register dumps, byte for byte below smbus2."""

from __future__ import annotations

import errno
import os

import pytest

from alula.device.power import select_meter, survey
from alula.device.power.ledger import Ledger, Origin
from alula.device.power.meter import Accuracy
from alula.device.power.meters.i2c import I2c
from alula.runtime.errors import MeterError, MissingExtraError
from tests.device.power.meters import dumps

DUMPS = {"ina219": dumps.INA219, "ina226": dumps.INA226, "ina260": dumps.INA260, "ina3221": dumps.INA3221, "ina238": dumps.INA238,
         "ina228": dumps.INA228}  # fmt: skip
CONVERSION_S = {
    "ina219": 1.064e-3,
    "ina226": 2.2e-3,
    "ina260": 2.2e-3,
    "ina3221": 6.6e-3,
    "ina238": 3.156e-3,
    "ina228": 3.156e-3,
}


class Bus:
    """What the kernel does for smbus2: chips by address, each a dictionary of registers. Reading a flag of readiness clears it."""

    CLEARING = {"ina219": (3, 2, ~2), "ina226": (6, 6, 0), "ina260": (6, 6, 0), "ina3221": (0xF, 0xF, 0),
                "ina238": (0xB, 0xB, ~2), "ina228": (0xB, 0xB, ~2)}  # fmt: skip

    def __init__(self):
        self.chips, self.names, self.failures, self.asked, self.address = {}, {}, {}, [], 0

    def put(self, address, name):
        self.chips[address], self.names[address] = dict(DUMPS[name]), name
        return self.chips[address]

    def ioctl(self, handle, request, argument=None):
        if request == 0x0705:  # I2C_FUNCS
            argument.value = 0xFFFFFFFF
        elif request == 0x0703:  # I2C_SLAVE
            self.address = argument
            if error := self.failures.get(argument):
                raise OSError(error, os.strerror(error))
        elif request == 0x0720:  # I2C_SMBUS
            register, data = argument.command, argument.data.contents
            self.asked.append((self.address, register, argument.read_write))
            assert (argument.read_write, argument.size) == (1, 8), "only blocks are read, and nothing is written"
            if self.address not in self.chips:
                raise OSError(errno.EREMOTEIO, "Remote I/O error")
            value, n_bytes = self.chips[self.address].get(register, (0, 2))
            for index, byte in enumerate(value.to_bytes(n_bytes, "big"), 1):
                data.block[index] = byte
            assert data.block[0] == n_bytes
            trigger, flag, mask = self.CLEARING[self.names[self.address]]
            if register == trigger and flag in self.chips[self.address]:
                old, size = self.chips[self.address][flag]
                self.chips[self.address][flag] = (old & mask & 0xFFFF, size)


@pytest.fixture
def bus(tree, monkeypatch):
    smbus2 = pytest.importorskip("smbus2", reason="needs the extra i2c")
    tree.write("dev", **{"i2c-1": ""})
    fake = Bus()
    monkeypatch.setattr(smbus2.smbus2, "ioctl", fake.ioctl)
    return fake


def meter_of(tree, clock, channel=1, shunt_ohm=0.1, chip=""):
    return I2c(1, 0x40, channel, shunt_ohm, chip, tree.root, clock)


@pytest.mark.parametrize("name", DUMPS)
def test_each_chip_is_recognised_and_read_in_volts_and_amperes(name, bus, tree, clock):
    bus.put(0x40, name)
    meter = meter_of(tree, clock)
    reading = meter.read()
    assert meter.name == f"i2c:{name}@1-0040"
    assert (reading.voltage_v, reading.current_a) == pytest.approx((5.1, 0.6), abs=0.005)
    assert reading.power_w == pytest.approx(reading.voltage_v * reading.current_a)
    assert meter.accuracy is Accuracy.MEASURED and meter.notes == ()
    assert meter.interval_s == pytest.approx(CONVERSION_S[name])


def test_current_has_a_sign(bus, tree, clock):
    chip = bus.put(0x40, "ina219")
    chip[1] = (0x10000 - 6000, 2)
    meter = meter_of(tree, clock)
    assert meter.read().power_w == pytest.approx(-3.06)
    assert "negative" in meter.notes[0]


def test_an_unsaid_shunt_makes_a_guess_that_auto_does_not_take(bus, tree, clock):
    tree.write("proc/device-tree", model="Raspberry Pi 4 Model B Rev 1.2\0")
    bus.put(0x40, "ina219")
    meter = select_meter("i2c:1:0x40", tree.root, clock)
    assert meter.accuracy is Accuracy.GUESSED and "shunt is taken as 0.1 Ohm" in meter.notes[0]
    chosen = select_meter("auto", tree.root, clock)
    assert chosen.name.startswith("model:")
    assert any("i2c:1:0x40: nobody has said its shunt" in note for note in chosen.notes)
    assert select_meter("i2c:1:0x40,shunt=0.01", tree.root, clock).read().power_w == pytest.approx(30.6)
    bus.put(0x40, "ina260")  # its shunt is inside
    assert select_meter("auto", tree.root, clock).name == "i2c:ina260@1-0040"


def test_one_sample_read_twice_is_one_sample(bus, tree, clock):
    chip = bus.put(0x40, "ina226")
    chip[0] = (0x4527, 2)  # averages of 16: 35.2 ms
    meter = meter_of(tree, clock)
    clock.advance(0.1)
    chip[6] = (8, 2)
    first = meter.read()
    ledger, asked = Ledger(first, Origin(meter.name, meter.accuracy), 1.0), len(bus.asked)
    chip[1] = (12000, 2)
    clock.advance(0.030)
    assert meter.read() is first and len(bus.asked) == asked
    clock.advance(0.030)  # time enough, but the chip says that it has nothing new and has not
    chip[1] = (24000, 2)
    assert meter.read() is first and ledger.read(first, Origin(meter.name, meter.accuracy)) == "stale"
    chip[1], chip[6] = (12000, 2), (8, 2)
    second = meter.read()
    assert second.power_w == pytest.approx(first.power_w / 2)
    ledger.read(second, Origin(meter.name, meter.accuracy))
    assert ledger.duration_s == pytest.approx(0.060) and ledger.readings == 2


@pytest.mark.parametrize(
    ("name", "register", "value", "words"),
    [("ina219", 0, 0x3998, "its mode is 0"), ("ina226", 0, 0x4120, "its mode is 0"), ("ina3221", 0, 0x3127, "channel 1 is off"),
     ("ina238", 1, 0x0B68, "its mode is 0x0")],
)  # fmt: skip
def test_a_chip_that_sleeps_is_no_meter(name, register, value, words, bus, tree, clock):
    bus.put(0x40, name)[register] = (value, 2)
    with pytest.raises(MeterError, match=words):
        meter_of(tree, clock, chip=name)


def test_a_chip_that_falls_asleep_stands_still(bus, tree, clock):
    chip = bus.put(0x40, "ina226")
    meter = meter_of(tree, clock)
    chip[0], chip[6] = (0x4120, 2), (0, 2)
    clock.advance(0.5)
    meter.read()
    clock.advance(1.0)
    with pytest.raises(MeterError, match="the same for over 1 s; its mode is 0"):
        meter.read()
    chip[0], chip[6] = (0x4127, 2), (8, 2)
    assert meter.read().power_w == pytest.approx(3.06)


def test_channels_are_read_by_their_number_and_one_may_be_off(bus, tree, clock):
    chip = bus.put(0x40, "ina3221")
    second = meter_of(tree, clock, channel=2)
    assert second.name == "i2c:ina3221@1-0040:2"
    assert (second.read().voltage_v, second.read().current_a) == pytest.approx((3.296, 0.1))
    chip[0] = (0x5127, 2)  # the second is off, so a round is shorter
    with pytest.raises(MeterError, match="channel 2 is off"):
        meter_of(tree, clock, channel=2)
    assert meter_of(tree, clock, channel=3).interval_s == pytest.approx(4.4e-3)
    bus.put(0x41, "ina226")
    with pytest.raises(MeterError, match="expected a channel of ina226, got 2 of 1 channel"):
        I2c(1, 0x41, 2, 0.1, root=tree.root)


def test_two_chips_are_two_candidates(bus, tree, clock):
    tree.write("proc/device-tree", model="Raspberry Pi 4 Model B Rev 1.2\0")
    for address in (0x40, 0x45):
        bus.put(address, "ina260")
    found = [candidate for candidate in survey(tree.root, clock) if candidate.spec.startswith("i2c")]
    assert [candidate.spec for candidate in found] == ["i2c:1:0x40", "i2c:1:0x45"]
    assert all(candidate.meter and "one power monitor of 2" in candidate.missing for candidate in found)
    tree.write("sys/bus/i2c/devices/1-0045")  # the kernel has it
    assert select_meter("auto", tree.root, clock).name == "i2c:ina260@1-0040"
    registers = {register for address, register, _ in bus.asked if address not in (0x40, 0x45)}
    assert registers == {0}, "of a stranger register 0 alone is read: some chips take 0xFE for a command"


def test_the_counter_of_an_ina228_is_used_while_current_flows_one_way(bus, tree, clock):
    chip = bus.put(0x40, "ina228")
    meter = meter_of(tree, clock)
    assert meter.read().energy_j == 0
    step_j = 51.2 * 4096 / 13107.2e6 / 0.1
    chip[9] = (1000 + 20000, 5)
    clock.advance(1)
    assert meter.read().energy_j == pytest.approx(20000 * step_j) == pytest.approx(3.2)
    chip[9] = (5, 5)  # switched off and on
    clock.advance(1)
    again = meter.read()
    assert again.restarted and again.energy_j == pytest.approx(3.2)
    chip[4] = ((1 << 20) - 1000 << 4, 3)
    clock.advance(1)
    turned = meter.read()
    assert turned.restarted and turned.energy_j is None and turned.power_w < 0


def test_a_saturated_shunt_is_said(bus, tree, clock):
    chip = bus.put(0x40, "ina219")
    chip[0], chip[1] = (0x219F, 2), (3999, 2)  # gain 1: 40 mV
    assert "saturated at 0.40 A" in meter_of(tree, clock, chip="ina219").read().note


def test_broken_lines_are_no_reading(bus, tree, clock):
    chip = bus.put(0x40, "ina226")
    meter = meter_of(tree, clock)
    chip[1] = chip[2] = chip[6] = (0xFFFF, 2)
    clock.advance(1)
    with pytest.raises(MeterError, match=r"expected 0 to 36.5 V, got 81.92 V"):
        meter.read()


@pytest.mark.parametrize(
    ("error", "words"),
    [(errno.EBUSY, "use hwmon:1-0040"), (errno.EREMOTEIO, "i2cdetect -y 1"), (errno.ENXIO, "no answer"),
     (errno.ETIMEDOUT, "check the wires")],
)  # fmt: skip
def test_each_failure_of_the_bus_says_what_to_do(error, words, bus, tree, clock):
    bus.put(0x40, "ina226")
    bus.failures[0x40] = error
    bus.chips.clear() if error in (errno.EREMOTEIO, errno.ENXIO) else None
    with pytest.raises(MeterError, match=words):
        I2c(1, 0x40, 1, 0.1, root=tree.root)


def test_a_chip_that_vanishes_may_come_back(bus, tree, clock):
    chip = bus.put(0x40, "ina226")
    meter = meter_of(tree, clock)
    del bus.chips[0x40]
    clock.advance(1)
    with pytest.raises(MeterError, match="no answer"):
        meter.read()
    bus.chips[0x40] = chip
    assert meter.read().power_w == pytest.approx(3.06)


def test_no_bus_and_no_permission_say_how(bus, tree, clock, monkeypatch):
    with pytest.raises(MeterError, match=r"expected /dev/i2c-7, got No such file.*do_i2c 0"):
        I2c(7, 0x40, root=tree.root)

    def refuse(path, flags):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(MeterError, match=r"permission denied; .*usermod -aG i2c"):
        I2c(1, 0x40, root=tree.root)


def test_a_stranger_at_the_address_is_not_taken_for_a_power_monitor(bus, tree, clock):
    bus.put(0x40, "ina219")[0] = (0x1237, 2)
    with pytest.raises(MeterError, match=r"got a chip without their identity .register 0 is 0x1237.; .*chip=ina219"):
        meter_of(tree, clock)
    assert meter_of(tree, clock, chip="ina219").read().power_w == pytest.approx(3.06)


def test_without_smbus2_the_extra_is_named(tree, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "smbus2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'alula\[i2c\]'"):
        select_meter("i2c:1:0x40", tree.root)
    assert select_meter("auto", tree.root).name.startswith("model:")


@pytest.mark.parametrize("spec", ["i2c", "i2c:1", "i2c:1:40", "i2c:1:0x40:4", "i2c:a:0x40", "i2c:1:0x40,shunt=0", "i2c:1:0x40,shunt=100",
                                  "i2c:1:0x40,chip=ads1115", "i2c:1:0x40,gain"])  # fmt: skip
def test_names_that_mean_nothing_are_refused(spec, tree):
    with pytest.raises(MeterError, match="expected"):
        select_meter(spec, tree.root)
