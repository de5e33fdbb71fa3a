# mypy: ignore-errors
"""Gradients of a convolution with respect to its weights, channels-last.

A tile is a run of input channels x a few vectors of output channels, for one tap of the kernel: a sum over pixels of the
products of each input with each gradient of an output. For one tap the outputs that do not read padding are a rectangle,
so nothing is packed or checked pixel by pixel. All tiles process one block of the image before the next block, so the
block is read from the cache. With few input channels the K_W taps of a line are one run of K_W * C_IN inputs; outputs
whose windows hang over the left or right border are then computed tap by tap.
The result has the panels that convolutions read: (ceil(C_OUT / NR), K_H * K_W * C_IN, NR).
"""

from alula.runtime.kernels.lang import COMPILING, device, f32p, i64, kernel
from alula.runtime.kernels.memory import offset
from alula.runtime.kernels.simd import TILES, dispatch
from alula.runtime.ops.conv.kernel import panel_width
from alula.runtime.ops.conv.kernel_outer_tile import outer_tile

# Rows of a tile of one vector, of two... so that its sums, its vectors and an input fit the register file
if COMPILING:
    MAX_ROWS = (8, 12, 8) if TILES.by_lane else (16, 14) if TILES.width == 16 else (12, 6)
    W, NR, STEP = TILES.width, TILES.columns, TILES.step
    ROW_STEP = W if TILES.by_lane else 1
    WHOLE = NR if len(MAX_ROWS) * W >= NR else NR // 2  # columns of the tiles of a whole panel


