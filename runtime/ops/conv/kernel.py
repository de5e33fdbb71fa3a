# mypy: ignore-errors
"""Convolution and matrix product as an indirect matrix product over channels-last data.

A tile is a run of output pixels x a panel of output channels. For each tile a small table of addresses says where
the input of each (tap, pixel) lies; padding is the address of a row of zeros. Where a tile touches no border on the
left or right, the K_W taps of a row are one run of K_W * C_IN inputs. Weights are packed in panels:
(ceil(C_OUT / NR), K_H * K_W * C_IN, NR). The last panel is only as wide as needed, in steps of `Tiles.step`. A matrix
product is a convolution of kernel 1 over M pixels.
"""

from alula.runtime.kernels.lang import COMPILING, device, f32, f32p, i64, i64p, intrinsic, kernel, words
from alula.runtime.kernels.memory import address_of, call_kernel, f32_at, offset
from alula.runtime.kernels.product import matmul_tile
from alula.runtime.kernels.simd import TILES, Emitter, dispatch

EPILOGUE_SIZE = (
    2048  # elements of y, about, that an epilogue takes at once: less costs calls, more the first-level cache
)

if COMPILING:
    from numba.core import types

    MR, NV, W = TILES.rows, TILES.vectors, TILES.width
    NR, STEP = NV * W, TILES.step


