# mypy: ignore-errors
"""Optimiser steps: flat loops over a tensor, its gradient and the optimiser's state.

New values may overwrite the old ones: each element is read before it is written. Scalars that change from step to step are
passed by address.
"""

from alula.runtime.kernels.fmath import F, expm1, sqrt
from alula.runtime.kernels.lang import REASSOCIATE, device, f32, f32p, i64, kernel
from alula.runtime.kernels.memory import offset

CHUNK = 4096  # elements whose squares make one partial sum
GRAIN = 16  # elements; no two threads write to one cache line


@device
def share_of(n, tid, n_threads):
    """First and last element of a thread's share."""
    grains = (n + GRAIN - 1) // GRAIN
    return grains * tid // n_threads * GRAIN, min(grains * (tid + 1) // n_threads * GRAIN, n)


@device
def vec_sgd(w, g, new, n, lr, scale, decay):
    """w - lr * gradient."""
    for i in range(n):
        new[i] = w[i] - lr * (g[i] * scale + w[i] * decay)


@device
def vec_sgd_momentum(w, g, buffer, new, new_buffer, n, lr, scale, decay, momentum):
    """The buffer is momentum * buffer + gradient, and the step."""
    for i in range(n):
        slope = g[i] * scale + w[i] * decay
        moved = momentum * buffer[i] + slope
        new_buffer[i] = moved
        new[i] = w[i] - lr * moved


@device
def vec_sgd_nesterov(w, g, buffer, new, new_buffer, n, lr, scale, decay, momentum):
    """Nesterov's step: gradient + momentum * new buffer."""
    for i in range(n):
        slope = g[i] * scale + w[i] * decay
        moved = momentum * buffer[i] + slope
        new_buffer[i] = moved
        new[i] = w[i] - lr * (slope + momentum * moved)


