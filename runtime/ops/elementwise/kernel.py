# mypy: ignore-errors
"""Epilogues: element-wise stages over a block of a (rows, channels) matrix: activations, arithmetic, residual sums.

One kernel serves element-wise nodes and the epilogue of a convolution or matrix product, which calls it on each
block of the result while the block is in the cache. A stage is 5 words:

    code, mode, operand, p0, p1      operand: an address or the bits of a float32; p0, p1: bits of float32

`mode` says how the operand of a two-input stage is broadcast over the matrix.
"""

from alula.runtime.kernels.fmath import (
    F,
    absolute,
    at_least,
    at_most,
    ceil,
    erf,
    exp,
    expm1,
    floor,
    log,
    pow,
    rint,
    sigmoid,
    softplus,
    sqrt,
    tanh,
)
from alula.runtime.kernels.lang import COMPILING, device, f32p, i64, i64p, kernel, words
from alula.runtime.kernels.memory import f32_at, f32_from_bits, hidden, offset

if COMPILING:
    from alula.runtime.kernels.memory import IS_X86

STAGE_WORDS = 5
CHUNK = 4096  # elements of a block that stays in the first-level cache over all stages

# Modes: operand[r * C + c], a constant, *operand, operand[c], operand[r], operand[image(r) * C + c]
FULL, CONSTANT, SCALAR, CHANNEL, ROW, IMAGE = range(6)


@device
def swish_slope(x, y, p):
    """x times the slope of y * sigmoid(p * y)."""
    s = sigmoid(p * y)
    return x * (s * (F(1.0) + p * y * (F(1.0) - s)))


@device
def gelu_slope(x, y):
    """x times the slope of y * Phi(y)."""
    normal = F(0.3989422804014327) * exp(F(-0.5) * y * y)
    return x * (F(0.5) * (F(1.0) + erf(y * F(0.7071067811865476))) + y * normal)


@device
def gelu_tanh_slope(x, y):
    """x times the slope of gelu_tanh."""
    square = y * y
    u = F(2 * 0.7978845608028654) * (y + F(0.044715) * square * y)
    s = sigmoid(u)  # (1 + tanh(u / 2)) / 2
    return x * (s + s * sigmoid(-u) * y * F(2 * 0.7978845608028654) * (F(1.0) + F(3 * 0.044715) * square))


@device
def mish_slope(x, y):
    """x times the slope of y * tanh(softplus(y))."""
    w = exp(at_most(y, F(20.0)))  # tanh(softplus(y)) = n / (n + 2); beyond, its slope is 1
    n = w * (w + F(2.0))
    share = F(1.0) / (n + F(2.0))
    t = n * share
    return x * (t + y * (w / (F(1.0) + w)) * (F(2.0) * share) * (F(1.0) + t))


UNARY = {
    "copy": lambda x, p, q: x,
    "clip": lambda x, p, q: at_most(at_least(x, p), q),
    "leaky_relu": lambda x, p, q: x if x >= F(0.0) else p * x,
    "leaky_relu_max": lambda x, p, q: at_least(x, p * x),  # the same for a slope from 0 to 1
    "thresholded_relu": lambda x, p, q: F(0.0) if x <= p else x,
    "hard_sigmoid": lambda x, p, q: at_most(at_least(p * x + q, F(0.0)), F(1.0)),
    "hard_swish": lambda x, p, q: x * at_most(at_least(x * F(1 / 6) + F(0.5), F(0.0)), F(1.0)),
    "hard_swish_affine": lambda x, p, q: (
        x * at_most(at_least(x * (p / F(6.0)) + p * F(0.5), min(p, F(0.0))), max(p, F(0.0))) + q
    ),
    "sigmoid": lambda x, p, q: sigmoid(x),
    "swish": lambda x, p, q: x * sigmoid(p * x),
    "tanh": lambda x, p, q: tanh(x),
    "elu": lambda x, p, q: x if x >= F(0.0) else p * expm1(x),
    "gelu": lambda x, p, q: F(0.5) * x * (F(1.0) + erf(x * F(0.7071067811865476))),
    "gelu_tanh": lambda x, p, q: F(0.5) * x * (F(1.0) + tanh(F(0.7978845608028654) * (x + F(0.044715) * x * x * x))),
    "softplus": lambda x, p, q: softplus(x),
    "mish": lambda x, p, q: x * tanh(softplus(x)),
    "erf": lambda x, p, q: erf(x),
    "exp": lambda x, p, q: exp(x),
    "log": lambda x, p, q: log(x),
    "sqrt": lambda x, p, q: sqrt(x),
    "abs": lambda x, p, q: absolute(x),
    "neg": lambda x, p, q: -x,
    "reciprocal": lambda x, p, q: F(1.0) / x,
    "floor": lambda x, p, q: floor(x),
    "ceil": lambda x, p, q: ceil(x),
    "round": lambda x, p, q: rint(x),
    "affine": lambda x, p, q: x * p + q,
    "square": lambda x, p, q: x * x,
    "cube": lambda x, p, q: x * x * x,
    "sign": lambda x, p, q: x if x != x else (F(1.0) if x > F(0.0) else (F(-1.0) if x < F(0.0) else F(0.0))),
}

