# mypy: ignore-errors
"""Comparisons, logic and Where: operands of any broadcast shape, one dense result.

`view` describes the index space: `rank` sizes, then `rank` strides (in elements) of each operand. Inner strides are 1,
or 0 for a value that is the same along the whole last axis; the last axis is cut into chunks that threads share.
"""

from alula.runtime.kernels.lang import COMPILING, device, f32p, i32p, i64, i64p, kernel, u8p, u16p, words
from alula.runtime.kernels.memory import offset

CHUNK = 4096

COMPARE = {
    "less": lambda x, y: x < y,
    "less_or_equal": lambda x, y: x <= y,
    "greater": lambda x, y: x > y,
    "greater_or_equal": lambda x, y: x >= y,
    "equal": lambda x, y: x == y,
}
LOGIC = {"and": lambda x, y: x & y, "or": lambda x, y: x | y, "xor": lambda x, y: x ^ y, "equal": lambda x, y: x == y}
COMPARE_CODES = {name: code for code, name in enumerate(COMPARE)}
LOGIC_CODES = {name: code for code, name in enumerate(LOGIC)}


@device
def place_of(row, rank, shape, strides):
    """Offset, in elements, of row `row` of all but the last axis."""
    at = 0
    for k in range(rank - 1):
        d = rank - 2 - k
        at += row % shape[d] * strides[d]
        row = row // shape[d]
    return at


@device
def rows_of(rank, shape):
    """Number of rows of all but the last axis."""
    rows = 1
    for d in range(rank - 1):
        rows *= shape[d]
    return rows


def _loops(function):
    test = device(function)

    def vec_pairs(x, y, out, n):
        for i in range(n):
            out[i] = 1 if test(x[i], y[i]) else 0

    def vec_value(x, value, out, n):
        for i in range(n):
            out[i] = 1 if test(x[i], value) else 0

    return device(vec_pairs), device(vec_value)


def _walker(table):
    """A device function that runs test `code` of a table over a whole index space; x has inner stride 1."""
    scope = {"place_of": place_of, "rows_of": rows_of, "offset": offset, "CHUNK": CHUNK}
    choices = []
    for code, (name, function) in enumerate(table.items()):
        scope[f"{name}_pairs"], scope[f"{name}_value"] = _loops(function)
        choices.append(
            f"        if code == {code}:\n            if y_strides[rank - 1] == 1:\n"
            f"                {name}_pairs(left, right, target, n)\n"
            f"            else:\n                {name}_value(left, right[0], target, n)\n"
        )
    source = (
        "def walk(code, x, y, out, rank, view, tid, n_threads):\n"
        "    x_strides, y_strides = offset(view, rank), offset(view, 2 * rank)\n"
        "    inner = view[rank - 1]\n"
        "    chunks = (inner + CHUNK - 1) // CHUNK\n"
        "    units = rows_of(rank, view) * chunks\n"
        "    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):\n"
        "        row, column = unit // chunks, unit % chunks * CHUNK\n"
        "        n = min(CHUNK, inner - column)\n"
        "        left = offset(x, place_of(row, rank, view, x_strides) + column)\n"
        "        right = offset(y, place_of(row, rank, view, y_strides) + column * y_strides[rank - 1])\n"
        "        target = offset(out, row * inner + column)\n" + "".join(choices)
    )
    exec(source, scope)
    return device(scope["walk"])


if COMPILING:
    compare, combine = _walker(COMPARE), _walker(LOGIC)


@kernel(compact=True)
def f32_compare(code: i64, x: f32p, y: f32p, out: u8p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Comparison of float32; with NaN only "not equal" holds."""
    compare(code, x, y, out, rank, view, tid, n_threads)


@kernel(compact=True)
def s32_compare(code: i64, x: i32p, y: i32p, out: u8p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Comparison of int32."""
    compare(code, x, y, out, rank, view, tid, n_threads)


@kernel(compact=True)
def s64_compare(code: i64, x: i64p, y: i64p, out: u8p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Comparison of int64."""
    compare(code, x, y, out, rank, view, tid, n_threads)


@kernel(compact=True)
def bool_logic(code: i64, x: u8p, y: u8p, out: u8p, rank: i64, view: words, tid: i64, n_threads: i64):
    """And, Or, Xor and Equal of bytes that are 0 or 1."""
    combine(code, x, y, out, rank, view, tid, n_threads)


@device
def vec_choose(condition, x, y, out, n):
    """Both from rows."""
    for i in range(n):
        a, b = x[i], y[i]
        out[i] = a if condition[i] != 0 else b


@device
def vec_choose_left(condition, a, y, out, n):
    """One value where the condition holds."""
    for i in range(n):
        b = y[i]
        out[i] = a if condition[i] != 0 else b


@device
def vec_choose_right(condition, x, b, out, n):
    """One value where the condition does not hold."""
    for i in range(n):
        a = x[i]
        out[i] = a if condition[i] != 0 else b


@device
def vec_choose_values(condition, a, b, out, n):
    """One of two values."""
    for i in range(n):
        out[i] = a if condition[i] != 0 else b


@device
def vec_take(x, step, out, n):
    """A row, or one value all along it."""
    if step == 1:
        for i in range(n):
            out[i] = x[i]
    else:
        value = x[0]
        for i in range(n):
            out[i] = value


@device
def choose(condition, x, y, out, rank, view, tid, n_threads):
    """out = x where the condition holds, else y. view: shape, strides of condition, x and y."""
    c_strides, x_strides, y_strides = offset(view, rank), offset(view, 2 * rank), offset(view, 3 * rank)
    inner, c_step, x_step, y_step = view[rank - 1], c_strides[rank - 1], x_strides[rank - 1], y_strides[rank - 1]
    chunks = (inner + CHUNK - 1) // CHUNK
    units = rows_of(rank, view) * chunks
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        row, column = unit // chunks, unit % chunks * CHUNK
        n = min(CHUNK, inner - column)
        test = offset(condition, place_of(row, rank, view, c_strides) + column * c_step)
        left = offset(x, place_of(row, rank, view, x_strides) + column * x_step)
        right = offset(y, place_of(row, rank, view, y_strides) + column * y_step)
        target = offset(out, row * inner + column)
        if c_step == 0:
            if test[0] != 0:
                vec_take(left, x_step, target, n)
            else:
                vec_take(right, y_step, target, n)
        elif x_step == 1:
            if y_step == 1:
                vec_choose(test, left, right, target, n)
            else:
                vec_choose_right(test, left, right[0], target, n)
        elif y_step == 1:
            vec_choose_left(test, left[0], right, target, n)
        else:
            vec_choose_values(test, left[0], right[0], target, n)


@kernel(compact=True)
def where_1(condition: u8p, x: u8p, y: u8p, out: u8p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 1 byte."""
    choose(condition, x, y, out, rank, view, tid, n_threads)


@kernel(compact=True)
def where_2(condition: u8p, x: u16p, y: u16p, out: u16p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 2 bytes."""
    choose(condition, x, y, out, rank, view, tid, n_threads)


@kernel(compact=True)
def where_4(condition: u8p, x: i32p, y: i32p, out: i32p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 4 bytes."""
    choose(condition, x, y, out, rank, view, tid, n_threads)


@kernel(compact=True)
def where_8(condition: u8p, x: i64p, y: i64p, out: i64p, rank: i64, view: words, tid: i64, n_threads: i64):
    """Elements of 8 bytes."""
    choose(condition, x, y, out, rank, view, tid, n_threads)
