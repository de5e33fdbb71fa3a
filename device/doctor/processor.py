"""The processor: cores, features, and clock governor."""

from __future__ import annotations

import os
import re

from alula.device.doctor.finding import Fact, Finding, Verdict, unknown
from alula.device.doctor.machine import Machine

ARM = "0x41"
# Parts of implementer 0x41 (Arm); those with a board after the name are Raspberry Pi's.
PARTS = {
    "0xb76": "ARM1176 (Pi 1, Zero)", "0xc07": "Cortex-A7 (Pi 2)", "0xd03": "Cortex-A53 (Pi 3, Zero 2 W)",
    "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72 (Pi 4, 400)",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76 (Pi 5, 500)", "0xd0c": "Neoverse-N1",
    "0xd41": "Cortex-A78", "0xd40": "Neoverse-V1", "0xd49": "Neoverse-N2",
}  # fmt: skip
# What kernels may use, in /proc/cpuinfo's words: vectors, half floats, the int8 dot product; and on a PC its vectors.
OF_INTEREST = ("asimd", "fphp", "asimdhp", "asimddp", "i8mm", "sve", "atomics", "sse4_2", "avx2", "fma", "avx512f")


def cpu(machine: Machine) -> Finding:
    """Cores by name, and the features that kernels ask for."""
    if machine.system == "Darwin":
        return Finding("cpu", Verdict.OK, f"{os.cpu_count() or 1} x {machine.machine}",
                       facts={"cpu": machine.machine, "cpu_count": os.cpu_count()})  # fmt: skip
    cores = _cores(machine)
    if not cores:
        return unknown("cpu", cpu=None, cpu_count=os.cpu_count())
    names = [_name(core) for core in cores]
    counted = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    flags = (cores[0].get("Features") or cores[0].get("flags") or "").split()
    shown = [flag for flag in OF_INTEREST if flag in flags]
    facts: dict[str, Fact] = {
        "cpu": names[0], "cpu_count": len(cores), "cpu_implementer": cores[0].get("CPU implementer"),
        "cpu_part": cores[0].get("CPU part"), "cpu_features": " ".join(flags),
    }  # fmt: skip
    found = f"{counted}; {' '.join(shown) or 'no vector features listed'}"
    if machine.machine in ("armv6l", "armv7l") or cores[0].get("CPU part") in ("0xb76", "0xc07"):
        return Finding("cpu", Verdict.WRONG, found, "kernels need a 64-bit core: Pi 3, Zero 2 W or later", facts)
    return Finding("cpu", Verdict.OK, found, facts=facts)


def governor(machine: Machine) -> Finding:
    """How the kernel sets the clock. `powersave` on a Pi is the lowest clock for ever."""
    names: dict[str, int] = {}
    for path in machine.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"):
        name = machine.text(machine.below(path)) or ""
        if name:
            names[name] = names.get(name, 0) + 1
    if not names:
        return unknown("governor", governor=None)
    folder = "sys/devices/system/cpu/cpu0/cpufreq"
    low, high = (machine.number(f"{folder}/scaling_{end}_freq") for end in ("min", "max"))
    clock = f", {low / 1e3:.0f} to {high / 1e3:.0f} MHz" if low and high else ""
    driver = machine.text(f"{folder}/scaling_driver") or ""
    facts: dict[str, Fact] = {"governor": "+".join(sorted(names)), "clock_max_mhz": high / 1e3 if high else None}
    found = f"{' and '.join(sorted(names))}{clock}"
    # Under intel_pstate and amd-pstate the word means another thing: there the clock does rise
    if "powersave" in names and "pstate" not in driver:
        fix = "the clock stays at its lowest: echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        return Finding("governor", Verdict.WARNING, found, fix, facts)
    return Finding("governor", Verdict.OK, found, facts=facts)


def _cores(machine: Machine) -> list[dict[str, str]]:
    """One dictionary of /proc/cpuinfo for each core; what is said once for all is in each."""
    cores: list[dict[str, str]] = []
    common: dict[str, str] = {}
    for name, value in machine.fields("proc/cpuinfo"):
        if name == "processor" and value.isdigit():
            cores.append({})
        elif name in ("Hardware", "Model", "Serial", "Revision") or not cores:
            common[name] = value
        else:
            cores[-1][name] = value
    return [common | core for core in cores]


def _name(core: dict[str, str]) -> str:
    if "CPU part" in core:
        implementer, part = core.get("CPU implementer", "?"), core["CPU part"]
        known = PARTS.get(part) if implementer == ARM else None
        return known or f"implementer {implementer} part {part}"
    return re.sub(r"\s+", " ", core.get("model name") or core.get("Processor") or "a core without a name")
