"""The host's side of counting: the plugin is compiled, a board's process runs under it, its results are read."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alula.runtime.compiler import cache_path
from tests.arm.boards import CHECKOUT, Board, folder
from tests.arm.debian import BoardsError

SOURCE = Path(__file__).with_name("counter.c")
ADDR_NO_RANDOMIZE = 0x0040000  # <sys/personality.h>
# KiB and ways of the first- and second-level data caches: BCM2837 (and RP3A0), BCM2711, BCM2712
CACHES = {
    "cortex-a53": "l1=32:4,l2=512:16",
    "cortex-a72": "l1=32:2,l2=1024:16",
    "cortex-a76": "l1=64:4,l2=512:8",
}

Row = dict[str, Any]


def fixed_addresses() -> None:
    """Have processes started from now on find their memory at the same addresses every time: misses depend on them."""
    ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)


def plugin() -> Path:
    """The compiled counter, made once per version of its source.

    raise : BoardsError where there is no C compiler
    """
    target = folder() / f"counter-{hashlib.blake2b(SOURCE.read_bytes(), digest_size=6).hexdigest()}.so"
    if target.exists():
        return target
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        raise BoardsError("counter: expected a C compiler, got none; install one with: apt-get install gcc libc6-dev")
    part = target.with_name(f"{target.name}.{os.getpid()}")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(part), str(SOURCE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = " ".join(result.stderr.split())[:300]
        raise BoardsError(f"counter: expected {compiler} to compile it, got {reason}; is libc6-dev installed?")
    part.replace(target)
    return target


def environment() -> dict[str, str]:
    """Of a counted process: one thread, this checkout, this machine's cache of kernels, the same dictionaries always."""
    return {
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(CHECKOUT),
        "XDG_CACHE_HOME": str(cache_path().parents[2]),
    }  # fmt: skip


def count_ours(board: Board, job: Path, timeout_s: float = 1800) -> list[Row]:
    """Run count_ours.py on a board; exit with its last words if it fails."""
    result = board.python(
        "-m", "tests.arm.count_ours", job,
        plugin=f"{plugin()},region=later,{CACHES[board.cpu]}", env=environment(), timeout_s=timeout_s,
    )  # fmt: skip
    if result.returncode:
        sys.exit(f"{board.name}: expected counts, got exit status {result.returncode}: {_last_words(result.stderr)}")
    return [json.loads(line) for line in result.stdout.splitlines()]


def _last_words(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1][-300:] if lines else "nothing"
