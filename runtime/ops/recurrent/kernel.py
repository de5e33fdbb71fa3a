# mypy: ignore-errors
"""LSTM and GRU: all time steps of some sequences in one call.

The gates' share from the input is computed before, for all times at once. A unit of work is one direction and a block of
sequences. Units are independent, so threads never wait for one another. The recurrent product of a block has few rows and
wide panels of weights, (H, RV * W) each: loading weights limits its speed.
"""

from alula.runtime.kernels.fmath import F, sigmoid, tanh
from alula.runtime.kernels.lang import COMPILING, device, f32p, i64, kernel
from alula.runtime.kernels.memory import address_of, i64_at, offset
from alula.runtime.kernels.product import matmul_tile
from alula.runtime.kernels.simd import TILES, dispatch

RV = 4  # vectors of a panel of recurrent weights
TABLE = 32  # elements of scratch for the addresses of a block's rows

if COMPILING:
    W = TILES.width
    RN = RV * W
    RR = TILES.rows * TILES.vectors // RV  # rows of a block that its accumulators have registers for


def row_chooser():
    """A device function that runs the tile of as many rows as asked, 1 to RR."""
    values = "table, weights, 1, length, panels, out, stride, out, F(0.0), F(0.0)"
    tiles = {f"tile{rows}": matmul_tile(rows, (W,) * RV, False) for rows in range(1, RR + 1)}
    branches = {f"rows == {rows}": f"tile{rows}({values})" for rows in range(RR, 0, -1)}
    return dispatch("rows, table, weights, length, panels, out, stride", branches, {"F": F, **tiles}, then="if")


recurrent_tile = row_chooser() if COMPILING else None


@device
def product(table, state, weights, out, stride, rows, h, panels):
    """out = state @ weights for `rows` rows of h elements; out has `stride` elements a row, whole panels."""
    for r in range(rows):
        table[r] = address_of(offset(state, r * h))
    recurrent_tile(rows, table, weights, h, panels, out, stride)


@device
def vec_copy(x, y, n):
    """y = x."""
    for i in range(n):
        y[i] = x[i]


@device
def vec_lstm(xi, xo, xf, xc, ri, ro, rf, rc, pi, po, pf, cell, hidden, n, input_forget):
    """One step of n units: what the gates i o f c get from the input (x.) and the last state (r.), peepholes p."""
    for j in range(n):
        before = cell[j]
        i = sigmoid(xi[j] + ri[j] + pi[j] * before)
        f = sigmoid(xf[j] + rf[j] + pf[j] * before)
        f = F(1.0) - i if input_forget != 0 else f
        c = f * before + i * tanh(xc[j] + rc[j])
        cell[j] = c
        hidden[j] = sigmoid(xo[j] + ro[j] + po[j] * c) * tanh(c)


