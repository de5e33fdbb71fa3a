"""This machine: its architecture, its cores and their features, found without a compiler and without root.

Linux lists the cores in `/proc/cpuinfo`, and the features that all of them have in the auxiliary vector (AT_HWCAP), which
is also right in an emulator. Features alone decide which code a machine can run; a core's part number only chooses
between the CPUs that qualify.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from functools import cache

from alula.runtime.compiler.target import TARGETS, X86_V2, X86_V3, X86_V4
from alula.runtime.errors import CompilerError
from alula.runtime.frozen import frozen

ARM_PARTS = {("0x41", "0xd03"): "cortex-a53", ("0x41", "0xd08"): "cortex-a72", ("0x41", "0xd0b"): "cortex-a76"}
HWCAP = (  # Linux's arch/arm64/include/uapi/asm/hwcap.h, from bit 0 on, under the names of /proc/cpuinfo
    "fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp", "cpuid", "asimdrdm",
    "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4", "asimddp", "sha512", "sve", "asimdfhm",
)  # fmt: skip
AT_HWCAP = 16

X86_LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64")
# Whose packs a core may try, in order: its own, then those that need less
FAMILIES = {
    "cortex-a53": ("cortex-a53", "cortex-a72"),
    "cortex-a72": ("cortex-a72", "cortex-a53"),
    "cortex-a76": ("cortex-a76", "cortex-a72", "cortex-a53"),
}
UNKNOWN_ARM = ("cortex-a76", "cortex-a53", "cortex-a72")


@frozen
class Machine:
    """What decides which kernels a machine can run.

    architecture : as `uname -m` says it, x86_64 or aarch64 where there are kernels
    bits         : of this Python's addresses
    cores        : the kinds of its cores: LLVM's names, or `implementer:part` where unknown
    features     : what every core can do, as Linux names it
    """

    system: str
    architecture: str
    bits: int
    cores: tuple[str, ...]
    features: frozenset[str]

    @property
    def problem(self) -> str:
        """Why no kernels exist for this machine, in one line; empty if they do."""
        if self.bits == 64 and self.architecture in ("x86_64", "aarch64"):
            return ""
        where = f"this machine ({self.system}, {self.architecture})"
        if self.bits == 64:
            return f"{where}: expected x86-64 or 64-bit ARM, got another architecture; there are no kernels for it"
        if self.architecture in ("x86_64", "aarch64"):
            return (
                f"{where}: expected a 64-bit Python, got one of {self.bits} bits on a 64-bit kernel; "
                "install a 64-bit system (Raspberry Pi OS Lite 64-bit)"
            )
        return (
            f"{where}: expected a 64-bit system, got one of {self.bits} bits; "
            "install a 64-bit one (Raspberry Pi OS Lite 64-bit)"
        )

    @property
    def known(self) -> tuple[str, ...]:
        """The kinds of cores that have a pack of their own, those with the smallest demands first."""
        return tuple(name for name in FAMILIES if name in self.cores)

    def candidates(self) -> tuple[str, ...]:
        """The CPUs whose kernels may suit, best first. Features are still to be compared."""
        if self.problem:
            return ()
        if self.architecture == "x86_64":
            return X86_LEVELS
        if self.system == "darwin":
            return ("apple-m1",)
        # Cores of several kinds run the same code: that of the smallest one, as the others do not mind its order
        return FAMILIES[self.known[0]] if self.known and len(self.known) == len(self.cores) else UNKNOWN_ARM

    def lacks(self, cpu: str) -> tuple[str, ...]:
        """The features that a CPU's kernels need and this machine does not have."""
        return tuple(sorted(TARGETS[cpu].needs - self.features))


def describe(system: str, architecture: str, bits: int, cpuinfo: str = "", hwcap: int | None = None) -> Machine:
    """The machine that these say. Where `hwcap` is None, the features are those that cpuinfo lists for every core."""
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(architecture.lower(), architecture.lower())
    lists = [set(line.split()) for line in _values(cpuinfo, "flags" if name == "x86_64" else "Features")]
    features = frozenset(set.intersection(*lists)) if lists else frozenset()
    cores: tuple[str, ...] = ()
    if name == "aarch64":
        if hwcap is not None:
            features = frozenset(feature for bit, feature in enumerate(HWCAP) if hwcap >> bit & 1)
        parts = dict.fromkeys(zip(_values(cpuinfo, "CPU implementer"), _values(cpuinfo, "CPU part"), strict=False))
        cores = tuple(ARM_PARTS.get(part, ":".join(part)) for part in parts)
    return Machine(system, name, bits, cores, features)


@cache
def this_machine() -> Machine:
    """The machine that this process runs on."""
    uname, bits = os.uname(), 64 if sys.maxsize > 2**32 else 32
    if sys.platform == "darwin":
        return _mac(uname.machine, bits)
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            cpuinfo = file.read()
    except OSError:
        cpuinfo = ""
    return describe("linux", uname.machine, bits, cpuinfo, _hwcap() if uname.machine == "aarch64" else None)


def host_cpu() -> str:
    """The LLVM name of the CPU that kernels are compiled for on this machine: `x86-64-v4`, `cortex-a72`...

    raise : CompilerError if there are none for it
    """
    return best(this_machine())


def best(machine: Machine) -> str:
    """The first CPU whose features a machine has.

    raise : CompilerError if there is none
    """
    for name in machine.candidates():
        if not machine.lacks(name):
            return name
    raise CompilerError(
        machine.problem
        or f"this machine ({machine.architecture}): expected the features fp and asimd, got "
        f"{' '.join(sorted(machine.features)) or 'none'}; there are no kernels for it"
    )


def _values(cpuinfo: str, key: str) -> list[str]:
    """What each core says of a key."""
    return re.findall(rf"^{key}[ \t]*:[ \t]*(.*?)[ \t]*$", cpuinfo, re.M)


def _hwcap() -> int | None:
    """AT_HWCAP of the auxiliary vector."""
    try:
        getauxval = ctypes.CDLL(None).getauxval
    except (AttributeError, OSError):
        return None
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return int(getauxval(AT_HWCAP)) or None


def _mac(architecture: str, bits: int) -> Machine:
    """A Mac, which has no /proc: its features are asked for by name, an Apple core has all that kernels need."""
    if architecture == "arm64":
        return Machine("darwin", "aarch64", bits, ("apple-m1",), TARGETS["apple-m1"].needs)
    has = X86_V2 if _sysctl("hw.optional.sse4_2") else frozenset()
    has |= X86_V3 if _sysctl("hw.optional.avx2_0") and _sysctl("hw.optional.bmi2") else frozenset()
    has |= X86_V4 if _sysctl("hw.optional.avx512vl") and _sysctl("hw.optional.avx512bw") else frozenset()
    return Machine("darwin", architecture, bits, (), has)


def _sysctl(name: str) -> int:
    """An integer of macOS's kernel; 0 where it has none of that name."""
    value, size = ctypes.c_int(0), ctypes.c_size_t(4)
    ctypes.CDLL(None).sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
    return value.value
