"""Elementary functions on float32, one value at a time, in a form that LLVM turns into vector code.

No branches, no libm: range reduction and a polynomial. Maximum relative errors over all magnitudes, checked by
tests/runtime/kernels/test_fmath.py: at most 1e-7 for exp, 1e-7 for log, 1e-7 for pow, 2e-7 for expm1,
2e-7 for sigmoid, 2e-7 for softplus, 3e-7 for tanh, 4e-7 for erf. Half a step of float32 is 6e-8. Subnormal results
are off by at most one step, except those of sigmoid, which may be 0. NaN stays NaN, infinities go to their limits.
"""

import math

from alula.runtime.kernels.lang import COMPILING, device, intrinsic
from alula.runtime.kernels.memory import f32_of_i32_bits, i32_bits

if COMPILING:
    import numpy as np
    from llvmlite import ir
    from numba.core import cgutils, types

    from alula.runtime.kernels.memory import IS_X86

    F, D = np.float32, np.float64
else:
    F = D = float  # constants below are only compiled, never run
    import numpy as np


def _llvm(name, n_arguments=1):
    """An LLVM intrinsic on float32."""

    def generate(cx, builder, signature, args):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * n_arguments)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.f32"), args)

    if n_arguments == 1:

        @intrinsic
        def one(context, x):
            return types.float32(types.float32), generate

        return one

    @intrinsic
    def three(context, x, y, z):
        return types.float32(types.float32, types.float32, types.float32), generate

    return three


rint, floor, ceil, sqrt, absolute = (_llvm(name) for name in ("rint", "floor", "ceil", "sqrt", "fabs"))
fma = _llvm("fma", 3)


@intrinsic
def held(context, constant):
    """The same number. On AArch64 LLVM does not know it, and keeps it in a register instead of making it in each round."""

    def generate(cx, builder, signature, args):
        if IS_X86:
            return args[0]
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
        value = builder.asm(kind, "", "=x,0", args, False)
        for attribute in ("nounwind", "readnone"):
            value.attributes.add(attribute)
        return value

    return types.float32(types.float32), generate


def _bound(name, comparison):
    """An intrinsic (x, bound): x, or the bound where x lies beyond it. A NaN in x stays; the bound is none.

    On AArch64 one instruction, which would be three from a comparison; on x86 the comparison is the instruction.
    """

    @intrinsic
    def bounded(context, x, bound):
        def generate(cx, builder, signature, args):
            x, bound = args
            if IS_X86:
                return builder.select(builder.fcmp_ordered(comparison, x, bound), bound, x)
            kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 2)
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.f32"), args)

        return types.float32(types.float32, types.float32), generate

    return bounded


at_least, at_most = _bound("maximum", "<"), _bound("minimum", ">")


def _extreme(name):
    """An intrinsic (x, y): the larger or smaller of two; NaN if one is NaN."""

    @intrinsic
    def extreme(context, x, y):
        def generate(cx, builder, signature, args):
            kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 2)
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.f32")
            return builder.call(function, args, fastmath=("nsz",))

        return types.float32(types.float32, types.float32), generate

    return extreme


largest, smallest = _extreme("maximum"), _extreme("minimum")

INF, NAN = F(math.inf), F(math.nan)
LOG2E, LN2_HIGH, LN2_LOW = F(1.44269504088896341), F(0.693359375), F(-2.12194440e-4)
WHOLE = F(1.5 * 2**23 + 127)


@device
def power_of_two(n):
    """2 ** n for a whole n in [-152, 130], as two factors: neither overflows nor underflows before a product does."""
    i = np.int32(n)
    half = i >> np.int32(1)
    low = f32_of_i32_bits((half + np.int32(127)) << np.int32(23))
    high = f32_of_i32_bits((i - half + np.int32(127)) << np.int32(23))
    return low, high


@device
def reduced_exp(x):
    """(n, e ** r - 1) where x = n * ln 2 + r and n is whole. Cody-Waite; the polynomial is that of Cephes' expf."""
    y = at_most(at_least(x, held(F(-104.0))), held(F(89.0)))
    n = rint(y * held(LOG2E))
    r = fma(n, held(-LN2_LOW), fma(n, held(-LN2_HIGH), y))
    p = fma(held(F(1.9875691500e-4)), r, held(F(1.3981999507e-3)))
    p = fma(p, r, held(F(8.3334519073e-3)))
    p = fma(p, r, held(F(4.1665795894e-2)))
    p = fma(p, r, held(F(1.6666665459e-1)))
    p = fma(p, r, held(F(5.0000001201e-1)))
    return n, fma(p, r * r, r)


