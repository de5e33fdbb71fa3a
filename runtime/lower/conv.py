"""Conv and ConvTranspose: which of the convolution kernels, and how its weights are packed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from alula.runtime.frozen import frozen
from alula.runtime.graph import Array, Node
from alula.runtime.kernels import conv as kernels
from alula.runtime.kernels.tiles import Tiles
from alula.runtime.lower import conv_gradient, depthwise, winograd
from alula.runtime.lower.movement import copy_view, dense_strides, emit_copy
from alula.runtime.lower.steps import Epilogue, epilogue
from alula.runtime.lowering import Lowering, Ref
from alula.runtime.ops.window import Window
from alula.runtime.weights import aligned_empty

WORD = 8


def pack_panels(matrix: Array, tiles: Tiles, target: Array | None = None) -> Array:
    """(K, C_OUT) as panels (ceil(C_OUT / NR), K, NR), flat; the last is only as many steps wide as needed.

    matrix : float32 with any strides; it is read once, by a kernel
    target : where to put them; a new aligned array if None
    """
    k, c_out = matrix.shape
    whole, rest = divmod(c_out, tiles.columns)
    last = tiles.panel_width(rest) if rest else 0
    packed = aligned_empty(k * (whole * tiles.columns + last)) if target is None else target
    size = k * whole * tiles.columns
    if whole:
        column, row = matrix.strides[1] // 4, matrix.strides[0] // 4
        copy_view(matrix, packed, (whole, k, tiles.columns), (tiles.columns * column, row, column))
    if rest:
        packed[size:].reshape(k, last)[:, :rest] = matrix[:, c_out - rest :]
        packed[size:].reshape(k, last)[:, rest:] = 0
    return packed


def panels_name(group: int) -> str:
    """The name of the order that `grouped_panels` makes."""
    return f"panels/{group}"


PANELS = panels_name(1)


def grouped_panels(filters: Array, group: int, tiles: Tiles) -> Array:
    """(C_OUT, *kernel, C_IN / group) as the panels of each group, one after the other."""
    parts = [pack_panels(part.reshape(len(part), -1).T, tiles) for part in np.split(filters, group)]
    return parts[0] if group == 1 else np.concatenate(parts)


def panels_size(depth: int, c_out: int, tiles: Tiles) -> int:
    """Elements of the panels of a matrix (depth, c_out)."""
    rest = c_out % tiles.columns
    return depth * (c_out - rest + (tiles.panel_width(rest) if rest else 0))


def bias_size(c_out: int, tiles: Tiles) -> int:
    """Elements of a bias of c_out values with what fills its last tile."""
    return -(-c_out // tiles.columns) * tiles.columns


def pack_bias(bias: Array, tiles: Tiles, group: int = 1) -> Array:
    """(C_OUT,), each group's part with zeros up to a whole tile."""
    parts = bias.astype(np.float32).reshape(group, -1)
    return np.pad(parts, ((0, 0), (0, -parts.shape[1] % tiles.columns))).reshape(-1)


def bias_ref(lowering: Lowering, name: str, c_out: int, group: int = 1) -> Ref:
    """The address of a bias of c_out values for each group, or of zeros for one group where there is none."""
    if not name:
        return lowering.zeros(4 * bias_size(c_out, lowering.tiles))
    packing = "bias" if group == 1 else f"bias/{group}"
    return lowering.packed(name, packing, lambda b: pack_bias(b.reshape(-1), lowering.tiles, group))


@frozen
class Layer:
    """A convolution, transposed or not, whose weights and bias are constants or variables.

    picture : (N, H, W, C) of x; a 1-D one has height 1
    """

    window: Window
    picture: tuple[int, ...]
    out: tuple[int, ...]
    tail: Epilogue


def constant_layer(lowering: Lowering, node: Node, window_of: Callable[..., Window]) -> Layer | None:
    """What there is to compute; None if no kernel takes it."""
    x, weight, *bias = node.inputs
    spec, out = lowering.spec(x).dims, lowering.spec(node.outputs[0]).dims
    constants = [weight, *(name for name in bias if name)]
    if lowering.spec(x).dtype != "float32" or len(spec) not in (3, 4) or not all(map(lowering.packable, constants)):
        return None
    tail = epilogue(lowering, node, out)
    if tail is None or 0 in out or 0 in spec:
        return None
    window = planar(window_of(node.attrs, spec, lowering.spec(weight).dims))
    return Layer(window, (spec[0], 1, *spec[1:]) if len(spec) == 3 else spec, out, tail)


