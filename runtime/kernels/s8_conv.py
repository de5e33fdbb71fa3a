"""Convolution of int8 as an indirect matrix product over channels-last data, in the manner of `conv.py`.

A tile is a run of output pixels x a panel of output channels; a table of addresses says where the input of each
(tap, pixel) lies; padding is the address of a row of zero points, which the bias takes back: plan-time arithmetic makes
it bias - zero_point * sum(weight). Runs of inputs whose length the tile cannot walk are gathered first, pixel by pixel,
once for all panels. Weights are packed in panels (ceil(C_OUT / columns), K, columns) in the layout of `s8_tile.py`.
"""

from alula.runtime.kernels.lang import COMPILING, device, f32p, i8p, i32p, i64, kernel
from alula.runtime.kernels.memory import address_of, i8_at, i64_at, offset
from alula.runtime.kernels.s8_tile import copy_of, s8_tile
from alula.runtime.kernels.simd import TILES

if COMPILING:
    MR, NR, BY_LANE = TILES.s8.rows, TILES.s8.columns, TILES.s8.by_lane
    copy_16, copy_8, copy_4 = copy_of(16), copy_of(8), copy_of(4)

WORD = 8


def tile_runner(codes):
    """A device function that runs the tile of as many rows (1 to MR) and columns (a multiple of 4) as asked."""
    values = "table, weights, taps, length, out, out_stride, bias, factor, zero, low, high, flip"
    lines, scope = [f"def run(width, rows, {values}):"], {}
    for width in range(NR, 0, -4):
        lines.append(f"    {'if' if width == NR else 'elif'} width == {width}:")
        for rows in range(MR, 0, -1):
            scope[f"tile{width}_{rows}"] = s8_tile(rows, width, BY_LANE, codes)
            lines.append(f"        {'if' if rows == MR else 'elif'} rows == {rows}:")
            lines.append(f"            tile{width}_{rows}({values})")
    exec("\n".join(lines), scope)  # a chain of comparisons over the tiles of this CPU
    return device(scope["run"])


@device
def copy_run(source, target, count):
    """Copy `count` bytes exactly, the last ones twice where that saves going byte by byte."""
    if count >= 16:
        for at in range(0, count - 15, 16):
            copy_16(offset(source, at), offset(target, at))
        copy_16(offset(source, count - 16), offset(target, count - 16))
    elif count >= 8:
        copy_8(source, target)
        copy_8(offset(source, count - 8), offset(target, count - 8))
    elif count >= 4:
        copy_4(source, target)
        copy_4(offset(source, count - 4), offset(target, count - 4))
    else:
        for at in range(count):
            target[at] = source[at]


@device
def gather(
    patch, pixel_size, x, padding, rows, image, out_y, out_x, h, w, c_in, x_pixel, h_out, w_out,
    k_h, k_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w,
):  # fmt: skip
    """The inputs of each pixel of a tile, K_H * K_W * C_IN bytes in a row; rows `pixel_size` apart."""
    for i in range(rows):
        target = offset(patch, i * pixel_size)
        top, left = out_y * stride_h - pad_top, out_x * stride_w - pad_left
        whole = dilation_w == 1 and x_pixel == c_in and left >= 0 and left + k_w <= w
        for ky in range(k_h):
            in_y = top + ky * dilation_h
            inside = in_y >= 0 and in_y < h
            line = offset(x, x_pixel * ((image * h + in_y) * w + left))
            if whole:
                copy_run(line if inside else padding, target, k_w * c_in)
                target = offset(target, k_w * c_in)
            else:
                for kx in range(k_w):
                    in_x = left + kx * dilation_w
                    there = inside and in_x >= 0 and in_x < w
                    copy_run(offset(line, x_pixel * kx * dilation_w) if there else padding, target, c_in)
                    target = offset(target, c_in)
        out_x += 1
        if out_x == w_out:
            out_x = 0
            out_y += 1
            if out_y == h_out:
                out_y = 0
                image += 1


