"""The processor, from /proc/cpuinfo and cpufreq."""

from __future__ import annotations

import pytest

from alula.device.doctor import Verdict
from alula.device.doctor.finding import UNKNOWN
from alula.device.doctor.processor import cpu, governor
from tests.device.doctor.conftest import Fake

PI5 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


def cpuinfo(part: str, features: str, implementer: str = "0x41", count: int = 4) -> str:
    core = f"BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n"
    return "\n".join(f"processor\t: {i}\n{core}" for i in range(count)) + "\nModel\t\t: Raspberry Pi\n"


def test_cores_are_called_by_name_with_the_features_that_kernels_use(fake: Fake) -> None:
    fake.write("proc/cpuinfo", cpuinfo("0xd0b", PI5))
    finding = cpu(fake.machine())
    assert finding.found == "4 x Cortex-A76 (Pi 5, 500); asimd fphp asimdhp asimddp atomics"
    assert (finding.facts["cpu_part"], finding.facts["cpu_count"]) == ("0xd0b", 4)


def test_an_unknown_part_is_shown_as_it_is(fake: Fake) -> None:
    fake.write("proc/cpuinfo", cpuinfo("0xd08", "fp asimd", implementer="0x51"))
    assert cpu(fake.machine()).found == "4 x implementer 0x51 part 0xd08; asimd"


def test_two_kinds_of_cores_are_both_named(fake: Fake) -> None:
    big = cpuinfo("0xd08", "fp asimd", count=2).replace("processor\t: 0", "processor\t: 4")
    fake.write("proc/cpuinfo", cpuinfo("0xd03", "fp asimd") + big)
    assert cpu(fake.machine()).found.startswith("4 x Cortex-A53 (Pi 3, Zero 2 W), 2 x Cortex-A72 (Pi 4, 400)")


def test_a_core_without_64_bits_is_wrong(fake: Fake) -> None:
    fake.write("proc/cpuinfo", cpuinfo("0xb76", "half thumb fastmult vfp", count=1))
    assert cpu(fake.machine(machine="armv6l")).verdict is Verdict.WRONG


def test_a_pc_is_called_by_its_model_name(fake: Fake) -> None:
    fake.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some  Core\nflags\t: fpu avx2 fma\n")
    assert cpu(fake.machine(machine="x86_64")).found == "1 x Some Core; avx2 fma"


@pytest.mark.parametrize("text", ["", "processor\n:::\n\0\0", "Hardware\t: BCM2835"])
def test_a_cpuinfo_that_says_nothing_is_not_known(text: str, fake: Fake) -> None:
    fake.write("proc/cpuinfo", text)
    assert cpu(fake.machine()).found == UNKNOWN


@pytest.mark.parametrize(
    "name, driver, verdict",
    [
        ("ondemand", "cpufreq-dt", Verdict.OK),
        ("powersave", "cpufreq-dt", Verdict.WARNING),
        ("powersave", "intel_pstate", Verdict.OK),
    ],
)
def test_a_clock_that_stays_low_is_a_warning(name: str, driver: str, verdict: Verdict, fake: Fake) -> None:
    for core in range(4):
        fake.write(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", name)
    fake.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", driver)
    fake.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq", 600000)
    fake.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", 1800000)
    finding = governor(fake.machine())
    assert (finding.verdict, finding.found) == (verdict, f"{name}, 600 to 1800 MHz")


def test_no_cpufreq_is_not_known(fake: Fake) -> None:
    assert governor(fake.machine()).found == UNKNOWN
