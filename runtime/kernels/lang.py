"""The dialect in which kernels are written: Python that Numba compiles ahead of time, over raw pointers.

A kernel is `void kernel(int64 args, int64 tid, int64 n_threads)`: `args` is the address of its argument words, and it
does share `tid` of `n_threads`. Kernels never allocate, never raise, own no memory and check nothing. `@kernel` turns
a function with annotated arguments into that; `@device` marks a function that kernels call; `@intrinsic` one that
emits LLVM IR. When nothing is being compiled, the decorators only record names, and Numba is not imported.
"""

import os
from collections.abc import Callable
from typing import Any

from alula.runtime.frozen import frozen

COMPILING = os.environ.get("ALULA_KERNEL_TARGET", "")  # the CPU's name, set by compiler/worker.py alone


@frozen
class Type:
    """Type of a kernel argument: an element type, by value or by address."""

    element: str
    is_pointer: bool = False


f32, i64 = Type("float32"), Type("int64")
f32p, i64p, i32p = Type("float32", True), Type("int64", True), Type("int32", True)
u8p, i8p, u16p, u64p = Type("uint8", True), Type("int8", True), Type("uint16", True), Type("uint64", True)
words = Type("tail", True)  # the argument words that follow the named ones, as int64


@frozen
class Kernel:
    """What is known of a kernel without compiling it.

    arguments : names, in the order of the argument words (tid and n_threads left out)
    fastmath  : LLVM flags; never nnan or ninf
    compact   : loops stay as they are on cores that run in order, for which LLVM unrolls every loop there is; for kernels
                that are not hot there, or whose loops are written out
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    types: tuple[Type, ...]
    function: Callable[..., None]
    fastmath: frozenset[str]
    compact: bool = False

    @property
    def room(self) -> str:
        """The folder that it stands in; "kernels" for those that rooms share."""
        return self.module.split(".")[-2]


KERNELS: dict[str, Kernel] = {}
PLACEHOLDER = "target:"  # before the name of an intrinsic that only the target's back end knows

CONTRACT = frozenset({"contract", "nsz"})
REASSOCIATE = CONTRACT | {"reassoc"}  # for sums; never where the order of operations carries accuracy


def kernel(
    function: Callable[..., None] | None = None, *, fastmath: frozenset[str] = CONTRACT, compact: bool = False
) -> Any:
    """Register a function as a kernel. Its last two arguments are `tid` and `n_threads`."""
    if function is None:
        return lambda f: kernel(f, fastmath=fastmath, compact=compact)
    annotations = {
        name: t for name, t in function.__annotations__.items() if name not in ("tid", "n_threads", "return")
    }
    entry = Kernel(
        function.__name__, function.__module__, tuple(annotations), tuple(annotations.values()),
        function, fastmath, compact,
    )  # fmt: skip
    assert entry.name not in KERNELS, f"kernel {entry.name} is registered twice"
    KERNELS[entry.name] = entry
    return entry


if COMPILING:
    import llvmlite.binding as llvm
    import numba
    from llvmlite import ir
    from numba.core import cgutils
    from numba.extending import intrinsic

    def target_call(builder, name, result, values):
        """Call an LLVM intrinsic of the target, such as `llvm.aarch64.neon.sdot.v4i32.v16i8`; its value.

        Numba also compiles for the machine that it runs on, whose back end does not know the intrinsic: until
        `compiler/pipeline.py` retargets the module, it is a function of another name, which nothing calls.
        """
        placeholder = PLACEHOLDER + name
        llvm.add_symbol(placeholder, 1)
        kind = ir.FunctionType(result, [value.type for value in values])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, placeholder), values)

    def device(function: Any = None, *, fastmath: frozenset[str] = CONTRACT) -> Any:
        """Mark a function that kernels call; it is inlined."""
        if function is None:
            return lambda f: device(f, fastmath=fastmath)
        return numba.njit(error_model="numpy", boundscheck=False, fastmath=set(fastmath))(function)

else:

    def device(function: Any = None, *, fastmath: frozenset[str] = CONTRACT) -> Any:
        """Mark a function that kernels call; it is inlined."""
        return function if function is not None else lambda f: f

    def intrinsic(function: Any) -> Any:
        """Mark a function that emits LLVM IR."""
        return function
