# mypy: ignore-errors
"""Convolution of int8 as an indirect matrix product over channels-last data, as in `ops/conv/kernel.py`.

A tile is a run of output pixels of one row x the panels of output channels. Tiles see no border: a padded
image is first copied into one with a border of zero points (`s8_border`), which is cheaper than a case per tile. So a tap
is one offset for all pixels, and zero points only change the bias: bias - zero_point * sum(weight). Inputs in runs that a
tile cannot read in place are gathered pixel by pixel, once for all panels. Weights are packed in panels
(ceil(C_OUT / columns), K, columns) as `kernel_tile.py` reads them.
"""

import numpy as np

from alula.runtime.kernels.lang import COMPILING, device, f32p, i8p, i32p, i64, i64p, kernel
from alula.runtime.kernels.memory import address_of, i64_at, offset
from alula.runtime.kernels.simd import TILES, dispatch
from alula.runtime.ops.integer.kernel_tile import copy_of, s8_tile

if COMPILING:
    MR, NR, BY_LANE = TILES.s8.rows, TILES.s8.columns, TILES.s8.by_lane
    copy_16, copy_8, copy_4 = copy_of(16), copy_of(8), copy_of(4)


def tile_runner(codes):
    """A device function that runs the tile of as many rows (1 to MR) and columns (a multiple of 4) as asked."""
    values = "tiles, x, step, taps, offsets, length, weights, panels, out, out_stride, bias, factor, zero, flip"
    branches, tiles = {}, {}
    for width in range(NR, 0, -4):
        tiles |= {f"tile{width}_{rows}": s8_tile(rows, width, BY_LANE, codes) for rows in range(1, MR + 1)}
        branches[f"width == {width}"] = {
            f"rows == {rows}": f"tile{width}_{rows}({values})" for rows in range(MR, 0, -1)
        }
    return dispatch(f"width, rows, {values}", branches, tiles)


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
def gather(patch, pixel_size, x, step, rows, taps, offsets, length):
    """The inputs of each pixel of a tile, `taps` runs of `length` bytes in a row; rows `pixel_size` apart."""
    for i in range(rows):
        target, source = offset(patch, i * pixel_size), offset(x, i * step)
        for tap in range(taps):
            copy_run(offset(source, offsets[tap]), target, length)
            target = offset(target, length)