BINARY = {
    "add": lambda x, y, p, q: x + y,
    "add_clip": lambda x, y, p, q: at_most(at_least(x + y, p), q),
    "sub": lambda x, y, p, q: x - y,
    "rsub": lambda x, y, p, q: y - x,
    "mul": lambda x, y, p, q: x * y,
    "div": lambda x, y, p, q: x / y,
    "rdiv": lambda x, y, p, q: y / x,
    "min": lambda x, y, p, q: x if (x != x) or (x < y) else y,
    "max": lambda x, y, p, q: x if (x != x) or (x > y) else y,
    "prelu": lambda x, y, p, q: x if x >= F(0.0) else x * y,
    "pow": lambda x, y, p, q: pow(x, y),
    "rpow": lambda x, y, p, q: pow(y, x),
    "relu_grad": lambda x, y, p, q: x if y > F(0.0) else F(0.0),
    "sigmoid_grad": lambda x, y, p, q: x * (y * (F(1.0) - y)),
    "tanh_grad": lambda x, y, p, q: x * (F(1.0) - y * y),
    "clip_grad": lambda x, y, p, q: x if (y >= p) and (y <= q) else F(0.0),
    "leaky_relu_grad": lambda x, y, p, q: x if y > F(0.0) else p * x,
    "thresholded_relu_grad": lambda x, y, p, q: x if y > p else F(0.0),
    "hard_sigmoid_grad": lambda x, y, p, q: p * x if (p * y + q > F(0.0)) and (p * y + q < F(1.0)) else F(0.0),
    "hard_swish_grad": lambda x, y, p, q: (
        x if y >= F(3.0) else (F(0.0) if y <= F(-3.0) else x * (y * F(1 / 3) + F(0.5)))
    ),
    "swish_grad": lambda x, y, p, q: swish_slope(x, y, p),
    "gelu_grad": lambda x, y, p, q: gelu_slope(x, y),
    "gelu_tanh_grad": lambda x, y, p, q: gelu_tanh_slope(x, y),
    "elu_grad": lambda x, y, p, q: x if y > F(0.0) else x * p * exp(y),
    "softplus_grad": lambda x, y, p, q: x * sigmoid(y),
    "mish_grad": lambda x, y, p, q: mish_slope(x, y),
}

CODES = {name: code for code, name in enumerate((*UNARY, *BINARY))}
FIRST_BINARY = len(UNARY)


def _unary_loop(name, function):
    """A loop over a stage; where registers are few and the chain is long, two elements at a time: they wait for each other less."""
    stage = device(function)

    def vec_two_chains(source, target, n, p, q):
        half = n // 2
        for i in range(half):
            target[i], target[half + i] = stage(source[i], p, q), stage(source[half + i], p, q)
        if half + half < n:
            target[n - 1] = stage(source[n - 1], p, q)

    def vec_unary(source, target, n, p, q):
        for i in range(n):
            target[i] = stage(source[i], p, q)

    return device(vec_two_chains if COMPILING and IS_X86 and name in ("sigmoid", "swish") else vec_unary)


def _binary_loops(function):
    stage = device(function)

    def vec_binary(source, operand, target, n, p, q):
        for i in range(n):
            target[i] = stage(source[i], operand[i], p, q)

    def vec_constant(source, value, target, n, p, q):
        for i in range(n):
            target[i] = stage(source[i], value, p, q)

    return device(vec_binary), device(vec_constant)


