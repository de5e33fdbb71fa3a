# mypy: ignore-errors
"""Losses over a batch: softmax with cross-entropy and its gradient; connectionist temporal classification (CTC).

CTC runs forward and backward over an alignment's states in logarithms. Each time step is relative to the largest state,
so float32 keeps its precision over long inputs. Labels out of range are clamped to the nearest class.
"""

from alula.runtime.kernels.fmath import INF, D, F, at_least, exp, log
from alula.runtime.kernels.lang import REASSOCIATE, device, f32, f32p, i64, i64p, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.ops.reduce.kernel import vec_affine, vec_fill, vec_max, vec_sum, vec_sum_exp


@device
def within(label, classes):
    """A label, or the nearest one there is."""
    return min(max(label, 0), classes - 1)


@device(fastmath=REASSOCIATE)
def vec_dot(x, y, n):
    """Sum of n products."""
    total = F(0.0)
    for i in range(n):
        total += x[i] * y[i]
    return total


@kernel(compact=True)
def f32_cross_entropy(
    x: f32p, labels: i64p, weights: f32p, log_prob: f32p, losses: f32p, counts: f32p, rows: i64, n: i64, weighted: i64,
    ignored: i64, smoothing: f32, tid: i64, n_threads: i64,
):  # fmt: skip
    """Logarithms of softmax over rows of n, the loss of each row, and by how much the row counts.

    weights : of each class, if weighted
    """
    for row in range(rows * tid // n_threads, rows * (tid + 1) // n_threads):
        source, target = offset(x, row * n), offset(log_prob, row * n)
        high = vec_max(source, n)
        vec_affine(source, target, F(1.0), -(high + log(vec_sum_exp(source, high, n))), n)
        if labels[row] == ignored:
            losses[row] = F(0.0)
            counts[row] = F(0.0)
        else:
            label = within(labels[row], n)
            weight = weights[label] if weighted != 0 else F(1.0)
            loss = -weight * (F(1.0) - smoothing) * target[label]
            if smoothing != F(0.0):
                every = vec_dot(target, weights, n) if weighted != 0 else vec_sum(target, n)
                loss -= smoothing / F(n) * every
            losses[row] = loss
            counts[row] = weight


@kernel(compact=True)
def f32_cross_entropy_total(
    losses: f32p, counts: f32p, loss: f32p, rows: i64, mean: i64, tid: i64, n_threads: i64
):  # fmt: skip
    """Sum of the rows' losses, over the sum of their counts if `mean`; by one thread."""
    if tid == 0:
        total = vec_sum(counts, rows)
        loss[0] = vec_sum(losses, rows) / (total if mean != 0 and total > F(0.0) else F(1.0))


@device
def vec_exp_scaled(x, y, factor, shift, n):
    """y = exp(x) * factor - shift."""
    for i in range(n):
        y[i] = exp(x[i]) * factor - shift


@device
def vec_exp_scaled_weighted(x, weights, y, factor, shift, n):
    """y = exp(x) * factor - shift * weights."""
    for i in range(n):
        y[i] = exp(x[i]) * factor - shift * weights[i]


@kernel(compact=True)
def f32_cross_entropy_grad(
    dloss: f32p, log_prob: f32p, labels: i64p, weights: f32p, grad_x: f32p, rows: i64, n: i64, weighted: i64, ignored: i64,
    smoothing: f32, mean: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """Probabilities less targets, times dloss and what a row counts; grad_x may be log_prob."""
    scale = dloss[0]
    if mean != 0:
        total = F(0.0)
        for row in range(rows):
            if labels[row] != ignored:
                total += weights[within(labels[row], n)] if weighted != 0 else F(1.0)
        scale = scale / (total if total > F(0.0) else F(1.0))
    rest = smoothing / F(n)
    every = vec_sum(weights, n) if weighted != 0 and smoothing != F(0.0) else F(n)
    for row in range(rows * tid // n_threads, rows * (tid + 1) // n_threads):
        source, target = offset(log_prob, row * n), offset(grad_x, row * n)
        if labels[row] == ignored:
            vec_fill(target, n, F(0.0))
        else:
            label = within(labels[row], n)
            own = (F(1.0) - smoothing) * (weights[label] if weighted != 0 else F(1.0))
            if weighted != 0:
                vec_exp_scaled_weighted(source, weights, target, scale * (own + rest * every), scale * rest, n)
            else:
                vec_exp_scaled(source, target, scale * (own + smoothing), scale * rest, n)
            target[label] -= scale * own


@device
def log_sum_exp(a, b, c):
    """log(e ** a + e ** b + e ** c); minus infinity of three of them."""
    high = at_least(at_least(a, b), c)
    start = high if high > -INF else F(0.0)
    return start + log(exp(a - start) + exp(b - start) + exp(c - start))


@device
def vec_ctc_step(near, middle, far, skip, emitted, y, n):
    """States of the next step: from the state itself, the one beside it, and past a blank where `skip` is 0."""
    for i in range(n):
        y[i] = log_sum_exp(near[i], middle[i], far[i] + skip[i]) + emitted[i]


@device
def vec_add_to(x, y, z, n):
    """z = x + y."""
    for i in range(n):
        z[i] = x[i] + y[i]


@device
def vec_exp_shifted(x, y, shift, factor, n):
    """y = exp(x - shift) * factor."""
    for i in range(n):
        y[i] = exp(x[i] - shift) * factor


@device
def ctc_state(labels, state, blank, classes):
    """The class of a state: blanks at even places, labels between."""
    return within(labels[state // 2], classes) if state % 2 == 1 else blank


@device
def ctc_emitted(log_probs, labels, states, blank, classes, y):
    """Log-probability of each state's class at one time."""
    for s in range(states):
        y[s] = log_probs[ctc_state(labels, s, blank, classes)]


@device
def ctc_sample(
    log_probs, labels, times, states, blank, classes, gradient, factor, no_infinity, alpha, emitted, skip, beta, work
):  # fmt: skip
    """Loss of one sample; its gradient is added to `gradient` (times, classes), times -factor.

    alpha : (times, states + 2), the first two of a row minus infinity; the others states + 2 elements each
    """
    stride = states + 2
    for s in range(stride):  # whether a state may follow the one two before it
        passes = s >= 3 and s < states and s % 2 == 1 and labels[s // 2] != labels[s // 2 - 1]
        skip[s] = F(0.0) if passes else -INF
    log_likelihood = D(0.0)
    for t in range(times):
        row = offset(alpha, t * stride)
        row[0] = -INF
        row[1] = -INF
        here = offset(row, 2)
        ctc_emitted(offset(log_probs, t * classes), labels, states, blank, classes, emitted)
        if t == 0:
            vec_fill(here, states, -INF)
            here[0] = emitted[0]
            if states > 1:
                here[1] = emitted[1]
        else:
            before = offset(row, 2 - stride)
            vec_ctc_step(before, offset(before, -1), offset(before, -2), skip, emitted, here, states)
        high = vec_max(here, states)
        if high > -INF:
            vec_affine(here, here, F(1.0), -high, states)
            log_likelihood += D(high)
    last = offset(alpha, (times - 1) * stride + 2)
    ends = log_sum_exp(last[states - 1], last[states - 2] if states > 1 else -INF, -INF)
    loss = -F(log_likelihood + D(ends))
    if ends == -INF:  # the labels do not fit
        return F(0.0) if no_infinity != 0 else INF
    vec_fill(beta, stride, -INF)
    beta[states - 1] = F(0.0)
    if states > 1:
        beta[states - 2] = F(0.0)
    for back in range(times):
        t = times - 1 - back
        here, slope = offset(alpha, t * stride + 2), offset(gradient, t * classes)
        vec_add_to(here, beta, work, states)
        high = vec_max(work, states)
        share = vec_sum_exp(work, high, states)
        vec_exp_shifted(work, work, high, factor / share, states)
        ctc_emitted(offset(log_probs, t * classes), labels, states, blank, classes, emitted)
        for s in range(states):
            slope[ctc_state(labels, s, blank, classes)] -= work[s]
        vec_add_to(beta, emitted, work, states)
        high = vec_max(work, states)
        if high > -INF:
            vec_affine(work, work, F(1.0), -high, states)
        work[states] = -INF
        work[states + 1] = -INF
        vec_fill(emitted, states, F(0.0))
        vec_ctc_step(work, offset(work, 1), offset(work, 2), offset(skip, 2), emitted, beta, states)
    return loss


@kernel(compact=True)
def f32_ctc(
    log_probs: f32p, labels: i64p, times_of: i64p, lengths: i64p, losses: f32p, gradient: f32p, scratch: f32p,
    scratch_size: i64, n: i64, times: i64, classes: i64, length: i64, blank: i64, no_infinity: i64, mean: i64, tid: i64,
    n_threads: i64,
):  # fmt: skip
    """Loss of each sample and the gradient of the log-probabilities. log_probs, gradient: (n, times, classes).

    labels   : (n, length), of which lengths[i] count; times_of[i] of the times count
    scratch  : scratch_size elements a thread, (times + 4) * (2 * length + 5)
    mean     : the gradient is that of the mean over samples of loss / length, else of the sum
    """
    own = offset(scratch, tid * scratch_size)
    width = 2 * length + 5
    for i in range(n * tid // n_threads, n * (tid + 1) // n_threads):
        slope = offset(gradient, i * times * classes)
        vec_fill(slope, times * classes, F(0.0))
        count, size = min(max(times_of[i], 0), times), min(max(lengths[i], 0), length)
        if count == 0:
            losses[i] = F(0.0) if size == 0 or no_infinity != 0 else INF
        else:
            losses[i] = ctc_sample(
                offset(log_probs, i * times * classes), offset(labels, i * length), count, 2 * size + 1, blank, classes,
                slope, F(1.0) / F(n * max(size, 1)) if mean != 0 else F(1.0), no_infinity, offset(own, 4 * width), own,
                offset(own, width), offset(own, 2 * width), offset(own, 3 * width),
            )  # fmt: skip


@kernel(compact=True)
def f32_ctc_total(losses: f32p, lengths: i64p, loss: f32p, n: i64, length: i64, mean: i64, tid: i64, n_threads: i64):
    """The sum of all losses, or the mean of each over its length; by one thread."""
    if tid == 0:
        total = F(0.0)
        for i in range(n):
            size = min(max(lengths[i], 0), length)
            total += losses[i] / F(n * max(size, 1)) if mean != 0 else losses[i]
        loss[0] = total
