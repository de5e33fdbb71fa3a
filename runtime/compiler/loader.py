"""Load the kernels of this machine, and call them by address."""

from __future__ import annotations

import ctypes
import math
import struct
import sys
import time
from collections.abc import Callable
from functools import cache as memoise
from pathlib import Path
from typing import Any, cast

import numpy as np

from alula.runtime.compiler import packs
from alula.runtime.errors import CompilerError, require
from alula.runtime.forks import ForkLock
from alula.runtime.graph import Array

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
FLOAT, BITS = struct.Struct("f"), struct.Struct("i")
_loading = ForkLock()


class KernelLibrary:
    """The kernels of one pack.

    cpu   : whose they are, which decides their tiles
    raise : CompilerError if the pack cannot be loaded
    """

    def __init__(self, pack: Path, cpu: str) -> None:
        self.path, self.cpu = pack, cpu
        self._addresses: dict[str, int] = {}
        self._functions: dict[str, Callable[[int, int, int], None]] = {}
        if pack.suffix == ".list":
            self._engine = _load_objects(pack)
        else:
            try:
                self._shared = ctypes.CDLL(str(pack))
            except OSError as error:
                raise CompilerError(f"expected the system to load it, got {error}") from None

    def address(self, name: str) -> int:
        """The address of a kernel."""
        if name not in self._addresses:
            if self.path.suffix == ".list":
                found = int(self._engine.get_function_address(name))
            else:
                found = ctypes.cast(getattr(self._shared, name), ctypes.c_void_p).value or 0
            self._addresses[name] = found
        return self._addresses[name]

    def function(self, name: str) -> Callable[[int, int, int], None]:
        """A kernel as a callable (address of its words, tid, n_threads) that leaves the GIL."""
        if name not in self._functions:
            self._functions[name] = ENTRY(self.address(name))
        return self._functions[name]

    def call(self, name: str, *values: int | float | Array) -> None:
        """Run a kernel on this thread. Arrays go by address and must be contiguous."""
        words = (ctypes.c_int64 * len(values))(*map(word_of, values))
        self.function(name)(ctypes.addressof(words), 0, 1)


def word_of(value: int | float | Array) -> int:
    """An argument word: an integer, the bits of a float32, or the address of an array."""
    if isinstance(value, np.ndarray):
        try:
            return ctypes.addressof(ctypes.c_char.from_buffer(cast(Any, value)))  # a third of the time of the way below
        except (TypeError, ValueError):  # it may not be written, or is empty
            address: int = value.__array_interface__["data"][0]
            return address
    if isinstance(value, float):
        try:
            bits: int = BITS.unpack(FLOAT.pack(value))[0]
            return bits
        except OverflowError:  # too large for a float32
            return word_of(math.copysign(math.inf, value))
    return int(value)


@memoise
def library() -> KernelLibrary:
    """The kernels for this machine: of the pack that `packs.choose` finds, or built now, with a line that says so.

    raise : CompilerError if they can be neither found nor built
    """
    unloadable: dict[Path, str] = {}
    with _loading.lock:
        while (choice := packs.choose(unloadable=unloadable)).path:
            try:
                kernels = KernelLibrary(choice.path, choice.cpu)
            except CompilerError as error:
                unloadable[choice.path] = str(error)
                continue
            _complain(choice)
            return kernels
        if not choice.builds:
            raise CompilerError(choice.reason)  # which names what was refused
        _complain(choice)
        from alula.runtime.compiler.builder import build

        return KernelLibrary(build(choice.cpu, progress=_tell()), choice.cpu)


def _complain(choice: packs.Choice) -> None:
    """Name the damaged packs, one line each on stderr; the packs that work are used."""
    for path, why in choice.refused:
        if path in choice.damaged:
            print(f"alula: {path}: {why}; install or build it again", file=sys.stderr, flush=True)


def _tell() -> Callable[[int, int, str], None]:
    """A progress line on stderr, rewritten in place on a terminal."""
    start = time.monotonic()

    def tell(done: int, total: int, name: str) -> None:
        line = f"compiling kernels, once for this machine: {done}/{total} {name}"
        if sys.stderr.isatty():
            print(f"\r{line:<100}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif done in (1, total):
            print(f"{line} ({time.monotonic() - start:.0f} s)", file=sys.stderr, flush=True)

    return tell


def _load_objects(pack: Path) -> Any:
    """Load objects with llvmlite, where there was no linker to make a shared object of them."""
    llvm = require("llvmlite.binding", "compiler", "loading kernels without a linker")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    for name in pack.read_text(encoding="utf-8").splitlines():
        code = (pack.parent / name).read_bytes()
        engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine
