"""Addresses, loads, stores, prefetches, atomics and the few system calls of kernels."""

from alula.runtime.kernels.lang import COMPILING, device, intrinsic

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    from alula.runtime.kernels.lang import target_call

    I64, I32 = ir.IntType(64), ir.IntType(32)
    ELEMENT = {
        name: (getattr(types, name), llvm)
        for name, llvm in {
            "float32": ir.FloatType(), "int64": I64, "int32": I32, "uint8": ir.IntType(8), "int8": ir.IntType(8),
            "uint16": ir.IntType(16), "uint64": I64,
        }.items()
    }  # fmt: skip
    IS_X86 = not COMPILING.startswith(("cortex", "neoverse", "apple", "generic"))
    FUTEX = 202 if IS_X86 else 98

LINE = 16  # elements of a line of the cache


def _pointer_from(element):
    """An intrinsic: address (int64) -> pointer to `element`."""

    @intrinsic
    def convert(context, address):
        numba_type, llvm = ELEMENT[element]

        def generate(cx, builder, signature, args):
            return builder.inttoptr(args[0], llvm.as_pointer())

        return types.CPointer(numba_type)(types.int64), generate

    return convert


f32_at, i64_at, i32_at = _pointer_from("float32"), _pointer_from("int64"), _pointer_from("int32")
u8_at, i8_at, u16_at, u64_at = (_pointer_from(e) for e in ("uint8", "int8", "uint16", "uint64"))


@intrinsic
def address_of(context, pointer):
    """Pointer -> address (int64)."""

    def generate(cx, builder, signature, args):
        return builder.ptrtoint(args[0], I64)

    return types.int64(pointer), generate


@intrinsic
def offset(context, pointer, index):
    """Pointer to element `index`."""

    def generate(cx, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), generate


@intrinsic
def hidden(context, pointer):
    """The same pointer, but the optimiser does not know it: a loop in place that keeps some elements would branch to them."""

    def generate(cx, builder, signature, args):
        kind = args[0].type
        return builder.asm(ir.FunctionType(kind, [kind]), "", "=r,0", [args[0]], False)

    return pointer(pointer), generate


@intrinsic
def f32_from_bits(context, bits):
    """The float32 in the low half of a word."""

    def generate(cx, builder, signature, args):
        return builder.bitcast(builder.trunc(args[0], I32), ir.FloatType())

    return types.float32(types.int64), generate


@intrinsic
def i32_bits(context, value):
    """The bits of a float32 as int32."""

    def generate(cx, builder, signature, args):
        return builder.bitcast(args[0], I32)

    return types.int32(types.float32), generate


@intrinsic
def f32_of_i32_bits(context, bits):
    """The float32 whose bits are an int32."""

    def generate(cx, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def load_u64_unaligned(context, address):
    """The 8 bytes at any address."""

    def generate(cx, builder, signature, args):
        value = builder.load(builder.inttoptr(args[0], I64.as_pointer()))
        value.align = 1
        return value

    return types.uint64(types.int64), generate


@intrinsic
def call_kernel(context, function, args, tid, n_threads):
    """Call a kernel by its address."""

    def generate(cx, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [I64, I64, I64])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return cx.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


@intrinsic
def atomic_add(context, pointer, value):
    """Add to *pointer; the value before."""

    def generate(cx, builder, signature, args):
        return builder.atomic_rmw("add", args[0], args[1], "seq_cst")

    return types.int64(pointer, types.int64), generate


@intrinsic
def atomic_exchange_if(context, pointer, expected, value):
    """Set *pointer to value if it is as expected; whether it was."""

    def generate(cx, builder, signature, args):
        found = builder.cmpxchg(args[0], args[1], args[2], "seq_cst", "monotonic")
        return builder.zext(builder.extract_value(found, 1), I64)

    return types.int64(pointer, types.int64, types.int64), generate


@intrinsic
def atomic_load(context, pointer):
    """Load with acquire order."""

    def generate(cx, builder, signature, args):
        return builder.load_atomic(args[0], "acquire", 8)

    return types.int64(pointer), generate


@intrinsic
def atomic_store(context, pointer, value):
    """Store with release order."""

    def generate(cx, builder, signature, args):
        builder.store_atomic(args[1], args[0], "release", 8)
        return cx.get_dummy_value()

    return types.void(pointer, types.int64), generate


@intrinsic
def pause(context):
    """Tell the core that this is a spin loop."""

    def generate(cx, builder, signature, args):
        if IS_X86:
            target_call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        else:
            target_call(builder, "llvm.aarch64.hint", ir.VoidType(), [ir.Constant(I32, 1)])  # yield
        return cx.get_dummy_value()

    return types.void(), generate


@intrinsic
def yield_core(context):
    """Let another thread have this core."""

    def generate(cx, builder, signature, args):
        kind = ir.FunctionType(I32, [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return cx.get_dummy_value()

    return types.void(), generate


@intrinsic
def fetch_line(context, pointer):
    """Ask for the cache line of *pointer, which is read soon; nothing waits for it."""

    def generate(cx, builder, signature, args):
        byte = builder.bitcast(args[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [byte.type, I32, I32, I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(fetch, [byte, ir.Constant(I32, 0), ir.Constant(I32, 3), ir.Constant(I32, 1)])
        return cx.get_dummy_value()

    return types.void(pointer), generate


@device
def prefetch(ahead, lines, done, whole):
    """Fetch part `done` of `whole` of what the next instructions read, `lines` cache lines in all."""
    if lines > 0:
        for line in range(lines * done // whole, lines * (done + 1) // whole):
            fetch_line(offset(ahead, LINE * line))


@intrinsic
def futex(context, pointer, operation, value):
    """Linux futex on the low half of *pointer: operation 0 waits while it equals `value`, 1 wakes `value` waiters."""

    def generate(cx, builder, signature, args):
        kind = ir.FunctionType(I64, [I64], var_arg=True)
        call = cgutils.get_or_insert_function(builder.module, kind, "syscall")
        address = builder.ptrtoint(args[0], I64)
        zero = ir.Constant(I64, 0)
        builder.call(call, [ir.Constant(I64, FUTEX), address, args[1], args[2], zero, zero, zero])
        return cx.get_dummy_value()

    return types.void(pointer, types.int64, types.int64), generate