def _chooser():
    """A device function that runs stage `code` on `n` elements: one comparison per known stage."""
    scope = {"FIRST_BINARY": FIRST_BINARY}
    lines = ["def choose(code, by_value, source, operand, value, target, n, p, q):"]
    for name, function in UNARY.items():
        scope[name] = _unary_loop(name, function)
        lines.append(f"    if code == {CODES[name]}:\n        {name}(source, target, n, p, q)")
    for name, function in BINARY.items():
        scope[name], scope[f"{name}_value"] = _binary_loops(function)
        lines.append(
            f"    if code == {CODES[name]}:\n        if by_value:\n            {name}_value(source, value, target, n, p, q)\n"
            f"        else:\n            {name}(source, operand, target, n, p, q)"
        )
    exec("\n".join(lines), scope)
    return device(scope["choose"])


if COMPILING:
    run_stage = _chooser()


@device
def run_stages(
    source, source_stride, target, target_stride, row, rows, column, columns, channels, image_rows, n_stages, stages
):
    """Run the stages over rows [row, row + rows) x channels [column, column + columns) of a matrix of `channels` columns.

    source, target : the block's first element; strides in elements. They may be the same block
    """
    for s in range(n_stages):
        code, mode = stages[STAGE_WORDS * s], stages[STAGE_WORDS * s + 1]
        word = stages[STAGE_WORDS * s + 2]
        p, q = f32_from_bits(stages[STAGE_WORDS * s + 3]), f32_from_bits(stages[STAGE_WORDS * s + 4])
        here, here_stride = (source, source_stride) if s == 0 else (target, target_stride)
        same_everywhere = code < FIRST_BINARY or mode == CONSTANT or mode == SCALAR
        passes, length = rows, columns
        if (
            here_stride == columns
            and target_stride == columns
            and (same_everywhere or (mode == FULL and columns == channels))
        ):
            passes, length = 1, rows * columns  # rows without gaps are one long one
        value = f32_from_bits(word) if mode == CONSTANT else F(0.0)
        operand = f32_at(word)
        if code >= FIRST_BINARY and mode == SCALAR:
            value = operand[0]
        for r in range(passes):
            by_value = same_everywhere
            part = operand
            if not same_everywhere:
                if mode == ROW:
                    value = operand[row + r]
                    by_value = True
                elif mode == FULL:
                    part = offset(operand, (row + r) * channels + column)
                elif mode == CHANNEL:
                    part = offset(operand, column)
                else:
                    part = offset(operand, (row + r) // image_rows * channels + column)
            run_stage(
                code,
                by_value,
                offset(here, r * here_stride),
                part,
                value,
                offset(target, r * target_stride),
                length,
                p,
                q,
            )


@kernel
def f32_elementwise(
    x: f32p, y: f32p, rows: i64, channels: i64, image_rows: i64, n_stages: i64, stages: words, tid: i64, n_threads: i64
):
    """y = stages(x) over a (rows, channels) matrix."""
    block = max(
        CHUNK // max(channels, 1), 1
    )  # rows of a unit; where a row is longer than a chunk, a unit is a part of it
    blocks = (rows + block - 1) // block
    chunks = (channels + CHUNK - 1) // CHUNK if block == 1 else 1
    units = blocks * chunks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        row = unit // chunks * block
        column = unit % chunks * CHUNK
        count = min(block, rows - row)
        columns = min(CHUNK, channels - column)
        stride = channels if count > 1 else columns  # of a single row, the stride means nothing: it has no gaps
        at, to = offset(x, row * channels + column), offset(y, row * channels + column)
        run_stages(at, stride, to, stride, row, count, column, columns, channels, image_rows, n_stages, stages)


@kernel
def f32_epilogue(
    block: f32p,
    stride: i64,
    row: i64,
    rows: i64,
    column: i64,
    columns: i64,
    epilogue_stages: i64p,
    tid: i64,
    n_threads: i64,
):
    """Run an epilogue in place on a block that another kernel has just computed.

    epilogue_stages : channels, image_rows, n_stages, then the stages
    """
    run_stages(
        block,
        stride,
        hidden(block),
        stride,
        row,
        rows,
        column,
        columns,
        epilogue_stages[0],
        epilogue_stages[1],
        epilogue_stages[2],
        offset(epilogue_stages, 3),
    )