def lower_conv(lowering: Lowering, node: Node) -> bool:
    """1-D and 2-D convolution with constant weights."""
    from alula.runtime.ops.conv import conv_window

    layer = constant_layer(lowering, node, conv_window)
    if layer is None:
        return False
    x, weight = node.inputs[:2]
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    window, picture, out, tail = layer.window, layer.picture, layer.out, layer.tail
    c_out, group = out[-1], node.attrs.group
    if group == picture[-1] == c_out and depthwise.lower_depthwise(lowering, node, window, picture, tail):
        return True
    k = math.prod(lowering.spec(weight).dims[1:])

    def transformed(m: int, first: int, count: int) -> Ref:
        panels = _storage_panels(lowering, weight)
        return winograd.transform_filters(lowering, panels, picture[-1], c_out, m, first, count)

    changing = None if lowering.known(weight) else transformed
    if group == 1 and winograd.lower_winograd(lowering, node, window, picture, tail, changing):
        return True
    c_in, filters = picture[-1] // group, c_out // group
    packed = lowering.packed(weight, panels_name(group), lambda value: grouped_panels(value, group, lowering.tiles))
    biases = bias_ref(lowering, bias, filters, group)
    for g in range(group):
        emit_conv(
            lowering, lowering.ref(x) + 4 * g * c_in, packed + 4 * g * panels_size(k, filters, lowering.tiles),
            biases + (4 * g * bias_size(filters, lowering.tiles) if bias else 0),
            lowering.ref(node.outputs[0]) + 4 * g * filters, window, picture, c_in, filters,
            (window.out[0] * window.out[1] * c_out, window.out[1] * c_out, c_out),
            tail if group == 1 else Epilogue(tail.low, tail.high, 0, []),
        )  # fmt: skip
    if group > 1 and tail.chain:
        emit_epilogue(lowering, node.outputs[0], math.prod(out[:-1]), c_out, tail)
    return True


def _storage_panels(lowering: Lowering, weight: str) -> Ref:
    """The panels of a variable: its own order, if nothing else has chosen that."""
    return lowering.packed(weight, PANELS, lambda filters: grouped_panels(filters, 1, lowering.tiles))


