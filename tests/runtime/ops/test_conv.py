"""Conv and ConvTranspose against onnxruntime, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alula.runtime.errors import DTypeError, ShapeError
from alula.runtime.graph import TensorSpec
from alula.runtime.ops.contract import REGISTRY
from tests.runtime.ops.oracle import channels_first, channels_last, close, inferred, onnxruntime_node, ours

CONVS = {
    "1x1": ((2, 7, 5, 3), (4, 1, 1), {}),
    "3x3 padded": ((1, 9, 8, 4), (6, 3, 3), {"pads": (1, 1, 1, 1)}),
    "stride 2, uneven pads": ((2, 9, 12, 3), (5, 3, 5), {"strides": (2, 3), "pads": (0, 1, 2, 3)}),
    "dilated": ((1, 11, 13, 2), (3, 3, 3), {"dilations": (2, 3), "pads": (2, 3, 2, 3)}),
    "groups": ((2, 6, 7, 6), (8, 3, 3), {"group": 2, "pads": (1, 1, 1, 1)}),
    "depthwise": ((1, 10, 6, 5), (5, 3, 3), {"group": 5, "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "depthwise, multiplier 2": ((1, 6, 6, 3), (6, 3, 3), {"group": 3}),
    "same upper": ((1, 8, 11, 3), (4, 4, 3), {"auto_pad": "SAME_UPPER", "strides": (2, 2)}),
    "same lower": ((1, 8, 11, 3), (4, 4, 3), {"auto_pad": "SAME_LOWER", "strides": (2, 2)}),
    "valid": ((1, 8, 11, 3), (4, 4, 3), {"auto_pad": "VALID", "kernel_shape": (4, 3)}),
    "1-D": ((2, 17, 3), (4, 5), {"pads": (2, 1), "strides": (2,)}),
    "3-D": ((1, 5, 6, 7, 2), (3, 2, 3, 3), {"pads": (0, 1, 1, 1, 1, 0), "strides": (1, 2, 1)}),
    "empty batch": ((0, 6, 6, 2), (3, 3, 3), {}),
}


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("biased", [False, True])
def test_conv_is_onnxruntimes(name: str, biased: bool) -> None:
    shape, (c_out, *kernel), attrs = CONVS[name]
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape, np.float32)
    weight = rng.standard_normal((c_out, *kernel, shape[-1] // attrs.get("group", 1)), np.float32)
    bias = rng.standard_normal(c_out, np.float32) if biased else None
    (got,) = ours("Conv", [x, weight, bias], attrs)
    (wanted,) = onnxruntime_node("Conv", [channels_first(x), channels_first(weight), bias], attrs)
    close(got, channels_last(wanted), math.prod(weight.shape[1:]))


def test_same_padding_covers_a_dilated_window() -> None:
    # onnxruntime refuses dilation with auto_pad, ONNX does not
    rng = np.random.default_rng(3)
    x, weight = rng.standard_normal((1, 8, 11, 3), np.float32), rng.standard_normal((4, 3, 2, 3), np.float32)
    (same,) = ours("Conv", [x, weight], {"auto_pad": "SAME_UPPER", "dilations": (2, 3)})
    (padded,) = ours("Conv", [x, weight], {"pads": (2, 1, 2, 2), "dilations": (2, 3)})
    assert same.shape == (1, 8, 11, 4)
    np.testing.assert_array_equal(same, padded)


TRANSPOSED = {
    "plain": ((1, 5, 4, 3), (3, 3, 3), {}),
    "stride 2": ((2, 5, 4, 3), (4, 2, 2), {"strides": (2, 2)}),
    "stride larger than kernel": ((1, 4, 5, 2), (3, 2, 2), {"strides": (3, 3)}),
    "pads": ((1, 5, 4, 3), (2, 3, 3), {"strides": (3, 2), "pads": (1, 0, 2, 1)}),
    "output padding": ((1, 5, 4, 3), (2, 3, 3), {"strides": (3, 2), "pads": (1, 1, 1, 1), "output_padding": (2, 1)}),
    "output shape": ((1, 5, 4, 3), (2, 3, 3), {"strides": (3, 2), "output_shape": (10, 8)}),
    "output shape, upper": (
        (1, 5, 4, 3),
        (2, 4, 4),
        {"strides": (3, 2), "output_shape": (14, 9), "auto_pad": "SAME_UPPER"},
    ),
    "same upper": ((1, 5, 4, 3), (2, 3, 4), {"strides": (2, 2), "auto_pad": "SAME_UPPER"}),
    "same lower": ((1, 5, 4, 3), (2, 4, 3), {"strides": (2, 1), "auto_pad": "SAME_LOWER"}),
    "dilated": ((1, 5, 4, 3), (2, 3, 3), {"dilations": (2, 2)}),
    "groups": ((2, 5, 4, 6), (2, 3, 3), {"group": 3, "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "1-D": ((2, 6, 3), (4, 4), {"strides": (2,), "pads": (1, 1)}),
    "3-D": ((1, 3, 4, 2, 2), (3, 2, 3, 2), {"strides": (2, 1, 2)}),
}


@pytest.mark.parametrize("name", TRANSPOSED)
@pytest.mark.parametrize("biased", [False, True])
def test_conv_transpose_is_onnxruntimes(name: str, biased: bool) -> None:
    shape, (c_out, *kernel), attrs = TRANSPOSED[name]
    rng = np.random.default_rng(2)
    x = rng.standard_normal(shape, np.float32)
    weight = rng.standard_normal((shape[-1], *kernel, c_out), np.float32)
    bias = rng.standard_normal(c_out * attrs.get("group", 1), np.float32) if biased else None
    (got,) = ours("ConvTranspose", [x, weight, bias], attrs)
    (wanted,) = onnxruntime_node("ConvTranspose", [channels_first(x), channels_first(weight), bias], attrs)
    close(got, channels_last(wanted), math.prod(kernel) * shape[-1])


def test_macs_count_every_product() -> None:
    x, weight = np.zeros((1, 8, 8, 4), np.float32), np.zeros((6, 3, 3, 2), np.float32)
    op = REGISTRY["Conv"]
    attrs = {"group": 2, "strides": (2, 2), "pads": (1, 1, 1, 1)}
    specs = [TensorSpec.of(x), TensorSpec.of(weight)]
    assert op.macs is not None
    assert op.macs(op.make_attrs(attrs, "test"), specs, inferred("Conv", [x, weight], attrs)) == 4 * 4 * 6 * 9 * 2


REFUSED = {
    "wrong channels": (
        (1, 8, 8, 1),
        (4, 3, 3, 3),
        {},
        r"stem \(Conv\): expected input \(N, 8, 8, 3\), got \(1, 8, 8, 1\)",
    ),
    "rank": ((1, 8, 3), (4, 3, 3, 3), {}, r"expected a weight of 3 dimensions"),
    "no space": ((8, 3), (4, 3), {}, r"expected input \(N, \*spatial, C\), got \(8, 3\)"),
    "too small": ((1, 2, 8, 3), (4, 3, 3, 3), {}, r"at least \(3, 3\), got \(2, 8\)"),
    "strides": ((1, 8, 8, 3), (4, 3, 3, 3), {"strides": (1,)}, "expected 2 strides, got 1"),
    "zero stride": ((1, 8, 8, 3), (4, 3, 3, 3), {"strides": (1, 0)}, "strides of at least 1"),
    "negative pads": ((1, 8, 8, 3), (4, 3, 3, 3), {"pads": (0, 0, -1, 0)}, "pads of at least 0"),
    "groups": ((1, 8, 8, 4), (5, 3, 3, 2), {"group": 2}, "output channels divisible by 2 groups, got 5"),
    "kernel_shape": ((1, 8, 8, 3), (4, 3, 3, 3), {"kernel_shape": (5, 5)}, r"expected kernel_shape \(3, 3\)"),
    "auto_pad": ((1, 8, 8, 3), (4, 3, 3, 3), {"auto_pad": "SAME"}, "expected auto_pad to be one of"),
    "huge": ((1, 8, 8, 3), (4, 3, 3, 3), {"pads": (10**9,) * 4}, "at most"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_conv_refuses(name: str) -> None:
    x_shape, weight_shape, attrs, message = REFUSED[name]
    with pytest.raises(ShapeError, match=message):
        inferred("Conv", [np.zeros(x_shape, np.float32), np.zeros(weight_shape, np.float32)], attrs)


def test_conv_refuses_a_bias_of_the_wrong_length_and_mixed_dtypes() -> None:
    x, weight = np.zeros((1, 8, 8, 3), np.float32), np.zeros((4, 3, 3, 3), np.float32)
    with pytest.raises(ShapeError, match=r"expected a bias \(4,\), one value per output channel, got \(3,\)"):
        inferred("Conv", [x, weight, np.zeros(3, np.float32)], {})
    with pytest.raises(DTypeError, match="expected weight to be float32"):
        inferred("Conv", [x, weight.astype(np.float64)], {})
    with pytest.raises(DTypeError, match="expected the input to be float32"):
        inferred("Conv", [x.astype(np.int32), weight], {})


def test_conv_transpose_refuses_pads_that_eat_the_output() -> None:
    x, weight = np.zeros((1, 2, 2, 3), np.float32), np.zeros((3, 2, 2, 4), np.float32)
    with pytest.raises(ShapeError, match="the pads are too large"):
        inferred("ConvTranspose", [x, weight], {"pads": (2, 2, 2, 2)})
    with pytest.raises(ShapeError, match=r"expected input \(N, 2, 2, 3\)"):
        inferred("ConvTranspose", [x[..., :2], weight], {})


def test_float16_is_summed_in_float32() -> None:
    x, weight = np.ones((1, 1, 1, 4096), np.float16), np.ones((1, 1, 1, 4096), np.float16)
    (y,) = ours("Conv", [x, weight], {})
    assert y.item() == 4096  # a float16 sum sticks at 2048
