"""Peak rate of multiply-adds of this core, which benchmarks compare with."""

from alula.runtime.kernels.lang import f32p, i64, kernel
from alula.runtime.kernels.simd import fma_chain


@kernel
def f32_peak(result: f32p, rounds: i64, tid: i64, n_threads: i64):
    """`rounds` times 16 independent vector multiply-adds, all in registers: 16 * width * 2 operations a round."""
    fma_chain(result, rounds)
