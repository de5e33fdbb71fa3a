"""Board, operating system, kernel and Python."""

from __future__ import annotations

from alula.device.doctor.finding import Fact, Finding, Verdict, unknown
from alula.device.doctor.machine import Machine

MIN_PYTHON, FIRST_UNTRIED_PYTHON = (3, 11), (3, 15)
PI_RELEASES = {"bookworm": Verdict.OK, "trixie": Verdict.OK}
SIXTY_FOUR = ("aarch64", "arm64", "x86_64", "amd64")


def board(machine: Machine) -> Finding:
    """What the device tree, or a PC's firmware, calls the machine."""
    if machine.model:
        verdict = Verdict.OK if machine.is_pi else Verdict.NOTE
        return Finding("board", verdict, machine.model, facts={"board": machine.model})
    names = [machine.text(f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
    product = " ".join(name for name in names if name)
    if not product:
        return unknown("board", board=None)
    return Finding("board", Verdict.OK, f"{product}, no Raspberry Pi", facts={"board": product})


def operating_system(machine: Machine) -> Finding:
    """The distribution; on a Pi, whether it is one that the install script knows."""
    if machine.system == "Darwin":
        return Finding("os", Verdict.OK, "macOS", facts={"os": "macOS"})
    release = dict(machine.fields("etc/os-release", "="))
    if not release:
        return unknown("os", os=None)
    name = release.get("PRETTY_NAME") or release.get("NAME") or release.get("ID", "")
    if machine.text("etc/rpi-issue") is not None:
        name = f"Raspberry Pi OS, {name}"
    facts: dict[str, Fact] = {"os": name, "os_codename": release.get("VERSION_CODENAME")}
    if release.get("ID") == "raspbian":
        return Finding("os", Verdict.WRONG, f"{name}, 32-bit", "flash the 64-bit Raspberry Pi OS", facts)
    if machine.is_pi and release.get("VERSION_CODENAME", "") not in PI_RELEASES:
        fix = "Raspberry Pi OS Bookworm or Trixie, 64-bit, is what the install script is made for"
        return Finding("os", Verdict.NOTE, name, fix, facts)
    return Finding("os", Verdict.OK, name, facts=facts)


def kernel(machine: Machine) -> Finding:
    """The kernel's release and architecture."""
    return Finding("kernel", Verdict.OK, f"{machine.system} {machine.kernel} {machine.machine}",
                   facts={"kernel": machine.kernel, "machine": machine.machine})  # fmt: skip


def python(machine: Machine) -> Finding:
    """Version, and the trap of the 32-bit system: on it a 64-bit kernel runs a 32-bit Python, and no wheel fits."""
    version = ".".join(map(str, machine.python))
    found = f"{version}, {machine.bits}-bit"
    facts: dict[str, Fact] = {"python": version, "python_bits": machine.bits}
    if machine.bits == 32 and machine.machine in SIXTY_FOUR:
        fix = "the kernel is 64-bit and the system is not: flash the 64-bit Raspberry Pi OS"
        return Finding("python", Verdict.WRONG, f"{found}, on a 64-bit kernel", fix, facts)
    if machine.bits == 32:
        fix = "a 64-bit system is needed: flash the 64-bit Raspberry Pi OS (Pi 3, Zero 2 W and later)"
        return Finding("python", Verdict.WRONG, f"{found}, on a 32-bit kernel", fix, facts)
    if machine.python[:2] < MIN_PYTHON:
        return Finding("python", Verdict.WRONG, found, "3.11 is needed: Raspberry Pi OS has it from Bookworm on", facts)
    if machine.python[:2] >= FIRST_UNTRIED_PYTHON:
        return Finding("python", Verdict.NOTE, found, "not tried yet: 3.11 to 3.14 are", facts)
    return Finding("python", Verdict.OK, found, facts=facts)
