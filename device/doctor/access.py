"""What this user can write and open: the cache, the camera's and the bus's device files."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from alula.device.doctor.finding import Fact, Finding, Verdict, unknown
from alula.device.doctor.machine import Machine

MB = 1e6
LITTLE_MB = 50.0
KEEP = "kernels that no pack has cannot be kept: set XDG_CACHE_HOME to a folder that this user may write to"
GROUPS = {"video": "the camera and the firmware", "i2c": "power monitors on the bus"}
NODES = {
    "firmware": ("dev/vcio_gencmd", "dev/vcio"),
    "video": ("dev/video*",),
    "media": ("dev/media*",),
    "camera memory": ("dev/dma_heap/*",),
    "i2c": ("dev/i2c-*",),
}


def storage(cache: Path | None) -> Finding:
    """Whether the folder of the kernels can be written to, and how much room there is.

    cache : the folder, which need not exist yet; None if there is no place for one
    """
    if cache is None:
        facts: dict[str, Fact] = {"cache": "", "cache_writable": False, "disk_free_mb": None}
        return Finding("storage", Verdict.NOTE, "no home and no temporary folder for kernels", KEEP, facts)
    there = cache
    while not os.path.exists(there) and there != there.parent:
        there = there.parent
    try:
        free_mb = shutil.disk_usage(there).free / MB
    except OSError:
        free_mb = float("nan")
    facts = {"cache": str(cache), "cache_writable": True, "disk_free_mb": round(free_mb)
                              if free_mb == free_mb else None}  # fmt: skip
    found = f"{cache}, {free_mb:.0f} MB free"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        facts["cache_writable"] = False
        reason = (error.strerror or str(error)).lower()
        return Finding("storage", Verdict.NOTE, f"{found}; not writable: {reason}", KEEP, facts)
    if free_mb < LITTLE_MB:
        return Finding("storage", Verdict.WARNING, found, "make room on the card: results and logs need some", facts)
    return Finding("storage", Verdict.OK, found, facts=facts)


def devices(machine: Machine) -> Finding:
    """On a Pi: the groups video and i2c, and which device files can be opened."""
    if not machine.is_pi:
        return unknown("devices", groups=None)
    missing = [name for name in GROUPS if name not in machine.groups and not machine.is_root]
    nodes = {what: [path for pattern in patterns for path in machine.glob(pattern)] for what, patterns in NODES.items()}
    closed = [path for paths in nodes.values() for path in paths if not os.access(path, os.R_OK | os.W_OK)]
    facts: dict[str, Fact] = {f"has_{what.replace(' ', '_')}": bool(paths) for what, paths in nodes.items()}
    facts["groups_missing"] = " ".join(missing)
    facts["closed"] = " ".join(f"/{machine.below(path)}" for path in closed)
    parts = [f"there: {', '.join(what for what, paths in nodes.items() if paths) or 'none'}"]
    absent = [what for what, paths in nodes.items() if not paths]
    parts += [f"not there: {', '.join(absent)}"] if absent else []
    if closed:
        names = [machine.below(path) for path in closed]
        parts.append(f"closed to this user: /{names[0]}" + (f" and {len(names) - 1} more" if names[1:] else ""))
    if missing:
        parts.append("not in the group " + " or ".join(f"{name} ({GROUPS[name]})" for name in missing))
        fix = f"sudo usermod -aG {','.join(missing)} $USER, then log in again"
        return Finding("devices", Verdict.WARNING, "; ".join(parts), fix, facts)
    fix = "for power monitors on the bus: sudo raspi-config nonint do_i2c 0" if "i2c" in absent else ""
    return Finding("devices", Verdict.NOTE if absent or closed else Verdict.OK, "; ".join(parts), fix, facts)
