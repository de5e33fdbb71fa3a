"""The machine as a check sees it: files below a root that tests replace, and a few facts about the process."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 1 << 20


def _groups() -> frozenset[str]:
    """Names of the process's groups; a group without a name by its number."""
    import grp

    names = set()
    for number in {*os.getgroups(), os.getegid()}:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except (KeyError, OSError):
            names.add(str(number))
    return frozenset(names)


@dataclass(frozen=True)
class Machine:
    """The folder that holds proc/, sys/, etc/ and dev/, and what the process knows of itself.

    bits       : of Python's addresses, 32 or 64
    is_root    : whether permissions mean nothing
    child_limit_s : how long a child process may take before it counts as hung
    """

    root: Path = Path("/")
    system: str = field(default_factory=platform.system)
    machine: str = field(default_factory=platform.machine)
    kernel: str = field(default_factory=platform.release)
    python: tuple[int, int, int] = field(default_factory=lambda: sys.version_info[:3])
    bits: int = 64 if sys.maxsize > 2**32 else 32
    groups: frozenset[str] = field(default_factory=_groups)
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    child_limit_s: float = 120.0

    def text(self, path: str) -> str | None:
        """The text of a file below the root, stripped of blanks and NULs; None if it cannot be read."""
        try:
            with open(self.root / path, encoding="utf-8", errors="replace") as file:
                return file.read(MAX_BYTES).strip("\0 \n\t")
        except (OSError, ValueError):
            return None

    def number(self, path: str, base: int = 10) -> int | None:
        """The integer in a file below the root, or None."""
        try:
            return int(self.text(path) or "", base)
        except ValueError:
            return None

    def glob(self, pattern: str) -> list[Path]:
        """Paths below the root that fit a pattern, with numbers in their order; none if they cannot be listed."""
        try:
            found = list(self.root.glob(pattern))
        except OSError:
            return []
        return sorted(found, key=lambda path: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", str(path))])

    def below(self, path: Path) -> str:
        """A path that `glob` gave, as `text` takes it."""
        return str(path.relative_to(self.root))

    def fields(self, path: str, separator: str = ":") -> Iterator[tuple[str, str]]:
        """`name: value` lines of a file."""
        for line in (self.text(path) or "").splitlines():
            name, found, value = line.partition(separator)
            if found:
                yield name.strip(), value.strip().strip('"')

    @property
    def model(self) -> str:
        """What a board calls itself in its device tree, such as `Raspberry Pi 4 Model B Rev 1.4`; else empty."""
        return self.text("proc/device-tree/model") or self.text("sys/firmware/devicetree/base/model") or ""

    @property
    def is_pi(self) -> bool:
        """Whether it is a Raspberry Pi."""
        return self.model.startswith("Raspberry Pi")
