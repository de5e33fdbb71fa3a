"""Copies in another order: from one storage order to another."""

from alula.runtime.kernels.lang import i32p, i64, kernel


@kernel
def gather_words(x: i32p, indices: i32p, y: i32p, count: i64, tid: i64, n_threads: i64):
    """y[i] = x[indices[i]] for words of 4 bytes, 0 where the index is negative."""
    for i in range(count * tid // n_threads, count * (tid + 1) // n_threads):
        index = indices[i]
        word = x[max(index, 0)]
        y[i] = word if index >= 0 else 0
