"""How a user gets to open a device file: a group, and a udev rule where the file belongs to root alone."""

from __future__ import annotations

import grp
from pathlib import Path


def remedy(path: Path, group: str, kernel: str) -> str:
    """What to run so that members of `group` may open `path`, a device that the kernel calls `kernel` (a udev pattern).

    Raspberry Pi OS has the rules; Ubuntu leaves /dev/vcio to root.
    """
    join = f"sudo usermod -aG {group} $USER, then log in again"
    if _group(path) == group:
        return join
    rule = f'KERNEL=="{kernel}", GROUP="{group}", MODE="0660"'
    return f"echo '{rule}' | sudo tee /etc/udev/rules.d/70-alula.rules; sudo udevadm trigger; {join}"


def _group(path: Path) -> str:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (KeyError, OSError):
        return ""