@device
def exp(x):
    """e ** x."""
    n, p = reduced_exp(x)
    low, high = power_of_two(n)
    result = (p + F(1.0)) * low * high
    return x if x != x else result


@device
def expm1(x):
    """e ** x - 1, exact to the last places near zero too."""
    n, p = reduced_exp(x)
    low, high = power_of_two(n)
    result = p if n == F(0.0) else (p + F(1.0)) * low * high - F(1.0)
    return x if x != x else result


@device
def log(x):
    """Natural logarithm: mantissa in [sqrt(1/2), sqrt(2)), then Cephes' logf polynomial."""
    tiny = x < F(1.17549435e-38)
    scaled = x * F(8388608.0) if tiny else x  # subnormals
    bits = i32_bits(scaled)
    exponent = np.float32((bits >> np.int32(23)) - np.int32(127)) - (F(23.0) if tiny else F(0.0))
    m = f32_of_i32_bits((bits & np.int32(0x007FFFFF)) | np.int32(0x3F800000))
    big = m > F(1.41421356)
    m = m * F(0.5) if big else m
    exponent = exponent + F(1.0) if big else exponent
    t = m - F(1.0)
    z = t * t
    p = fma(F(7.0376836292e-2), t, F(-1.1514610310e-1))
    p = fma(p, t, F(1.1676998740e-1))
    p = fma(p, t, F(-1.2420140846e-1))
    p = fma(p, t, F(1.4249322787e-1))
    p = fma(p, t, F(-1.6668057665e-1))
    p = fma(p, t, F(2.0000714765e-1))
    p = fma(p, t, F(-2.4999993993e-1))
    p = fma(p, t, F(3.3333331174e-1))
    y = fma(exponent, LN2_LOW, t * z * p)
    y = fma(F(-0.5), z, y) + t
    result = fma(exponent, LN2_HIGH, y)
    result = INF if x == INF else result
    result = -INF if x == F(0.0) else result
    return NAN if (x < F(0.0)) or (x != x) else result


@device
def sigmoid(x):
    """1 / (1 + e ** -x), where e ** -x = 2 ** n * e ** -r; r = x + n * ln 2, n is whole, and e ** -r a minimax polynomial.

    Adding WHOLE rounds to a whole number, in the low bits of the sum: n + 127, which are an exponent once they are shifted.
    """
    y = at_most(at_least(x, held(F(-89.0))), held(F(88.0)))
    t = fma(y, held(-LOG2E), held(WHOLE))
    n = t - held(WHOLE)
    r = fma(n, held(LN2_LOW), fma(n, held(LN2_HIGH), y))
    p = fma(held(F(1.3814540e-3)), r, held(F(-8.3687451e-3)))
    p = fma(p, r, held(F(4.1668391e-2)))
    p = fma(p, r, held(F(-1.6666520e-1)))
    p = fma(p, r, held(F(4.9999993e-1)))
    p = fma(p, r, held(F(-1.0)))
    p = fma(p, r, held(F(1.0)))
    return F(1.0) / (F(1.0) + p * f32_of_i32_bits(i32_bits(t) << np.int32(23)))


@device
def tanh(x):
    """Hyperbolic tangent: the rational minimax approximation of Eigen's ptanh, degrees 13 and 6."""
    y = at_most(at_least(x, F(-7.90531110763549805)), F(7.90531110763549805))
    z = y * y
    p = fma(z, held(F(-2.76076847742355e-16)), held(F(2.00018790482477e-13)))
    p = fma(z, p, held(F(-8.60467152213735e-11)))
    p = fma(z, p, held(F(5.12229709037114e-08)))
    p = fma(z, p, held(F(1.48572235717979e-05)))
    p = fma(z, p, held(F(6.37261928875436e-04)))
    p = y * fma(z, p, held(F(4.89352455891786e-03)))
    q = fma(z, held(F(1.19825839466702e-06)), held(F(1.18534705686654e-04)))
    q = fma(z, q, held(F(2.26843463243900e-03)))
    q = fma(z, q, held(F(4.89352518554385e-03)))
    result = p / q
    result = F(1.0) if x > F(8.5) else result
    result = F(-1.0) if x < F(-8.5) else result
    return result if absolute(x) > F(4e-4) else x  # below, p and q would underflow; NaN too