def tile_runner(epilogue):
    """A device function that runs the tile of as many rows (1 to MR) and columns (a whole number of steps) as asked."""
    values = "table, weights, taps, length, panels, out, out_stride, bias, low, high"
    branches, tiles = {}, {}
    for width in range(NR, 0, -STEP):
        widths = (W,) * (width // W) + (STEP,) * (width % W // STEP)
        tiles |= {f"tile{width}_{rows}": matmul_tile(rows, widths, epilogue) for rows in range(1, MR + 1)}
        branches[f"width == {width}"] = {
            f"rows == {rows}": f"tile{width}_{rows}({values})" for rows in range(MR, 0, -1)
        }
    return dispatch(f"width, rows, {values}", branches, tiles)


if COMPILING:
    run_tile = tile_runner(True)
    HALF = max(W // 2, 4)

    @intrinsic
    def copy_half(context, x, y):
        """HALF elements."""

        def generate(cx, builder, signature, args):
            emit = Emitter(builder, HALF)
            emit.store(emit.load(args[0]), args[1])
            return cx.get_dummy_value()

        return types.void(x, y), generate


@device
def panel_width(left):
    """`Tiles.panel_width` in the dialect."""
    return min(NR, (left + STEP - 1) // STEP * STEP)


@device
def copy_block(source, source_stride, target, target_stride, rows, columns):
    """Copy rows x columns elements, by half vectors of which the last may overlap the one before it."""
    for r in range(rows):
        line, out = offset(source, r * source_stride), offset(target, r * target_stride)
        if columns >= HALF:
            for c in range(0, columns, HALF):
                at = min(c, columns - HALF)
                copy_half(offset(line, at), offset(out, at))
        else:
            for c in range(columns):
                out[c] = line[c]


@device
def table_columns_inside(rows, out_x, w_out, stride_w, pad_left, k_w, w):
    """Whether no pixel of a tile meets the left or right border."""
    good = True
    for _ in range(rows):
        left = out_x * stride_w - pad_left
        good = good and left >= 0 and left + k_w <= w
        out_x += 1
        if out_x == w_out:
            out_x = 0
    return good


@device
def fill_table(
    table, x_at, zeros_at, rows, image, out_y, out_x, h, w, x_stride, h_out, w_out, k_h, run,
    stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w,
):  # fmt: skip
    """Addresses of all taps of a tile that meets the border or continues in the next row or image."""
    for i in range(rows):
        top, left = out_y * stride_h - pad_top, out_x * stride_w - pad_left
        for ky in range(k_h):
            in_y = top + ky * dilation_h
            for kx in range(run):
                in_x = left + kx * dilation_w
                inside = in_y >= 0 and in_y < h and in_x >= 0 and in_x < w
                address = x_at + 4 * x_stride * ((image * h + in_y) * w + in_x)
                table[(ky * run + kx) * rows + i] = address if inside else zeros_at
        out_x += 1
        if out_x == w_out:
            out_x = 0
            out_y += 1
            if out_y == h_out:
                out_y = 0
                image += 1


@kernel
def f32_conv(
    x: f32p, weight: f32p, bias: f32p, y: f32p, zeros: f32p, scratch: i64p, scratch_words: i64,
    n: i64, h: i64, w: i64, c_in: i64, x_stride: i64, h_out: i64, w_out: i64, c_out: i64,
    y_image: i64, y_row: i64, y_pixel: i64, k_h: i64, k_w: i64, stride_h: i64, stride_w: i64,
    pad_top: i64, pad_left: i64, dilation_h: i64, dilation_w: i64, low: f32, high: f32,
    block_panels: i64, split_columns: i64, epilogue: i64, epilogue_stages: words, tid: i64, n_threads: i64,
):  # fmt: skip
    """Cross-correlate, add bias, clamp, then run the epilogue (its kernel's address, or 0) on each finished block.

    x_stride, y_pixel : elements from a pixel to the next; y_row, y_image: from a row, from an image to the next
    block_panels      : panels of weights that stay in the cache while all pixels pass
    split_columns     : threads share the panels instead of the pixels
    """
    # Scratch of a thread: the table of addresses (K_H * K_W, MR), the epilogue's arguments, the spill
    table = offset(scratch, tid * scratch_words)
    epilogue_words = offset(table, k_h * k_w * MR)
    spill = f32_at(address_of(offset(epilogue_words, 8)))  # (MR, NR): a tile that is wider than what is left of y
    panels = (c_out + NR - 1) // NR
    first_panel, last_panel = 0, panels
    pixels = n * h_out * w_out
    contiguous = y_row == w_out * y_pixel and y_image == h_out * y_row
    row_length = pixels if contiguous else w_out  # tiles do not cross rows that are apart in y
    row_tiles = (row_length + MR - 1) // MR
    n_rows = pixels // row_length if row_length > 0 else 0
    first_tile, last_tile = 0, n_rows * row_tiles
    # Few pixels: threads divide the panels. Else they divide the tiles, and each reads all weights
    if split_columns != 0:
        first_panel, last_panel = panels * tid // n_threads, panels * (tid + 1) // n_threads
    else:
        first_tile, last_tile = last_tile * tid // n_threads, last_tile * (tid + 1) // n_threads
    # A pointwise convolution: the address of a pixel follows from its number, and nothing is padded
    dense = (
        k_h == 1
        and k_w == 1
        and stride_h == 1
        and stride_w == 1
        and pad_top == 0
        and pad_left == 0
        and h == h_out
        and w == w_out
    )
    x_at, zeros_at = address_of(x), address_of(zeros)
    # Panels outside, tiles inside: a block of panels stays in the cache, and x is read again for each block
    blocks = (last_panel - first_panel + block_panels - 1) // block_panels
    for b in range(blocks):
        block = first_panel + b * block_panels
        block_end = min(block + block_panels, last_panel)
        waiting = 0  # rows that the epilogue has not seen
        # A row's pixels are divided evenly, so tiles differ by one pixel at most: `error` says when one has more
        place = first_tile % max(row_tiles, 1)
        begin = first_tile // max(row_tiles, 1) * row_length + row_length * place // max(row_tiles, 1)
        image, rest = begin // (h_out * w_out), begin % (h_out * w_out)
        out_y, out_x = rest // w_out, rest % w_out
        fewest, error = row_length // max(row_tiles, 1), row_length * place % max(row_tiles, 1)
        more = row_length - fewest * row_tiles
        for tile in range(first_tile, last_tile):
            rows, error = fewest, error + more
            if error >= row_tiles:
                rows, error = rows + 1, error - row_tiles
            # The table: for each tap the addresses of `rows` pixels, `length` inputs each. Merged: the K_W taps of a line are one
            taps, length = 1, c_in
            if dense:
                for i in range(MR):  # more than there may be: what is too much is not read
                    table[i] = x_at + 4 * x_stride * (begin + i)
            else:
                merged = dilation_w == 1 and x_stride == c_in
                top, left = out_y * stride_h - pad_top, out_x * stride_w - pad_left
                step = stride_w * x_stride
                inside = (
                    out_x + rows <= w_out and top >= 0 and top + (k_h - 1) * dilation_h < h
                    and left >= 0 and left + (rows - 1) * stride_w + (k_w - 1) * dilation_w < w
                )  # fmt: skip
                if inside:  # no pixel of the tile meets the border: addresses in steps
                    run = 1 if merged else k_w
                    for ky in range(k_h):
                        for kx in range(run):
                            base = x_at + 4 * x_stride * (
                                (image * h + top + ky * dilation_h) * w + left + kx * dilation_w
                            )
                            line = offset(table, (ky * run + kx) * rows)
                            for i in range(MR):  # the next line overwrites what is too much
                                line[i] = base + 4 * step * i
                else:  # a pixel meets the border, or the tile continues in the next row or image
                    merged = merged and table_columns_inside(rows, out_x, w_out, stride_w, pad_left, k_w, w)
                    run = 1 if merged else k_w
                    fill_table(table, x_at, zeros_at, rows, image, out_y, out_x, h, w, x_stride, h_out, w_out, k_h, run,
                               stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w)  # fmt: skip
                taps, length = k_h * run, (k_w * c_in if merged else c_in)
            out = offset(y, image * y_image + out_y * y_row + out_x * y_pixel)
            # Whole panels in one call, the narrower last one in a call of its own
            column = block * NR
            here = offset(weight, column * k_h * k_w * c_in)
            full = min(block_end, c_out // NR) - block
            if full > 0:
                run_tile(NR, rows, table, here, taps, length, full, offset(out, column), y_pixel, offset(bias, column),
                         low, high)  # fmt: skip
                column += full * NR
            if column < min(c_out, block_end * NR):  # the last panel, which is narrower
                here = offset(weight, column * k_h * k_w * c_in)
                left_over = c_out - column
                width = panel_width(left_over)
                whole = width == left_over  # else the tile is wider than y: it goes through the spill
                target, stride = (offset(out, column), y_pixel) if whole else (spill, NR)
                run_tile(width, rows, table, here, taps, length, 1, target, stride, offset(bias, column), low, high)
                if not whole:
                    copy_block(spill, NR, offset(out, column), y_pixel, rows, left_over)
            if epilogue != 0:  # on the rows that the last tiles have written: they are still in the cache
                columns = min(block_end * NR, c_out) - block * NR
                if waiting == 0:
                    epilogue_words[0] = address_of(offset(out, block * NR))
                    epilogue_words[2] = begin
                waiting += rows
                if waiting * columns >= EPILOGUE_SIZE or place + 1 == row_tiles or tile + 1 == last_tile:
                    epilogue_words[1] = y_pixel
                    epilogue_words[3] = waiting
                    epilogue_words[4] = block * NR
                    epilogue_words[5] = columns
                    epilogue_words[6] = address_of(epilogue_stages)
                    call_kernel(epilogue, address_of(epilogue_words), 0, 1)
                    waiting = 0
            place = place + 1 if place + 1 < row_tiles else 0
            begin += rows
            out_x += rows
            while out_x >= w_out:
                out_x -= w_out
                out_y += 1
                if out_y == h_out:
                    out_y = 0
                    image += 1