def outer_tile_runner():
    """A device function that runs the tile of as many rows and columns as asked."""
    values = (
        "x, x_pixel, x_line, x_image, dy, dy_pixel, dy_line, dy_image, pixels, lines, images, target, stride, fresh"
    )
    branches, tiles = {}, {}
    for width in range(min(NR, len(MAX_ROWS) * W), 0, -STEP):
        widths = (W,) * (width // W) + (STEP,) * (width % W // STEP)
        most = MAX_ROWS[len(widths) - 1]
        tiles |= {f"tile{width}_{rows}": outer_tile(rows, widths) for rows in range(1, most + 1)}
        branches[f"width == {width}"] = {
            f"rows == {rows}": f"tile{width}_{rows}({values})" for rows in range(most, 0, -1)
        }
    return dispatch(f"width, rows, {values}", branches, tiles, then="if")


if COMPILING:
    run_outer_tile = outer_tile_runner()
    max_rows_of_one, max_rows_of_two = MAX_ROWS[0], MAX_ROWS[1]
    max_rows_of_three = MAX_ROWS[-1]


@device
def max_rows(width):
    """The most rows that a tile of `width` columns may have."""
    vectors = (width + W - 1) // W
    return max_rows_of_one if vectors == 1 else max_rows_of_two if vectors == 2 else max_rows_of_three


@device
def first_row_of(strip, strips, length):
    """Where a strip of rows begins: strips are of nearly equal height, on NEON whole vectors of inputs."""
    return min((length * strip // strips + ROW_STEP - 1) // ROW_STEP * ROW_STEP, length)


@device
def first_output(tap, stride, pad):
    """The first output position whose window's tap does not lie before the image; tap: its place in the window."""
    return max(pad - tap + stride - 1, 0) // stride


@device
def end_of_outputs(tap, stride, pad, size, out):
    """One past the last output position whose window's tap is not past the image's end."""
    return min((size - 1 + pad - tap) // stride + 1, out) if size - 1 + pad - tap >= 0 else 0


@kernel(compact=True)
def f32_conv_weight_grad(
    x: f32p, grad_y: f32p, target: f32p, n: i64, h: i64, w: i64, c_in: i64, x_stride: i64,
    h_out: i64, w_out: i64, c_out: i64, dy_stride: i64, k_h: i64, k_w: i64, stride_h: i64, stride_w: i64,
    pad_top: i64, pad_left: i64, dilation_h: i64, dilation_w: i64, merged: i64,
    block_images: i64, block_lines: i64, dy_tap: i64, tap_rows: i64, accumulate: i64, tid: i64, n_threads: i64,
):  # fmt: skip
    """target: panels of (k_h * k_w * c_in, c_out); what fills the last one up becomes zeros.

    x_stride, dy_stride : elements from a pixel to the next
    merged              : the taps of a line are one run of inputs
    block_images, _lines: what passes at a time: lines of outputs of one image, or all lines of several
    dy_tap              : elements from the gradient that belongs to a tap to that of the next: 0, it is the same one
    tap_rows            : rows of the target from a tap to the next (from a line of them, if merged)
    accumulate          : add to what the target holds
    """
    runs = k_h if merged != 0 else k_h * k_w
    length = k_w * c_in if merged != 0 else c_in
    depth = runs * tap_rows
    # Tiles of a column of whole panels come first, then those of the last one, which may have more rows
    per_panel = NR // WHOLE
    whole, left_over = c_out // NR * per_panel, c_out % NR
    last_width = panel_width(left_over)
    rest_columns = per_panel if last_width == NR else 1
    rest_tile = last_width // rest_columns
    strips = (length + max_rows(WHOLE) - 1) // max_rows(WHOLE)
    rest_strips = (length + max_rows(rest_tile) - 1) // max_rows(rest_tile) if left_over > 0 else 0
    first_rest = whole * runs * strips
    tiles = first_rest + (rest_columns * runs * rest_strips if left_over > 0 else 0)
    begin, end = tiles * tid // n_threads, tiles * (tid + 1) // n_threads
    image_blocks = (n + block_images - 1) // block_images
    line_blocks = (h_out + block_lines - 1) // block_lines
    for block in range(image_blocks * line_blocks):
        image = n * (block // line_blocks) // image_blocks
        images = n * (block // line_blocks + 1) // image_blocks - image
        top = h_out * (block % line_blocks) // line_blocks
        bottom = h_out * (block % line_blocks + 1) // line_blocks
        fresh = 1 if block == 0 and accumulate == 0 else 0
        column = out_of_run = 0
        first_line = lines = left = right = source = inside = gradient = some = 0
        for tile in range(begin, end):
            panels = tile < first_rest
            place = tile if panels else tile - first_rest
            of_run = strips if panels else rest_strips
            width = WHOLE if panels else rest_tile
            stride = NR if panels else last_width
            turn = place // of_run
            strip = place - turn * of_run
            if strip == 0 or tile == begin:  # the strips of a run have their pixels in common
                run = turn % runs
                column_tile = turn // runs
                column = column_tile * WHOLE if panels else c_out - left_over + column_tile * rest_tile
                out_of_run = column // NR * NR * depth + run * tap_rows * stride + column % NR
                k_y, k_x = (run, 0) if merged != 0 else (run // k_w, run % k_w)
                tap_y, tap_x = k_y * dilation_h, k_x * dilation_w
                last_x = tap_x + (k_w - 1 if merged != 0 else 0)
                first_line = max(first_output(tap_y, stride_h, pad_top), top)
                lines = min(end_of_outputs(tap_y, stride_h, pad_top, h, h_out), bottom) - first_line
                left = first_output(tap_x, stride_w, pad_left)
                right = max(end_of_outputs(last_x, stride_w, pad_left, w, w_out), left)
                some = images if lines > 0 else 0
                source = ((image * h + first_line * stride_h + tap_y - pad_top) * w - pad_left) * x_stride
                inside = source + (left * stride_w + tap_x) * x_stride
                gradient = (image * h_out + first_line) * w_out * dy_stride + run * dy_tap + column
            first_row = first_row_of(strip, of_run, length)
            rows = first_row_of(strip + 1, of_run, length) - first_row
            out = offset(target, out_of_run + first_row * stride)
            run_outer_tile(
                width, rows, offset(x, inside + first_row),
                4 * stride_w * x_stride, 4 * stride_h * w * x_stride, 4 * h * w * x_stride,
                offset(grad_y, gradient + left * dy_stride), 4 * dy_stride, 4 * w_out * dy_stride, 4 * h_out * w_out * dy_stride,
                right - left, lines, some if right > left else 0, out, stride, fresh,
            )  # fmt: skip
            if merged != 0 and some > 0:
                for tap in range(k_w):
                    above = max(tap * c_in, first_row)
                    below = min((tap + 1) * c_in, first_row + rows)
                    begin_x = first_output(tap, stride_w, pad_left)
                    end_x = end_of_outputs(tap, stride_w, pad_left, w, w_out)
                    for side in range(2):
                        from_x = begin_x if side == 0 else max(right, begin_x)
                        to_x = min(left, end_x) if side == 0 else end_x
                        if above < below and from_x < to_x:
                            run_outer_tile(
                                width, below - above, offset(x, source + from_x * stride_w * x_stride + above),
                                4 * stride_w * x_stride, 4 * stride_h * w * x_stride, 4 * h * w * x_stride,
                                offset(grad_y, gradient + from_x * dy_stride), 4 * dy_stride, 4 * w_out * dy_stride,
                                4 * h_out * w_out * dy_stride, to_x - from_x, lines, images,
                                offset(out, (above - first_row) * stride), stride, 0,
                            )  # fmt: skip
            if column + width > c_out:
                for r in range(rows):
                    for c in range(c_out - column, width):
                        out[r * stride + c] = 0.0
