"""What the Raspberry Pis and some other machines say of themselves, as their kernels print it."""

from __future__ import annotations

from alula.runtime.compiler.cpu import HWCAP, Machine, describe

V80 = "fp asimd evtstrm crc32 cpuid"
V82 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


def cpuinfo(features: str, *parts: str, implementer: str = "0x41") -> str:
    """/proc/cpuinfo of 64-bit ARM with one core for each part number."""
    return "\n".join(
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: {implementer}\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 4\n"
        for number, part in enumerate(parts)
    )


def hwcap(features: str) -> int:
    """AT_HWCAP for features."""
    return sum(1 << HWCAP.index(name) for name in features.split())


def arm(features: str, *parts: str, implementer: str = "0x41") -> Machine:
    """A 64-bit ARM machine under Linux."""
    return describe("linux", "aarch64", 64, cpuinfo(features, *parts, implementer=implementer), hwcap(features))


PI3, PI4, PI5 = arm(V80, *["0xd03"] * 4), arm(V80, *["0xd08"] * 4), arm(V82, *["0xd0b"] * 4)
