"""LLVM vector operations, for the generators of micro-kernels.

Numba never sees the vectors: each generator returns an intrinsic that takes addresses and sizes, so the loops around
it stay plain Python.
"""

from contextlib import contextmanager

from alula.runtime.kernels.lang import COMPILING, device, intrinsic
from alula.runtime.kernels.tiles import for_cpu

TILES = for_cpu(COMPILING) if COMPILING else None

if COMPILING:
    from llvmlite import ir
    from numba.core import cgutils, types

    F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


class Emitter:
    """LLVM vector operations of one width, as methods."""

    def __init__(self, builder, width):
        self.builder = builder
        self.width = width
        self.vector = ir.VectorType(F32, width)

    def call(self, name, *values):
        """An LLVM intrinsic that takes and gives vectors."""
        kind = ir.FunctionType(self.vector, [self.vector] * len(values))
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{self.width}f32")
        return self.builder.call(function, values)

    def fma(self, a, b, c):
        """a * b + c, rounded once."""
        return self.call("fma", a, b, c)

    def clamp(self, value, low, high):
        """min(max(value, low), high)."""
        return self.call("minnum", self.call("maxnum", value, low), high)

    def index(self, value):
        """An index constant."""
        return i64(value)

    def add(self, a, b):
        """a + b."""
        return self.builder.fadd(a, b)

    def sub(self, a, b):
        """a - b."""
        return self.builder.fsub(a, b)

    def axpy(self, factor, x, y):
        """factor * x + y, for a constant factor."""
        return self.fma(self.constant(factor), x, y)

    def _at(self, pointer, strides):
        """pointer + the sum of count * stride over pairs (count, stride)."""
        for count, stride in strides:
            if count:
                pointer = self.builder.gep(pointer, [self.builder.mul(i64(count), stride)])
        return pointer

    def load_at(self, pointer, *strides):
        """The vector at pointer + the sum of count * stride."""
        return self.load(self._at(pointer, strides))

    def store_at(self, value, pointer, *strides):
        """Write a vector at pointer + the sum of count * stride."""
        self.store(value, self._at(pointer, strides))

    def load(self, pointer, index=0):
        """The vector at pointer + index elements."""
        where = self.builder.gep(pointer, [i64(index)]) if index != 0 else pointer
        value = self.builder.load(self.builder.bitcast(where, self.vector.as_pointer()))
        value.align = 4
        return value

    def store(self, value, pointer, index=0):
        """Write a vector at pointer + index elements."""
        where = self.builder.gep(pointer, [i64(index)]) if index != 0 else pointer
        self.builder.store(value, self.builder.bitcast(where, self.vector.as_pointer())).align = 4

    def splat(self, scalar):
        """A vector of one value."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        )

    def lane(self, vector, index):
        """A vector of lane `index` of another."""
        mask = ir.Constant(ir.VectorType(I32, self.width), [index] * self.width)
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

    def shuffle(self, a, b, lanes):
        """The vector of these lanes of a and, behind them, b."""
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def constant(self, value):
        """A vector of one constant."""
        return ir.Constant(self.vector, [value] * self.width)

    def accumulator(self):
        """A place for a vector that lives across loops; it becomes a register."""
        return cgutils.alloca_once(self.builder, self.vector)


def i64(value):
    """An index: a Python integer, or an LLVM value as it is."""
    return ir.Constant(I64, value) if isinstance(value, int) else value


def fence(builder):
    """No load moves across, so that no more weights wait in registers than there are registers for."""
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)


def in_register(builder, value):
    """The same value, which LLVM now keeps in a register instead of computing it again in the loop."""
    return builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [value], False)


@contextmanager
def countdown(builder, count, may_be_none=False):
    """A loop that runs `count` times, and that LLVM must leave as it is."""
    before, body = builder.basic_block, builder.append_basic_block("body")
    done = builder.append_basic_block("done")
    if may_be_none:
        builder.cbranch(builder.icmp_signed("!=", count, i64(0)), body, done)
    else:
        builder.branch(body)
    builder.position_at_end(body)
    left = builder.phi(I64)
    left.add_incoming(count, before)
    yield
    fewer = builder.sub(left, i64(1))
    left.add_incoming(fewer, builder.basic_block)
    again = builder.cbranch(builder.icmp_signed("!=", fewer, i64(0)), body, done)
    module = builder.module
    disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    again.set_metadata("llvm.loop", module.add_metadata([disable]))
    builder.position_at_end(done)


def dispatch(parameters, branches, scope, then="elif"):
    """A device function that makes one of several calls: a chain of comparisons over what this CPU has tiles for.

    parameters : of the function, as text
    branches   : condition -> a call, or more branches; all of it text
    scope      : what the calls name
    then       : what every branch after the first begins with, "elif" or "if"
    """

    def chain(branches, indent):
        for number, (condition, what) in enumerate(branches.items()):
            yield f"{indent}{then if number else 'if'} {condition}:"
            yield from [f"{indent}    {what}"] if isinstance(what, str) else chain(what, indent + "    ")

    scope = dict(scope)
    exec("\n".join([f"def run({parameters}):", *chain(branches, "    ")]), scope)
    return device(scope["run"])


def fma_chain_for(width):
    """`rounds` x 16 independent multiply-adds of one vector each."""

    @intrinsic
    def chain(context, result, rounds):
        def generate(cx, builder, signature, args):
            emit = Emitter(builder, width)
            sums = [emit.accumulator() for _ in range(16)]
            for i, place in enumerate(sums):
                builder.store(emit.constant(float(i)), place)
            factor = emit.splat(builder.load(args[0]))
            with cgutils.for_range(builder, args[1]):
                for place in sums:
                    builder.store(emit.fma(builder.load(place), factor, factor), place)
            total = emit.constant(0.0)
            for place in sums:
                total = builder.fadd(total, builder.load(place))
            builder.store(builder.extract_element(total, ir.Constant(I32, 0)), args[0])
            return cx.get_dummy_value()

        return types.void(result, types.int64), generate

    return chain


fma_chain = fma_chain_for(TILES.width) if COMPILING else None