def convolution(run_tile, size):
    """A device function: the whole convolution by one set of tiles, whose results have `size` bytes."""

    @device
    def convolve(
        x, weight, bias, factor, y, offsets, scratch, scratch_size, n, image_pixels, row_pixels, x_pixel, h_out, w_out, c_out,
        y_pixel, stride_h, stride_w, taps, length, gathered, k_panel, zero, flip, block_panels, split_columns,
        tid, n_threads,
    ):  # fmt: skip
        mine = offset(scratch, tid * scratch_size)
        no_offset = i64_at(address_of(mine))
        no_offset[0] = 0
        spill = offset(mine, 64)  # (MR, NR): the last panel, where it is wider than what is left of y
        patch = offset(spill, MR * NR * size)
        panels = (c_out + NR - 1) // NR
        first_panel, last_panel = 0, panels
        row_tiles = (w_out + MR - 1) // MR
        least, longer = w_out // row_tiles, w_out % row_tiles  # `longer` tiles of a row have a pixel more
        tiles = n * h_out * row_tiles
        first_tile, last_tile = 0, tiles
        if split_columns != 0:
            first_panel, last_panel = panels * tid // n_threads, panels * (tid + 1) // n_threads
        else:
            first_tile, last_tile = tiles * tid // n_threads, tiles * (tid + 1) // n_threads
        full_panels = c_out // NR
        step = stride_w * x_pixel
        together = gathered == 0 and (c_out - full_panels * NR) % 4 == 0  # no tile needs a place of its own
        for turn in range((last_panel - first_panel + block_panels - 1) // block_panels):
            block = first_panel + turn * block_panels
            block_end = min(block + block_panels, last_panel)
            whole = min(block_end, full_panels) - block
            row, place = first_tile // row_tiles, first_tile % row_tiles
            image, out_y = row // h_out, row % h_out
            begin = place * least + min(place, longer)
            left_tiles = last_tile - first_tile
            while left_tiles > 0:
                rows = least + 1 if place < longer else least
                count_tiles = min(left_tiles, (longer if place < longer else row_tiles) - place) if together else 1
                left_tiles -= count_tiles
                source = offset(x, x_pixel * (image * image_pixels + out_y * stride_h * row_pixels + begin * stride_w))
                at, tile_step, tile_taps, tile_offsets, tile_length = address_of(source), step, taps, offsets, length
                if gathered != 0:
                    gather(patch, gathered, source, step, rows, taps, offsets, length)
                    at, tile_step, tile_taps, tile_offsets, tile_length = (
                        address_of(patch),
                        gathered,
                        1,
                        no_offset,
                        gathered,
                    )
                out = offset(y, size * (row * w_out + begin) * y_pixel)
                for narrow in range(2):  # the panels of full width, then the one that is left
                    count, column, width, fits = whole, block * NR, NR, True
                    if narrow == 1:
                        count, column = block_end - max(full_panels, block), full_panels * NR
                        width = (c_out - column + 3) // 4 * 4
                        fits = width == c_out - column
                    if count <= 0:
                        continue
                    target, stride = (offset(out, size * column), size * y_pixel) if fits else (spill, size * NR)
                    run_tile(
                        width, rows, count_tiles, at, tile_step, tile_taps, tile_offsets, tile_length, offset(weight, column * k_panel),
                        count, address_of(target), stride,
                        offset(bias, column), offset(factor, column), zero, flip,
                    )  # fmt: skip
                    if not fits:
                        left = size * (c_out - column)
                        for i in range(rows):
                            copy_run(offset(spill, i * size * NR), offset(out, size * (i * y_pixel + column)), left)
                place, begin = place + count_tiles, begin + count_tiles * rows
                if place == row_tiles:
                    place, begin, row, out_y = 0, 0, row + 1, out_y + 1
                    if out_y == h_out:
                        out_y, image = 0, image + 1

    return convolve


if COMPILING:
    convolve_codes, convolve_sums = convolution(tile_runner(True), 1), convolution(tile_runner(False), 4)


@kernel
def s8_conv(
    x: i8p, weight: i8p, bias: i32p, factor: f32p, y: i8p, offsets: i64p, scratch: i8p, scratch_size: i64,
    n: i64, image_pixels: i64, row_pixels: i64, x_pixel: i64, h_out: i64, w_out: i64, c_out: i64, y_pixel: i64,
    stride_h: i64, stride_w: i64, taps: i64, length: i64, gathered: i64, k_panel: i64,
    zero: i64, flip: i64, block_panels: i64, split_columns: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """Cross-correlate, add bias, multiply by a factor per channel, round half to even, add `zero`, saturate.

    offsets          : where the run of each tap begins, in bytes from the first; `length` bytes each
    image_pixels     : pixels of x from an image to the next; row_pixels: from a row to the next
    x_pixel, y_pixel : elements from a pixel to the next
    gathered         : bytes of a pixel's gathered inputs; 0 to read x itself
    k_panel          : bytes of a channel's weights, fill included
    flip             : 128 where y is uint8 (and `zero` less by as much), else 0
    block_panels     : panels of weights that stay in the cache while all pixels pass
    split_columns    : threads share the panels instead of the pixels
    """
    convolve_codes(
        x, weight, bias, factor, y, offsets, scratch, scratch_size, n, image_pixels, row_pixels, x_pixel, h_out, w_out, c_out,
        y_pixel, stride_h, stride_w, taps, length, gathered, k_panel, zero, flip, block_panels, split_columns,
        tid, n_threads,
    )  # fmt: skip


@kernel
def s8_conv_s32(
    x: i8p, weight: i8p, bias: i32p, factor: f32p, y: i8p, offsets: i64p, scratch: i8p, scratch_size: i64,
    n: i64, image_pixels: i64, row_pixels: i64, x_pixel: i64, h_out: i64, w_out: i64, c_out: i64, y_pixel: i64,
    stride_h: i64, stride_w: i64, taps: i64, length: i64, gathered: i64, k_panel: i64,
    zero: i64, flip: i64, block_panels: i64, split_columns: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """The sums alone, bias added: y is int32; factor, zero and flip are not looked at."""
    convolve_sums(
        x, weight, bias, factor, y, offsets, scratch, scratch_size, n, image_pixels, row_pixels, x_pixel, h_out, w_out, c_out,
        y_pixel, stride_h, stride_w, taps, length, gathered, k_panel, zero, flip, block_panels, split_columns,
        tid, n_threads,
    )  # fmt: skip


@device
def vec_fill(target, count, value):
    """`count` bytes of one value."""
    for i in range(count):
        target[i] = value


@device
def vec_copy_flipped(source, target, count, flip):
    """Copy, with an exclusive or."""
    for i in range(count):
        target[i] = source[i] ^ flip


@kernel
def s8_border(
    x: i8p, y: i8p, images: i64, h: i64, row: i64, top: i64, bottom: i64, left: i64, right: i64, value: i64, flip: i64,
    tid: i64, n_threads: i64,
):  # fmt: skip
    """Images with a border of one value: rows `top` and `bottom`, bytes `left` and `right` of each row.

    flip : what x is combined with by exclusive or: -128 where it is uint8, to make it int8
    """
    wide, lines = left + row + right, top + h + bottom
    for line in range(images * lines * tid // n_threads, images * lines * (tid + 1) // n_threads):
        image, at = line // lines, line % lines - top
        target = offset(y, line * wide)
        if at < 0 or at >= h:
            vec_fill(target, wide, np.int8(value))
        else:
            vec_fill(target, left, np.int8(value))
            vec_copy_flipped(offset(x, (image * h + at) * row), offset(target, left), row, np.int8(flip))
            vec_fill(offset(target, left + row), right, np.int8(value))