def emit_conv(
    lowering: Lowering, x: Ref, weight: Ref, bias: Ref, y: Ref, window: Window, picture: tuple[int, ...],
    c_in: int, c_out: int, y_strides: tuple[int, int, int], tail: Epilogue,
) -> None:  # fmt: skip
    """One indirect matrix product. `picture` is (N, H, W, C) of x; `y_strides` in elements: image, row, pixel."""
    tiles, threads = lowering.tiles, lowering.n_threads
    taps = math.prod(window.kernel)
    scratch_words = taps * tiles.rows + 8 + tiles.rows * tiles.columns // 2
    scratch_words += -scratch_words % 8
    panels = -(-c_out // tiles.columns)
    pixels = picture[0] * window.out[0] * window.out[1]
    row_tiles = -(-pixels // tiles.rows)
    block = min(panels, max(1, tiles.l2_bytes // (4 * taps * c_in * tiles.columns)))
    lowering.emit(
        kernels.f32_conv, x=x, weight=weight, bias=bias, y=y, zeros=lowering.zeros(4 * window.kernel[1] * c_in),
        scratch=lowering.scratch(WORD * scratch_words * threads), scratch_words=scratch_words,
        n=picture[0], h=picture[1], w=picture[2], c_in=c_in, x_stride=picture[3],
        h_out=window.out[0], w_out=window.out[1], c_out=c_out, y_image=y_strides[0], y_row=y_strides[1], y_pixel=y_strides[2],
        k_h=window.kernel[0], k_w=window.kernel[1], stride_h=window.strides[0], stride_w=window.strides[1],
        pad_top=window.pads_begin[0], pad_left=window.pads_begin[1],
        dilation_h=window.dilations[0], dilation_w=window.dilations[1], low=tail.low, high=tail.high,
        block_panels=block, split_columns=int(threads > 1 and row_tiles < 4 * threads and panels >= threads),
        epilogue=tail.kernel, chain=tail.chain,
    )  # fmt: skip


def emit_epilogue(lowering: Lowering, output: str, rows: int, columns: int, tail: Epilogue) -> None:
    """A chain over a finished result, where its kernel could not run it."""
    from alula.runtime.kernels.elementwise import f32_chain

    y = lowering.ref(output)
    lowering.emit(
        f32_chain,
        x=y,
        y=y,
        rows=rows,
        channels=columns,
        image_rows=tail.chain[1],
        n_steps=tail.chain[2],
        steps=tail.chain[3:],
    )


def planar(window: Window) -> Window:
    """A 1-D window as a 2-D one over pictures of height 1."""
    if len(window.out) == 2:
        return window
    w = window
    return Window((1, *w.kernel), (1, *w.strides), (1, *w.dilations), (0, *w.pads_begin), (0, *w.pads_end), (1, *w.out))


def lower_conv_transpose(lowering: Lowering, node: Node) -> bool:
    """2-D transposed convolution with constant weights: one convolution for each phase of the stride."""
    from alula.runtime.ops.conv import conv_transpose_window

    layer = constant_layer(lowering, node, conv_transpose_window)
    if layer is None:
        return False
    if node.attrs.group == layer.picture[-1] == layer.out[-1]:
        return conv_gradient.lower_depthwise_input_grad(lowering, node, layer.window, layer.picture, layer.tail)
    if node.attrs.group != 1 or layer.window.dilations != (1, 1):
        return False
    x, weight = node.inputs[:2]
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    window, picture, out, tail = layer.window, layer.picture, layer.out, layer.tail
    c_in, c_out = picture[-1], out[-1]
    (k_h, k_w), (s_h, s_w) = window.kernel, window.strides
    blocks = tuple(size * stride for size, stride in zip(picture[1:3], window.strides, strict=True))
    if (
        window.kernel == window.strides
        and window.out == blocks
        and not any(window.pads_begin)
        and c_out < lowering.tiles.width
    ):
        _emit_blocks(lowering, node, window, picture, tail)
        return True
    storage = lowering.variables[weight].packing if weight in lowering.variables else ""
    as_it_lies = lowering.lying(weight, PANELS)
    if as_it_lies and conv_gradient.lower_point_input_grad(lowering, node, window, picture, as_it_lies, tail):
        return True
    if storage == PANELS and (k_h, k_w, s_h, s_w) == (3, 3, 1, 1) and max(window.pads_begin) < 3:
        pads = (2 - window.pads_begin[0], 2 - window.pads_begin[1])
        flipped = Window((3, 3), (1, 1), (1, 1), pads, (0, 0), window.out)

        def turned(m: int, first: int, count: int) -> Ref:
            panels = lowering.storage(weight)[0]
            return winograd.transform_turned_filters(lowering, panels, c_out, c_in, m, first, count)

        if winograd.lower_winograd(lowering, node, flipped, picture, tail, turned):
            return True
    taps = [[len(range(first, max(k, s), s)) for first in range(s)] for k, s in ((k_h, s_h), (k_w, s_w))]
    sizes = [panels_size(t_y * t_x * c_in, c_out, lowering.tiles) for t_y in taps[0] for t_x in taps[1]]
    panels: Ref | None = None
    whole = (s_h, s_w) == (1, 1)  # one phase, whose kernel runs the chain
    for phase_y in range(min(s_h, window.out[0])):
        for phase_x in range(min(s_w, window.out[1])):
            # out[o] sums weight[k] * x[(o + pad - k) / s] over the taps k that divide: k = first + s * j, x = base - j
            first_y, base_y = (phase_y + window.pads_begin[0]) % s_h, (phase_y + window.pads_begin[0]) // s_h
            first_x, base_x = (phase_x + window.pads_begin[1]) % s_w, (phase_x + window.pads_begin[1]) // s_w
            taps_y, taps_x = taps[0][first_y], taps[1][first_x]
            size = (-(-(window.out[0] - phase_y) // s_h), -(-(window.out[1] - phase_x) // s_w))
            y = lowering.ref(node.outputs[0]) + 4 * (phase_y * window.out[1] + phase_x) * c_out
            strides = (window.out[0] * window.out[1] * c_out, s_h * window.out[1] * c_out, s_w * c_out)
            bounded = tail.low > 0 or tail.high < 0
            if (first_y >= window.kernel[0] or first_x >= window.kernel[1]) and not bias and not bounded:
                zeros = lowering.zeros(4 * c_out)
                emit_copy(lowering, zeros, y, (picture[0], *size, c_out), (0, 0, 0, 1), (*strides, 1), 4)
                continue

            part = Window(
                (taps_y, taps_x), (1, 1), (1, 1), (taps_y - 1 - base_y, taps_x - 1 - base_x), (0, 0), size
            )  # fmt: skip
            name = f"phase{first_y}/{s_h},{first_x}/{s_w}"
            own = _turned_panels(lowering, node, name, (first_y, first_x), (taps_y, taps_x), window)
            if own is None:
                panels = panels or lowering.packed(
                    weight, f"phases{s_h},{s_w}", lambda w: _phase_panels(w, window, lowering.tiles)
                )
                own = panels + 4 * sum(sizes[: first_y * s_w + first_x])
            emit_conv(
                lowering, lowering.ref(x), own, bias_ref(lowering, bias, c_out), y, part, picture, c_in, c_out, strides,
                tail if whole else Epilogue(tail.low, tail.high, 0, []),
            )  # fmt: skip
    if tail.chain and not whole:
        emit_epilogue(lowering, node.outputs[0], math.prod(out[:-1]), c_out, tail)
    return True


def _phase_panels(weight: Array, window: Window, tiles: Tiles) -> Array:
    """(C_IN, K_H, K_W, C_OUT) as the panels (T_Y * T_X * C_IN, C_OUT) of each phase's taps, one phase after the other."""
    (s_h, s_w), (c_in, *_, c_out) = window.strides, weight.shape
    grown = [(0, max(s - k, 0)) for k, s in zip(window.kernel, window.strides, strict=True)]  # each phase has a tap
    full = np.pad(weight.reshape(c_in, *window.kernel, c_out), ((0, 0), *grown, (0, 0)))
    phases = [full[:, y::s_h, x::s_w][:, ::-1, ::-1].transpose(1, 2, 0, 3) for y in range(s_h) for x in range(s_w)]
    return np.concatenate([pack_panels(taps.reshape(-1, c_out), tiles) for taps in phases])


def _turned_panels(
    lowering: Lowering, node: Node, name: str, first: tuple[int, int], taps: tuple[int, int], window: Window
) -> Ref | None:
    """Panels of some taps, made in every run of a variable that lies in the panels of the convolution that it is for."""
    c_out, *_, c_in = lowering.spec(node.inputs[1]).dims  # of that convolution

    def turn(source: Ref) -> Ref:
        return emit_turned_panels(lowering, source, c_in, c_out, window.kernel, window.strides, first, taps)

    return lowering.derived(node.inputs[1], name, PANELS, turn)


def emit_turned_panels(
    lowering: Lowering, source: Ref, c_in: int, c_out: int, kernel: tuple[int, ...] = (1, 1),
    strides: tuple[int, ...] = (1, 1), first: tuple[int, int] = (0, 0), taps: tuple[int, int] = (1, 1),
) -> Ref:  # fmt: skip
    """From panels of (kernel * c_in, c_out) to panels of (taps * c_out, c_in)."""
    from alula.runtime.kernels.turn_panels import f32_turn_panels

    columns = c_in - c_in % lowering.tiles.columns
    columns += lowering.tiles.panel_width(c_in - columns) if c_in > columns else 0
    target = lowering.scratch(4 * math.prod(taps) * c_out * columns)
    lowering.emit(
        f32_turn_panels, source=source, target=target, c_in=c_in, c_out=c_out, k_h=kernel[0], k_w=kernel[1],
        first_y=first[0], first_x=first[1], stride_h=strides[0], stride_w=strides[1], taps_y=taps[0], taps_x=taps[1],
    )  # fmt: skip
    return target


def _emit_blocks(lowering: Lowering, node: Node, window: Window, picture: tuple[int, ...], tail: Epilogue) -> None:
    """A transposed convolution whose blocks do not overlap, with few filters: all phases in one product, then spread."""
    (k_h, k_w), (n, h, w, c_in) = window.kernel, picture
    c_out = lowering.spec(node.outputs[0]).dims[-1]
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    columns = k_h * k_w * c_out
    products = lowering.scratch(4 * n * h * w * columns)
    weight = lowering.packed(node.inputs[1], "blocks", lambda f: pack_panels(f.reshape(c_in, columns), lowering.tiles))
    biases = bias_ref(lowering, "", columns)
    if bias:
        biases = lowering.packed(
            bias, f"blocks{k_h * k_w}", lambda b: pack_bias(np.tile(b.reshape(-1), k_h * k_w), lowering.tiles)
        )
    point = Window((1, 1), (1, 1), (1, 1), (0, 0), (0, 0), (h, w))
    emit_conv(lowering, lowering.ref(node.inputs[0]), weight, biases, products, point, picture, c_in, columns,
              (h * w * columns, w * columns, columns), Epilogue(tail.low, tail.high, 0, []))  # fmt: skip
    blocks, perm = (n, h, w, k_h, k_w, c_out), (0, 1, 3, 2, 4, 5)
    strides, turned = dense_strides(blocks), [blocks[p] for p in perm]
    y = lowering.ref(node.outputs[0])
    emit_copy(lowering, products, y, turned, [strides[p] for p in perm], dense_strides(turned), 4)
    if tail.chain:
        emit_epilogue(lowering, node.outputs[0], n * h * w * k_h * k_w, c_out, tail)