@kernel
def f32_lstm(
    gates: f32p, weight: f32p, peepholes: f32p, first_h: f32p, first_c: f32p, y: f32p, last_h: f32p, last_c: f32p,
    scratch: f32p, scratch_size: i64, t: i64, n: i64, h: i64, directions: i64, reversed_first: i64, block: i64,
    gates_t: i64, gates_n: i64, y_t: i64, y_n: i64, y_d: i64, state_n: i64, state_d: i64, keep_y: i64, input_forget: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """Gates i o f c. gates: 4 * h a direction, strides gates_t and gates_n; weight: panels of (h, 4 * h) a direction.

    peepholes      : (directions, 3, h), in the order i o f
    reversed_first : whether direction 0 runs from the end; direction 1 always does
    scratch        : for each thread TABLE, then h, c and the product of a block's rows
    """
    mine = offset(scratch, tid * scratch_size)
    table = i64_at(address_of(mine))
    hidden = offset(mine, TABLE)
    cell = offset(hidden, block * h)
    sums = offset(cell, block * h)
    panels = (4 * h + RN - 1) // RN
    stride = panels * RN
    blocks = (n + block - 1) // block
    units = directions * blocks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        d, first = unit // blocks, unit % blocks * block
        rows = min(block, n - first)
        backward = d == 1 or reversed_first != 0
        peep = offset(peepholes, 3 * d * h)
        for r in range(rows):
            at = d * state_d + (first + r) * state_n
            vec_copy(offset(first_h, at), offset(hidden, r * h), h)
            vec_copy(offset(first_c, at), offset(cell, r * h), h)
        for step in range(t):
            time = t - 1 - step if backward else step
            product(table, hidden, offset(weight, d * h * stride), sums, stride, rows, h, panels)
            for r in range(rows):
                x = offset(gates, time * gates_t + (first + r) * gates_n + 4 * d * h)
                s = offset(sums, r * stride)
                vec_lstm(x, offset(x, h), offset(x, 2 * h), offset(x, 3 * h),
                         s, offset(s, h), offset(s, 2 * h), offset(s, 3 * h), peep, offset(peep, h), offset(peep, 2 * h),
                         offset(cell, r * h), offset(hidden, r * h), h, input_forget)  # fmt: skip
                if keep_y != 0:
                    vec_copy(offset(hidden, r * h), offset(y, time * y_t + (first + r) * y_n + d * y_d), h)
        for r in range(rows):
            at = d * state_d + (first + r) * state_n
            vec_copy(offset(hidden, r * h), offset(last_h, at), h)
            vec_copy(offset(cell, r * h), offset(last_c, at), h)


@device
def vec_reset(xr, rr, hidden, out, n):
    """out = r * hidden."""
    for j in range(n):
        out[j] = sigmoid(xr[j] + rr[j]) * hidden[j]


@device
def vec_gru(xz, xh, rz, rh, bias, hidden, n):
    """The reset gate was applied to the state, before the product."""
    for j in range(n):
        z = sigmoid(xz[j] + rz[j])
        hidden[j] = (F(1.0) - z) * tanh(xh[j] + (rh[j] + bias[j])) + z * hidden[j]


@device
def vec_gru_linear(xz, xr, xh, rz, rr, rh, bias, hidden, n):
    """The reset gate is applied to the product."""
    for j in range(n):
        z, r = sigmoid(xz[j] + rz[j]), sigmoid(xr[j] + rr[j])
        hidden[j] = (F(1.0) - z) * tanh(xh[j] + r * (rh[j] + bias[j])) + z * hidden[j]


@kernel
def f32_gru(
    gates: f32p, weight: f32p, bias: f32p, first_h: f32p, y: f32p, last_h: f32p, scratch: f32p, scratch_size: i64,
    t: i64, n: i64, h: i64, directions: i64, reversed_first: i64, block: i64, gates_t: i64, gates_n: i64,
    y_t: i64, y_n: i64, y_d: i64, state_n: i64, state_d: i64, keep_y: i64, linear_before_reset: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """Gates z r h. gates: 3 * h a direction; weight, a direction: panels of (h, 2 * h) for z r, then of (h, h) for h.

    bias    : (directions, h), the hidden gate's of the recurrence
    scratch : for each thread TABLE, then h, r * h, the products of z r and of h of a block's rows
    """
    mine = offset(scratch, tid * scratch_size)
    table = i64_at(address_of(mine))
    panels, panels_h = (2 * h + RN - 1) // RN, (h + RN - 1) // RN
    stride, stride_h = panels * RN, panels_h * RN
    hidden = offset(mine, TABLE)
    reset = offset(hidden, block * h)
    sums = offset(reset, block * h)
    sums_h = offset(sums, block * stride)
    blocks = (n + block - 1) // block
    units = directions * blocks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        d, first = unit // blocks, unit % blocks * block
        rows = min(block, n - first)
        backward = d == 1 or reversed_first != 0
        weight_zr = offset(weight, d * h * (stride + stride_h))
        weight_h, bias_h = offset(weight_zr, h * stride), offset(bias, d * h)
        for r in range(rows):
            vec_copy(offset(first_h, d * state_d + (first + r) * state_n), offset(hidden, r * h), h)
        for step in range(t):
            time = t - 1 - step if backward else step
            product(table, hidden, weight_zr, sums, stride, rows, h, panels)
            if linear_before_reset == 0:
                for r in range(rows):
                    x = offset(gates, time * gates_t + (first + r) * gates_n + 3 * d * h)
                    vec_reset(
                        offset(x, h), offset(sums, r * stride + h), offset(hidden, r * h), offset(reset, r * h), h
                    )
                product(table, reset, weight_h, sums_h, stride_h, rows, h, panels_h)
            else:
                product(table, hidden, weight_h, sums_h, stride_h, rows, h, panels_h)
            for r in range(rows):
                x = offset(gates, time * gates_t + (first + r) * gates_n + 3 * d * h)
                s, sh, now = offset(sums, r * stride), offset(sums_h, r * stride_h), offset(hidden, r * h)
                if linear_before_reset == 0:
                    vec_gru(x, offset(x, 2 * h), s, sh, bias_h, now, h)
                else:
                    vec_gru_linear(x, offset(x, h), offset(x, 2 * h), s, offset(s, h), sh, bias_h, now, h)
                if keep_y != 0:
                    vec_copy(now, offset(y, time * y_t + (first + r) * y_n + d * y_d), h)
        for r in range(rows):
            vec_copy(offset(hidden, r * h), offset(last_h, d * state_d + (first + r) * state_n), h)