@kernel
def f32_sgd(
    w: f32p, g: f32p, buffer: f32p, lr: f32p, scale: f32p, new: f32p, new_buffer: f32p, n: i64, momentum: f32, decay: f32,
    kind: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """kind: 0 plain, 1 momentum, 2 Nesterov's."""
    begin, end = share_of(n, tid, n_threads)
    count = end - begin
    weight, slope, target = offset(w, begin), offset(g, begin), offset(new, begin)
    if kind == 0:
        vec_sgd(weight, slope, target, count, lr[0], scale[0], decay)
    elif kind == 1:
        vec_sgd_momentum(
            weight, slope, offset(buffer, begin), target, offset(new_buffer, begin), count, lr[0], scale[0], decay, momentum
        )  # fmt: skip
    else:
        vec_sgd_nesterov(
            weight, slope, offset(buffer, begin), target, offset(new_buffer, begin), count, lr[0], scale[0], decay, momentum
        )  # fmt: skip


@device
def vec_adam(
    w, g, first, second, new, new_first, new_second, n, scale, decay, shrink, beta_1, rest_1, beta_2, rest_2, epsilon,
    rate, root,
):  # fmt: skip
    """shrink: factor of w (decoupled decay); rate: lr / (1 - beta_1 ** t); root: 1 / sqrt(1 - beta_2 ** t)."""
    for i in range(n):
        slope = g[i] * scale + w[i] * decay
        mean = beta_1 * first[i] + rest_1 * slope
        square = beta_2 * second[i] + rest_2 * (slope * slope)
        new_first[i] = mean
        new_second[i] = square
        new[i] = w[i] * shrink - rate * (mean / (sqrt(square) * root + epsilon))


@kernel
def f32_adam(
    w: f32p, g: f32p, first: f32p, second: f32p, lr: f32p, step: f32p, scale: f32p, new: f32p, new_first: f32p,
    new_second: f32p, n: i64, beta_1: f32, rest_1: f32, log_1: f32, beta_2: f32, rest_2: f32, log_2: f32, epsilon: f32,
    decay: f32, decoupled: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """rest: 1 - beta; log: its logarithm, so that 1 - beta ** step loses nothing where it is small."""
    begin, end = share_of(n, tid, n_threads)
    rate = lr[0] / -expm1(step[0] * log_1)
    root = F(1.0) / sqrt(-expm1(step[0] * log_2))
    shrink = F(1.0) - lr[0] * decay if decoupled != 0 else F(1.0)
    vec_adam(
        offset(w, begin), offset(g, begin), offset(first, begin), offset(second, begin), offset(new, begin),
        offset(new_first, begin), offset(new_second, begin), end - begin, scale[0], F(0.0) if decoupled != 0 else decay,
        shrink, beta_1, rest_1, beta_2, rest_2, epsilon, rate, root,
    )  # fmt: skip


@device
def sign(x):
    """-1, 0 or 1; NaN stays."""
    return x if x != x else (F(1.0) if x > F(0.0) else (F(-1.0) if x < F(0.0) else F(0.0)))


@device
def vec_sign_sgd(w, g, new, n, lr, scale, shrink):
    """w * shrink - lr * sign(gradient)."""
    for i in range(n):
        new[i] = w[i] * shrink - lr * sign(g[i] * scale)


@device
def vec_lion(w, g, mean, new, new_mean, n, lr, scale, shrink, beta_1, rest_1, beta_2, rest_2):
    """The step is the sign of one running mean; another one is kept."""
    for i in range(n):
        slope = g[i] * scale
        toward = beta_1 * mean[i] + rest_1 * slope
        new_mean[i] = beta_2 * mean[i] + rest_2 * slope
        new[i] = w[i] * shrink - lr * sign(toward)


@kernel
def f32_lion(
    w: f32p, g: f32p, mean: f32p, lr: f32p, scale: f32p, new: f32p, new_mean: f32p, n: i64, remembers: i64, beta_1: f32,
    rest_1: f32, beta_2: f32, rest_2: f32, decay: f32, tid: i64, n_threads: i64,
):  # fmt: skip
    """A step of lr against signs, with decoupled weight decay. remembers 0: those of the gradient; there is no mean."""
    begin, end = share_of(n, tid, n_threads)
    weight, slope, target = offset(w, begin), offset(g, begin), offset(new, begin)
    shrink = F(1.0) - lr[0] * decay
    if remembers == 0:
        vec_sign_sgd(weight, slope, target, end - begin, lr[0], scale[0], shrink)
    else:
        vec_lion(
            weight, slope, offset(mean, begin), target, offset(new_mean, begin), end - begin, lr[0], scale[0], shrink,
            beta_1, rest_1, beta_2, rest_2,
        )  # fmt: skip


@device
def vec_average(mean, w, new, n, rate):
    """mean + (w - mean) * rate."""
    for i in range(n):
        new[i] = mean[i] + (w[i] - mean[i]) * rate


@kernel
def f32_average(mean: f32p, w: f32p, rate: f32p, new: f32p, n: i64, tid: i64, n_threads: i64):
    """A running mean."""
    begin, end = share_of(n, tid, n_threads)
    vec_average(offset(mean, begin), offset(w, begin), offset(new, begin), end - begin, rate[0])


@device
def vec_accumulate_scaled(total, g, new, n, keep):
    """total * keep + g; whatever total holds if keep is 0."""
    if keep == F(0.0):
        for i in range(n):
            new[i] = g[i]
    else:
        for i in range(n):
            new[i] = total[i] * keep + g[i]


@kernel
def f32_accumulate(total: f32p, g: f32p, keep: f32p, new: f32p, n: i64, tid: i64, n_threads: i64):
    """A running sum of gradients."""
    begin, end = share_of(n, tid, n_threads)
    vec_accumulate_scaled(offset(total, begin), offset(g, begin), offset(new, begin), end - begin, keep[0])


@device(fastmath=REASSOCIATE)
def vec_squares(x, n):
    """Sum of n squares."""
    total = F(0.0)
    for i in range(n):
        total += x[i] * x[i]
    return total


@kernel
def f32_square_sums(x: f32p, sums: f32p, n: i64, tid: i64, n_threads: i64):
    """Sum of squares of each chunk. sums: (ceil(n / CHUNK),)."""
    chunks = (n + CHUNK - 1) // CHUNK
    for chunk in range(chunks * tid // n_threads, chunks * (tid + 1) // n_threads):
        at = chunk * CHUNK
        sums[chunk] = vec_squares(offset(x, at), min(CHUNK, n - at))


@device(fastmath=REASSOCIATE)
def vec_total(x, n):
    """Sum of n elements."""
    total = F(0.0)
    for i in range(n):
        total += x[i]
    return total


@kernel
def f32_total(x: f32p, y: f32p, n: i64, tid: i64, n_threads: i64):
    """y[0] = the sum of x, by one thread."""
    if tid == 0:
        y[0] = vec_total(x, n)
