"""Board, system, kernel, Python: told from files and from what the process knows."""

from __future__ import annotations

import pytest

from alula.device.doctor import Verdict
from alula.device.doctor.finding import UNKNOWN
from alula.device.doctor.system import board, kernel, operating_system, python
from tests.device.doctor.conftest import Fake


def test_a_board_is_what_its_device_tree_says(fake: Fake) -> None:
    fake.pi()
    finding = board(fake.machine())
    assert (finding.verdict, finding.found) == (Verdict.OK, "Raspberry Pi 4 Model B Rev 1.4")


def test_a_pc_is_called_by_its_firmware(fake: Fake) -> None:
    fake.write("sys/class/dmi/id/product_name", "Laptop 7")
    assert "Laptop 7" in board(fake.machine()).found


def test_an_empty_machine_is_not_known_and_not_wrong(fake: Fake) -> None:
    for check in (board, operating_system):
        assert (check(fake.machine()).verdict, check(fake.machine()).found) == (Verdict.OK, UNKNOWN)


@pytest.mark.parametrize(
    "identity, codename, verdict",
    [
        ("debian", "bookworm", Verdict.OK),
        ("debian", "trixie", Verdict.OK),
        ("debian", "bullseye", Verdict.NOTE),
        ("ubuntu", "noble", Verdict.NOTE),
        ("raspbian", "bookworm", Verdict.WRONG),
    ],
)
def test_a_pi_wants_a_64_bit_release_that_the_script_knows(
    identity: str, codename: str, verdict: Verdict, fake: Fake
) -> None:
    fake.pi()
    fake.write("etc/rpi-issue", "Raspberry Pi reference")
    fake.write("etc/os-release", f'PRETTY_NAME="Some OS"\nID={identity}\nVERSION_CODENAME={codename}')
    finding = operating_system(fake.machine())
    assert finding.verdict is verdict
    assert bool(finding.fix) == (verdict is not Verdict.OK)


def test_a_mac_is_no_mystery(fake: Fake) -> None:
    assert operating_system(fake.machine(system="Darwin")).found == "macOS"


def test_the_kernel_is_named_with_its_architecture(fake: Fake) -> None:
    assert kernel(fake.machine()).found == "Linux 6.12.0-v8 aarch64"


@pytest.mark.parametrize(
    "bits, architecture, version, verdict, words",
    [
        (64, "aarch64", (3, 11, 2), Verdict.OK, ""),
        (64, "x86_64", (3, 13, 5), Verdict.OK, ""),
        (32, "aarch64", (3, 11, 2), Verdict.WRONG, "the kernel is 64-bit and the system is not"),
        (32, "armv7l", (3, 11, 2), Verdict.WRONG, "a 64-bit system is needed"),
        (64, "aarch64", (3, 9, 2), Verdict.WRONG, "3.11 is needed"),
        (64, "aarch64", (3, 14, 0), Verdict.OK, ""),
        (64, "aarch64", (3, 15, 0), Verdict.NOTE, "not tried"),
    ],
)
def test_python_must_be_64_bit_and_new_enough(
    bits: int, architecture: str, version: tuple[int, int, int], verdict: Verdict, words: str, fake: Fake
) -> None:
    finding = python(fake.machine(bits=bits, machine=architecture, python=version))
    assert finding.verdict is verdict and words in finding.fix