@device
def erf(x):
    """Error function: the rational minimax approximation of Eigen's perf, degrees 13 and 8, on [-4, 4]."""
    y = at_most(at_least(x, F(-4.0)), F(4.0))
    z = y * y
    p = fma(z, held(F(-2.72614225801306e-10)), held(F(2.77068142495902e-08)))
    p = fma(z, p, held(F(-2.10102402082508e-06)))
    p = fma(z, p, held(F(-5.69250639462346e-05)))
    p = fma(z, p, held(F(-7.34990630326855e-04)))
    p = fma(z, p, held(F(-2.95459980854025e-03)))
    p = y * fma(z, p, held(F(-1.60960333262415e-02)))
    q = fma(z, held(F(-1.45660718464996e-05)), held(F(-2.13374055278905e-04)))
    q = fma(z, q, held(F(-1.68282697438203e-03)))
    q = fma(z, q, held(F(-7.37332916720468e-03)))
    q = fma(z, q, held(F(-1.42647390514189e-02)))
    return p / q if absolute(x) > F(3e-4) else x * F(1.1283791670955126)  # below, p and q would underflow; NaN too


@device
def softplus(x):
    """log(1 + e ** x), without overflow."""
    positive = at_least(x, F(0.0))
    u = exp(-absolute(x))
    # log1p(u): log(1 + u), corrected for what the sum 1 + u lost
    s = F(1.0) + u
    grown = log(s) - ((s - F(1.0)) - u) / s
    result = positive + grown
    return x if x != x else result


@device
def pow(x, y):
    """x ** y with C's rules for zeros, infinities, NaN and negative bases. In float64 inside: y * log(x) loses nothing."""
    a = absolute(x)
    tiny = a < F(1.17549435e-38)
    bits = i32_bits(a * F(8388608.0) if tiny else a)  # subnormals
    exponent = (bits >> np.int32(23)) - (np.int32(150) if tiny else np.int32(127))
    m = f32_of_i32_bits((bits & np.int32(0x007FFFFF)) | np.int32(0x3F800000))
    big = m > F(1.41421356)
    exponent = exponent + np.int32(1) if big else exponent
    mantissa = D(m) * (D(0.5) if big else D(1.0))  # in [sqrt(1/2), sqrt(2))
    t = (mantissa - D(1.0)) / (mantissa + D(1.0))
    z = t * t  # log(mantissa) = 2 * artanh(t), by its series; the term left out is below 1e-11
    p = D(1 / 13) * z + D(1 / 11)
    p = p * z + D(1 / 9)
    p = p * z + D(1 / 7)
    p = p * z + D(1 / 5)
    p = p * z + D(1 / 3)
    p = p * z + D(1.0)
    logarithm = D(np.int32(exponent)) * D(math.log(2)) + D(2.0) * t * p
    logarithm = D(-math.inf) if a == F(0.0) else logarithm
    logarithm = D(math.inf) if a == INF else logarithm
    product = logarithm * D(y)
    w = min(max(product, D(-104.0)), D(89.0))
    n = rint(F(w * D(1 / math.log(2))))
    r = w - D(n) * D(math.log(2))
    e = r * D(1 / 40320) + D(1 / 5040)
    e = e * r + D(1 / 720)
    e = e * r + D(1 / 120)
    e = e * r + D(1 / 24)
    e = e * r + D(1 / 6)
    e = e * r + D(1 / 2)
    e = e * r + D(1.0)
    e = e * r + D(1.0)
    low, high = power_of_two(n)
    result = F(e) * low * high
    whole = rint(y) == y
    halved = y * F(0.5)
    odd = whole and rint(halved) != halved
    negative = i32_bits(x) < np.int32(0)
    result = -result if negative and odd else result
    result = NAN if x < F(0.0) and x != -INF and not whole else result
    result = NAN if (x != x) or (y != y) else result
    return F(1.0) if (x == F(1.0)) or (y == F(0.0)) or (a == F(1.0) and absolute(y) == INF) else result
