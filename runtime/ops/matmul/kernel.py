# mypy: ignore-errors
"""Products of two computed matrices, over a batch: panels of B are packed when needed."""

from alula.runtime.kernels.lang import COMPILING, f32, f32p, i64, i64p, kernel
from alula.runtime.kernels.memory import address_of, i64_at, offset
from alula.runtime.ops.conv.kernel import copy_block, panel_width, tile_runner

if COMPILING:
    from alula.runtime.ops.conv.kernel import MR, NR

    run_tile = tile_runner(True)


@kernel
def f32_matmul(
    a: f32p, b: f32p, y: f32p, batches: i64p, n_batches: i64, m: i64, k: i64, n: i64, a_row: i64, b_row: i64, b_column: i64,
    zeros: f32p, low: f32, high: f32, scratch: f32p, scratch_size: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """y[i] = a[i] @ b[i], clamped; batches: (n_batches, 3) element offsets into a, b and y. Strides in elements.

    scratch, for each thread: addresses of MR rows, a panel (k, NR), a tile (MR, NR)
    """
    mine = offset(scratch, tid * scratch_size)
    table_at = address_of(mine)
    panel = offset(mine, 2 * MR + 8)
    spill = offset(panel, k * NR)
    table = i64_at(table_at)
    panels = (n + NR - 1) // NR
    strips = (m + MR - 1) // MR
    units = n_batches * panels
    for unit in range(units * tid // n_threads, units * (tid + 1) // n_threads):
        batch, column = unit // panels, unit % panels * NR
        left, right, out = (
            offset(a, batches[3 * batch]),
            offset(b, batches[3 * batch + 1]),
            offset(y, batches[3 * batch + 2]),
        )
        columns = min(NR, n - column)
        width = panel_width(columns)
        for row in range(k):
            source, target = offset(right, row * b_row + column * b_column), offset(panel, row * width)
            if b_column == 1:
                for c in range(columns):
                    target[c] = source[c]
            else:
                for c in range(columns):
                    target[c] = source[c * b_column]
            for c in range(columns, width):
                target[c] = 0.0
        for strip in range(strips):
            first = m * strip // strips
            rows = m * (strip + 1) // strips - first
            for i in range(rows):
                table[i] = address_of(offset(left, (first + i) * a_row))
            target = offset(out, first * n + column)
            whole = columns == width
            run_tile(
                width, rows, table, panel, 1, k, 1, target if whole else spill, n if whole else NR, zeros, low, high
            )
            if not whole:
                copy_block(spill, NR, target, n, rows, columns)
