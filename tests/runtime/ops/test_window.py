"""The geometry of windows."""

from __future__ import annotations

import numpy as np

from alula.runtime.ops.conv.op import ConvAttrs
from alula.runtime.ops.pool.op import AveragePoolAttrs, pixel_counts, pool_window
from alula.runtime.ops.window import Window


def test_auto_pad_is_resolved_to_numbers() -> None:
    upper = Window.sliding(ConvAttrs(auto_pad="SAME_UPPER", strides=(2, 2)), (8, 11), (4, 4))
    lower = Window.sliding(ConvAttrs(auto_pad="SAME_LOWER", strides=(2, 2)), (8, 11), (4, 4))
    assert upper.out == lower.out == (4, 6)
    assert (upper.pads_begin, upper.pads_end) == ((1, 1), (1, 2))
    assert (lower.pads_begin, lower.pads_end) == ((1, 2), (1, 1))


def test_a_last_window_that_would_start_in_the_padding_is_dropped() -> None:
    attrs = ConvAttrs(strides=(2,), pads=(0, 1))
    assert Window.sliding(attrs, (2,), (1,), ceil_mode=True).out == (1,)
    assert Window.sliding(ConvAttrs(strides=(2,)), (6,), (3,), ceil_mode=True).out == (3,)
    assert Window.sliding(ConvAttrs(strides=(2,)), (6,), (3,)).out == (2,)


def test_taps_are_slices_of_the_padded_image() -> None:
    window = Window.sliding(ConvAttrs(strides=(2, 3), dilations=(2, 1), pads=(1, 2, 0, 1)), (7, 9), (2, 3))
    x = np.arange(1, 64).reshape(1, 7, 9, 1)
    padded = window.pad(x, 0)
    assert window.reach == tuple(padded.shape[1:3]) or all(r <= p for r, p in zip(window.reach, padded.shape[1:3]))
    for tap in window.taps():
        pixels = padded[window.at(tap)]
        for h, w in np.ndindex(*window.out):
            i, j = h * 2 - 1 + tap[0] * 2, w * 3 - 2 + tap[1]
            inside = 0 <= i < 7 and 0 <= j < 9
            assert pixels[0, h, w, 0] == (x[0, i, j, 0] if inside else 0)


def test_counts_leave_out_what_hangs_over_the_padding() -> None:
    attrs = AveragePoolAttrs(kernel_shape=(3,), strides=(2,), pads=(1, 1), ceil_mode=1)
    window = pool_window(attrs, (1, 6, 1))
    assert window.out == (4,)
    assert pixel_counts(window, (6,), include_pads=False).tolist() == [2, 3, 3, 1]
    assert pixel_counts(window, (6,), include_pads=True).tolist() == [3, 3, 3, 2]
