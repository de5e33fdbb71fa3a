"""Memory: total, free, and the limit of the control group."""

from __future__ import annotations

import os

from alula.device.doctor.finding import Fact, Finding, Verdict, unknown
from alula.device.doctor.machine import Machine

MB = 1e6
LITTLE_MB = 100.0  # the engine, a network of 4 M parameters and NumPy take about 80 MB
CONTROLLER = "cgroup_enable=memory"


def memory(machine: Machine) -> Finding:
    """Total, available, swap, and the control group's limit."""
    sizes = {name: _kilobytes(value) for name, value in machine.fields("proc/meminfo")}
    total = sizes.get("MemTotal") or _total_by_sysconf(machine)
    if not total:
        return unknown("memory", memory_total_mb=None)
    total_mb, available_mb = total / MB, sizes["MemAvailable"] / MB if "MemAvailable" in sizes else None
    swap_mb = sizes["SwapTotal"] / MB if "SwapTotal" in sizes else None
    limit = _group_limit(machine)
    limit_mb = limit / MB if limit is not None and limit < total else None
    facts: dict[str, Fact] = {"memory_total_mb": round(total_mb), "memory_available_mb": _round(available_mb),
                              "swap_mb": _round(swap_mb), "memory_limit_mb": _round(limit_mb),
                              "cma_free_mb": _round(sizes["CmaFree"] / MB if "CmaFree" in sizes else None)}  # fmt: skip
    parts = [f"{total_mb:.0f} MB"]
    parts += [f"{available_mb:.0f} MB available"] if available_mb is not None else []
    parts += [f"swap {swap_mb:.0f} MB" if swap_mb else "no swap"] if swap_mb is not None else []
    parts += [f"the control group allows {limit_mb:.0f} MB"] if limit_mb is not None else []
    found = ", ".join(parts)
    usable_mb = min(value for value in (total_mb, available_mb, limit_mb) if value is not None)
    if usable_mb < LITTLE_MB:
        return Finding("memory", Verdict.WARNING, found, "close other programs, or raise the group's limit", facts)
    return Finding("memory", Verdict.OK, found, facts=facts)


def control_group(machine: Machine) -> Finding:
    """Whether limits such as a unit's MemoryMax= mean anything: Raspberry Pi OS starts without the controller."""
    controllers = machine.text("sys/fs/cgroup/cgroup.controllers")
    if controllers is None:
        return unknown("cgroup", cgroup_memory=None)
    there = "memory" in controllers.split()
    facts: dict[str, Fact] = {"cgroup_memory": there}
    if there:
        return Finding("cgroup", Verdict.OK, "memory can be limited", facts=facts)
    fix = f"for MemoryMax= in units, add {CONTROLLER} to the line in /boot/firmware/cmdline.txt and start again"
    return Finding("cgroup", Verdict.NOTE, "no memory controller: limits of memory do nothing", fix, facts)


def _kilobytes(text: str) -> int:
    """Bytes of `3884 kB`; 0 if it is something else."""
    number, _, unit = text.partition(" ")
    return int(number) * (1024 if unit.strip() == "kB" else 1) if number.isdigit() else 0


def _total_by_sysconf(machine: Machine) -> int:
    """Bytes of memory where there is no /proc."""
    if str(machine.root) != "/":
        return 0
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


def _group_limit(machine: Machine) -> int | None:
    """The minimum limit of the process's group and of those around it."""
    name = next((path for number, path in machine.fields("proc/self/cgroup", "::") if number == "0"), None)
    limits = [machine.number("sys/fs/cgroup/memory/memory.limit_in_bytes")]  # the first version
    parts = [part for part in (name or "").split("/") if part and part != ".."]
    for depth in range(len(parts) + 1):
        limits.append(machine.number("/".join(("sys/fs/cgroup", *parts[:depth], "memory.max"))))
    return min((limit for limit in limits if limit is not None), default=None)


def _round(value: float | None) -> int | None:
    return None if value is None else round(value)