@device
def columns_inside(rows, out_x, w_out, stride_w, pad_left, k_w, w):
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
    table, x_at, padding_at, rows, image, out_y, out_x, h, w, x_pixel, h_out, w_out, k_h, run,
    stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w,
):  # fmt: skip
    """Addresses of all taps of a tile that meets the border, or goes on in the next row or image."""
    for i in range(rows):
        top, left = out_y * stride_h - pad_top, out_x * stride_w - pad_left
        for ky in range(k_h):
            in_y = top + ky * dilation_h
            for kx in range(run):
                in_x = left + kx * dilation_w
                inside = in_y >= 0 and in_y < h and in_x >= 0 and in_x < w
                address = x_at + x_pixel * ((image * h + in_y) * w + in_x)
                table[(ky * run + kx) * rows + i] = address if inside else padding_at
        out_x += 1
        if out_x == w_out:
            out_x = 0
            out_y += 1
            if out_y == h_out:
                out_y = 0
                image += 1


def convolution(run_tile, size):
    """A device function: the whole convolution by one set of tiles, whose results have `size` bytes."""

    @device
    def convolve(
        x, weight, bias, factor, y, padding, scratch, scratch_size, n, h, w, c_in, x_pixel, h_out, w_out, c_out, y_pixel,
        k_h, k_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, gathered, k_panel,
        zero, low, high, flip, block_panels, split_columns, tid, n_threads,
    ):  # fmt: skip
        mine = offset(scratch, tid * scratch_size)
        table = i64_at(address_of(mine))
        spill = offset(mine, WORD * k_h * k_w * MR)  # (MR, NR): a tile that is wider than what is left of y
        patch = offset(spill, MR * NR * size)
        panels = (c_out + NR - 1) // NR
        first_panel, last_panel = 0, panels
        pixels = n * h_out * w_out
        tiles = (pixels + MR - 1) // MR
        first_tile, last_tile = 0, tiles
        if split_columns != 0:
            first_panel, last_panel = panels * tid // n_threads, panels * (tid + 1) // n_threads
        else:
            first_tile, last_tile = tiles * tid // n_threads, tiles * (tid + 1) // n_threads
        dense = (
            k_h == 1 and k_w == 1 and stride_h == 1 and stride_w == 1 and pad_top == 0 and pad_left == 0
            and h == h_out and w == w_out
        )  # fmt: skip
        mergeable = dilation_w == 1 and x_pixel == c_in and (BY_LANE or c_in % 16 == 0)
        x_at, padding_at = address_of(x), address_of(padding)
        blocks = (last_panel - first_panel + block_panels - 1) // block_panels
        for b in range(blocks):
            block = first_panel + b * block_panels
            block_end = min(block + block_panels, last_panel)
            for tile in range(first_tile, last_tile):
                begin = pixels * tile // tiles
                rows = pixels * (tile + 1) // tiles - begin
                taps, length = 1, c_in
                if dense and gathered == 0:
                    for i in range(rows):
                        table[i] = x_at + x_pixel * (begin + i)
                else:
                    image, rest = begin // (h_out * w_out), begin % (h_out * w_out)
                    out_y, out_x = rest // w_out, rest % w_out
                    top, left = out_y * stride_h - pad_top, out_x * stride_w - pad_left
                    if gathered != 0:
                        gather(patch, gathered, x, padding, rows, image, out_y, out_x, h, w, c_in, x_pixel, h_out, w_out,
                               k_h, k_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w)  # fmt: skip
                        for i in range(rows):
                            table[i] = address_of(patch) + gathered * i
                        length = gathered
                    elif (
                        out_x + rows <= w_out and top >= 0 and top + (k_h - 1) * dilation_h < h
                        and left >= 0 and left + (rows - 1) * stride_w + (k_w - 1) * dilation_w < w
                    ):  # fmt: skip
                        run = 1 if mergeable else k_w  # no pixel of the tile meets the border: addresses in steps
                        step = stride_w * x_pixel
                        for ky in range(k_h):
                            for kx in range(run):
                                base = x_at + x_pixel * (
                                    (image * h + top + ky * dilation_h) * w + left + kx * dilation_w
                                )
                                line = offset(table, (ky * run + kx) * rows)
                                for i in range(rows):
                                    line[i] = base + step * i
                        taps, length = k_h * run, (k_w * c_in if mergeable else c_in)
                    else:
                        merged = mergeable and columns_inside(rows, out_x, w_out, stride_w, pad_left, k_w, w)
                        run = 1 if merged else k_w
                        fill_table(table, x_at, padding_at, rows, image, out_y, out_x, h, w, x_pixel, h_out, w_out,
                                   k_h, run, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w)  # fmt: skip
                        taps, length = k_h * run, (k_w * c_in if merged else c_in)
                out = offset(y, size * begin * y_pixel)
                for panel in range(block, block_end):
                    column = panel * NR
                    left_over = c_out - column
                    width = min(NR, (left_over + 3) // 4 * 4)
                    whole = width <= left_over
                    target, stride = (offset(out, size * column), size * y_pixel) if whole else (spill, size * NR)
                    run_tile(
                        width, rows, table, offset(weight, column * k_panel), taps, length, address_of(target), stride,
                        offset(bias, column), offset(factor, column), zero, low, high, flip,
                    )  # fmt: skip
                    if not whole:
                        for i in range(rows):
                            copy_run(offset(spill, i * size * NR), offset(out, size * (i * y_pixel + column)),
                                     size * left_over)  # fmt: skip

    return convolve


if COMPILING:
    convolve_codes, convolve_sums = convolution(tile_runner(True), 1), convolution(tile_runner(False), 4)


@kernel
def s8_conv(
    x: i8p, weight: i8p, bias: i32p, factor: f32p, y: i8p, padding: i8p, scratch: i8p, scratch_size: i64,
    n: i64, h: i64, w: i64, c_in: i64, x_pixel: i64, h_out: i64, w_out: i64, c_out: i64, y_pixel: i64,
    k_h: i64, k_w: i64, stride_h: i64, stride_w: i64, pad_top: i64, pad_left: i64, dilation_h: i64, dilation_w: i64,
    gathered: i64, k_panel: i64, zero: i64, low: i64, high: i64, flip: i64, block_panels: i64, split_columns: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """Cross-correlate, add bias, multiply by a factor per channel, round half to even, add `zero`, clamp to [low, high].

    x_pixel, y_pixel : elements from a pixel to the next
    gathered         : bytes of a pixel's gathered inputs; 0 to read x itself
    k_panel          : bytes of a channel's weights, fill included
    flip             : 128 where y is uint8 (zero, low and high are less by as much), else 0
    block_panels     : panels of weights that stay in the cache while all pixels pass
    split_columns    : threads share the panels instead of the pixels
    """
    convolve_codes(
        x, weight, bias, factor, y, padding, scratch, scratch_size, n, h, w, c_in, x_pixel, h_out, w_out, c_out, y_pixel,
        k_h, k_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, gathered, k_panel,
        zero, low, high, flip, block_panels, split_columns, tid, n_threads,
    )  # fmt: skip


@kernel
def s8_conv_s32(
    x: i8p, weight: i8p, bias: i32p, factor: f32p, y: i8p, padding: i8p, scratch: i8p, scratch_size: i64,
    n: i64, h: i64, w: i64, c_in: i64, x_pixel: i64, h_out: i64, w_out: i64, c_out: i64, y_pixel: i64,
    k_h: i64, k_w: i64, stride_h: i64, stride_w: i64, pad_top: i64, pad_left: i64, dilation_h: i64, dilation_w: i64,
    gathered: i64, k_panel: i64, zero: i64, low: i64, high: i64, flip: i64, block_panels: i64, split_columns: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """The sums alone, bias added: y is int32; factor, zero, low, high and flip are not looked at."""
    convolve_sums(
        x, weight, bias, factor, y, padding, scratch, scratch_size, n, h, w, c_in, x_pixel, h_out, w_out, c_out, y_pixel,
        k_h, k_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, gathered, k_panel,
        zero, low, high, flip, block_panels, split_columns, tid, n_threads,
    )  # fmt: skip


@kernel
def s8_from_u8(x: i8p, y: i8p, n: i64, tid: i64, n_threads: i64):
    """uint8 as int8, less by 128."""
    for i in range(n * tid // n_threads, n * (tid + 1) // n_threads):
        y[i] = x[i] ^ -128
