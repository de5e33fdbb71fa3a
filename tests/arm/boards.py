"""Emulated Raspberry Pis: QEMU's user mode, a Debian for arm64, and what a program sees of each board.

    python -m tests.arm.boards                 # builds what is missing; prints where it lies
    BOARDS["pi3"].python("script.py")          # runs a script there, as a finished process
    BOARDS["pi3"].on(TRIXIE).python(...)       # the same board with another system

A board is its own CPU (another core's instructions end in SIGILL), its own /proc/cpuinfo, memory, model name, thermal
zone and clock governor. What the board's view does not have is the host's: a script sees this checkout under its path.
Time is not emulated; instruction counts are exact.

Memory: the address space of a process is as large as the memory that Linux has on that board. That is stricter than
the board, where only touched pages count; a request beyond it fails as on a full board, with MemoryError.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.arm.debian import BOOKWORM, RELEASES, TRIXIE, BoardsError, Release, arm64_root, locked, qemu, wheels

CHECKOUT = Path(__file__).resolve().parents[2]
A53_FEATURES = "fp asimd evtstrm crc32 cpuid"
A76_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"  # as the Pi 5 says


@dataclass(frozen=True)
class Board:
    """One board. part: of /proc/cpuinfo; memory_kb: MemTotal of Raspberry Pi OS, the GPU's share taken off; release: where none is said"""

    name: str
    cpu: str
    part: str
    features: str
    memory_kb: int
    clock_khz: int
    model: str
    release: Release
    cores: int = 4

    def on(self, release: Release) -> Board:
        """The same board with another system."""
        return replace(self, release=release)

    @property
    def view(self) -> Path:
        """The folder whose files hide the host's."""
        return folder() / "boards" / self.release.name / self.name

    @property
    def executable(self) -> Path:
        """Its Python: what `sys.executable` is there, so child processes and virtual environments run there too."""
        return self.view / "python3"

    @property
    def home(self) -> Path:
        """The home folder there: caches and data of this board alone."""
        return folder() / "home" / self.release.name / self.name

    @property
    def _extras(self) -> Path:
        return folder() / "extras" / self.release.name

    def python(
        self,
        *args: str | Path,
        plugin: str = "",
        env: Mapping[str, str] | None = None,
        timeout_s: float = 600,
        extras: Iterable[str] = (),
        executable: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the board's Python with these arguments; output is captured, the exit status is the caller's to judge.

        plugin     : a plugin for QEMU, `/path/lib.so,key=value`
        env        : added to an environment that is the same on every host
        extras     : wheels beside NumPy and psutil, of `debian.EXTRAS`; `ensure` has put them there
        executable : another Python of this board, such as a virtual environment's
        raise      : subprocess.TimeoutExpired
        """
        given = dict(env or {})
        paths = [given.pop("PYTHONPATH", ""), *(str(self._extras / extra) for extra in extras)]
        environment = {
            "HOME": str(self.home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8",
            **({"PYTHONPATH": os.pathsep.join(filter(None, paths))} if any(paths) else {}),
            **({"QEMU_PLUGIN": f"file={plugin.removeprefix('file=')}"} if plugin else {}),
            **given,
        }  # fmt: skip
        return subprocess.run(
            [str(executable or self.executable), *map(str, args)], env=environment, timeout=timeout_s,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip


BOARDS = {
    board.name: board
    for board in (
        Board("pi3", "cortex-a53", "0xd03", A53_FEATURES, 948304, 1400000, "Raspberry Pi 3 Model B Plus Rev 1.3", BOOKWORM),
        Board("pi4", "cortex-a72", "0xd08", A53_FEATURES, 3884360, 1800000, "Raspberry Pi 4 Model B Rev 1.4", BOOKWORM),
        Board("pi5", "cortex-a76", "0xd0b", A76_FEATURES, 8256000, 2400000, "Raspberry Pi 5 Model B Rev 1.0", TRIXIE),
        Board("zero2", "cortex-a53", "0xd03", A53_FEATURES, 437716, 1000000, "Raspberry Pi Zero 2 W Rev 1.0", TRIXIE),
    )
}  # fmt: skip
MAIN = ("pi3", "pi4", "pi5")  # the boards that the kernels are built for, one per CPU


def folder() -> Path:
    """Where the boards lie: ALULA_BOARDS, or build/arm of the checkout."""
    return Path(os.environ.get("ALULA_BOARDS") or CHECKOUT / "build" / "arm").resolve()


def ensure(
    where: Path | None = None, extras: Iterable[str] = (), releases: Iterable[Release] = tuple(RELEASES.values())
) -> dict[str, Board]:
    """Build what is missing. Fast if nothing is; another process that builds is waited for.

    where    : instead of `folder()`, from now on
    extras   : of `debian.EXTRAS`, for `Board.python(extras=...)`
    releases : each for all boards
    raise    : BoardsError, one line, where tools or downloads cannot be had
    """
    if where is not None:
        os.environ["ALULA_BOARDS"] = str(Path(where).resolve())
    target = folder()
    target.mkdir(parents=True, exist_ok=True)
    with locked(target / "lock"):
        emulator = qemu()
        for release in releases:
            root = arm64_root(target, release)
            for extra in extras:
                wheels(target, extra, release)
            for board in BOARDS.values():
                _make_view(board.on(release), root, emulator)
    return BOARDS


def files(board: Board) -> dict[str, str]:
    """What a program reads there instead of the host's, by path."""
    processor = (
        f"BogoMIPS\t: 38.40\nFeatures\t: {board.features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: 0x0\nCPU part\t: {board.part}\nCPU revision\t: 4\n\n"
    )
    free_kb = board.memory_kb * 8 // 10
    meminfo = {"MemTotal": board.memory_kb, "MemFree": free_kb, "MemAvailable": free_kb, "Buffers": 1000, "Cached": 1000,
               "Active": 1000, "Inactive": 1000, "Shmem": 0, "Slab": 1000, "SwapTotal": 0, "SwapFree": 0}  # fmt: skip
    clock = {"scaling_governor": "ondemand", "scaling_cur_freq": board.clock_khz, "scaling_max_freq": board.clock_khz,
             "scaling_min_freq": 600000}  # fmt: skip
    sensors = "sys/class/hwmon"
    named = {
        "proc/cpuinfo": "".join(f"processor\t: {n}\n{processor}" for n in range(board.cores))
        + f"Model\t\t: {board.model}\n",
        "proc/meminfo": "".join(f"{key + ':':<16}{kb:>8} kB\n" for key, kb in meminfo.items()),
        "proc/device-tree/model": board.model + "\0",
        "sys/firmware/devicetree/base/model": board.model + "\0",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "45000\n",
        f"{sensors}/hwmon0/name": "cpu_thermal\n",
        f"{sensors}/hwmon0/temp1_input": "45000\n",
        "sys/class/powercap/.none": "",  # no energy counters on a Raspberry Pi
    }
    for place in ("cpufreq/policy0", "cpu0/cpufreq"):
        named |= {f"sys/devices/system/cpu/{place}/{key}": f"{value}\n" for key, value in clock.items()}
    if board.name != "zero2":  # the Zero 2 W has no detector of under-voltage
        named |= {f"{sensors}/hwmon1/name": "rpi_volt\n", f"{sensors}/hwmon1/in0_lcrit_alarm": "0\n"}
    return named


def _make_view(board: Board, root: Path, emulator: str) -> None:
    """The board's files, links to the shared Debian, and its Python, put in place in one step."""
    command = [emulator, "-cpu", board.cpu, "-R", f"{board.memory_kb & ~63}K", "-L", str(board.view)]  # whole pages
    python = f"-E PYTHONHOME='{root}/usr' '{root}/usr/bin/python{board.release.python}'"
    wrapper = f'#!/bin/sh\n# {board.model}, emulated\nexec {shlex.join(command)} -0 "$0" {python} "$@"\n'
    wanted = files(board)
    stamp = repr((sorted(wanted.items()), wrapper))
    stamped = board.view / "stamp"
    board.home.mkdir(parents=True, exist_ok=True)
    if stamped.exists() and stamped.read_text(encoding="utf-8") == stamp and board.executable.exists():
        return
    shutil.rmtree(board.view, ignore_errors=True)
    for path, text in wanted.items():
        (board.view / path).parent.mkdir(parents=True, exist_ok=True)
        (board.view / path).write_text(text, encoding="utf-8")
    for name in ("bin", "lib", "sbin", "usr", "etc", "var"):
        (board.view / name).symlink_to(root / name)
    board.executable.write_text(wrapper, encoding="utf-8")
    board.executable.chmod(0o755)
    stamped.write_text(stamp, encoding="utf-8")


def main() -> int:
    """Build the boards."""
    parser = argparse.ArgumentParser(prog="tests.arm.boards", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where; ALULA_BOARDS or build/arm if left out")
    parser.add_argument("--extras", nargs="*", default=(), help="wheels beside NumPy and psutil")
    args = parser.parse_args()
    try:
        boards = ensure(args.folder, args.extras)
    except BoardsError as error:
        print(error, file=sys.stderr)
        return 1
    for release in RELEASES.values():
        for board in boards.values():
            print(f"{board.name:<6} {board.cpu:<11} {board.memory_kb // 1024:>5} MB  {board.on(release).executable}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
