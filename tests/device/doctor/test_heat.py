"""Temperature, and the firmware's flags by ioctl, by sysfs and by the kernel's alarm."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from alula.device import firmware
from alula.device.doctor import Verdict
from alula.device.doctor.finding import UNKNOWN
from alula.device.doctor.heat import temperature, throttling
from tests.device.doctor.conftest import Fake


def replying(reply: str, error: int = 0) -> Callable[[int, int, bytearray], object]:
    """A firmware that checks the message and gives this reply."""

    def ioctl(handle: int, request: int, message: bytearray) -> int:
        length, kind, tag, size, zero, code = struct.unpack_from("=6I", message)
        assert (len(message), length, kind, tag, size, zero, code) == (4124, 4124, 0, 0x30080, 4096, 0, 0)
        assert request == 0xC0006400 | struct.calcsize("P") << 16
        assert bytes(message[24:]).rstrip(b"\0") == b"get_throttled"
        struct.pack_into("=I", message, 20, error)
        message[24 : 24 + len(reply) + 1] = reply.encode() + b"\0"
        return 0

    return ioctl


@pytest.mark.parametrize(
    "milli, model, verdict",
    [
        (45_000, "Raspberry Pi 4 Model B Rev 1.4", Verdict.OK),
        (72_000, "Raspberry Pi 4 Model B Rev 1.4", Verdict.NOTE),
        (84_500, "Raspberry Pi 4 Model B Rev 1.4", Verdict.WARNING),
        (62_000, "Raspberry Pi 3 Model B Plus Rev 1.3", Verdict.NOTE),
        (62_000, "Raspberry Pi 3 Model B Rev 1.2", Verdict.OK),
    ],
)
def test_heat_is_judged_by_where_the_clock_goes_down(milli: int, model: str, verdict: Verdict, fake: Fake) -> None:
    fake.pi(model)
    fake.write("sys/class/thermal/thermal_zone0/temp", milli)
    fake.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal")
    fake.write("sys/class/thermal/thermal_zone1/temp", 99_000)
    fake.write("sys/class/thermal/thermal_zone1/type", "battery")
    finding = temperature(fake.machine())
    assert (finding.verdict, finding.facts["temperature_c"]) == (verdict, milli / 1000)


@pytest.mark.parametrize("text", ["", "warm", "-274000", "9999999"])
def test_a_thermometer_that_lies_is_not_read(text: str, fake: Fake) -> None:
    fake.write("sys/class/thermal/thermal_zone0/temp", text)
    assert temperature(fake.machine()).found == UNKNOWN


@pytest.mark.parametrize(
    "bits, verdict, words",
    [
        (0x0, Verdict.OK, "none, now or since boot (firmware, 0x0)"),
        (0x50005, Verdict.WRONG, "now: under-voltage, throttled; since boot: under-voltage, throttled"),
        (0x2, Verdict.WARNING, "now: clock capped"),
        (0x8, Verdict.WARNING, "now: soft temperature limit"),
        (0x10000, Verdict.WARNING, "since boot: under-voltage"),
        (0xE0000, Verdict.NOTE, "since boot: clock capped, throttled, soft temperature limit"),
    ],
)
def test_every_flag_has_a_meaning(bits: int, verdict: Verdict, words: str, fake: Fake) -> None:
    fake.pi()
    fake.write("dev/vcio", "")
    finding = throttling(fake.machine(), replying(f"throttled={bits:#x}"))
    assert finding.verdict is verdict and words in finding.found
    assert finding.facts["throttled"] == f"{bits:#x}"


def test_the_zero_range_cannot_see_under_voltage_and_this_is_said(fake: Fake) -> None:
    fake.pi("Raspberry Pi Zero 2 W Rev 1.0")
    fake.write("dev/vcio", "")
    finding = throttling(fake.machine(), replying("throttled=0x0"))
    assert finding.verdict is Verdict.NOTE and "cannot see under-voltage" in finding.found
    assert finding.facts["under_voltage_is_seen"] is False


def test_the_newer_device_is_asked_first(fake: Fake) -> None:
    fake.write("dev/vcio_gencmd", "")
    assert firmware.ask("get_throttled", fake.root, ioctl=replying("throttled=0x4")) == "throttled=0x4"


@pytest.mark.parametrize(
    "reply, error", [('error=2 error_msg="Command not registered"', 0), ("", 1), ("throttled=zz", 0)]
)
def test_a_firmware_that_refuses_leaves_it_to_the_kernel(reply: str, error: int, fake: Fake) -> None:
    fake.write("dev/vcio", "")
    machine = fake.machine()
    assert throttling(machine, replying(reply, error)).found == UNKNOWN
    fake.write("sys/class/hwmon/hwmon0/name", "cpu_thermal")
    fake.write("sys/class/hwmon/hwmon1/name", "rpi_volt")
    fake.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", 1)
    finding = throttling(machine, replying(reply, error))
    assert finding.verdict is Verdict.WRONG and "under-voltage" in finding.found
    fake.write("sys/devices/platform/soc/soc:firmware/get_throttled", "50000")
    assert throttling(machine, replying(reply, error)).facts["throttled"] == "0x50000"


def test_a_user_who_may_not_ask_is_told_which_group(fake: Fake) -> None:
    fake.write("dev/vcio", "")

    def forbidden(handle: int, request: int, message: bytearray) -> int:
        raise PermissionError(13, "Permission denied")

    finding = throttling(fake.machine(), forbidden)
    assert finding.verdict is Verdict.NOTE and "usermod -aG video" in finding.fix


def test_a_machine_without_firmware_is_not_known(fake: Fake) -> None:
    assert throttling(fake.machine()).found == UNKNOWN
