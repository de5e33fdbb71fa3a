"""Normalisations against onnxruntime, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.errors import GraphError, ShapeError
from tests.runtime.ops.oracle import channels_first, channels_last, close, inferred, onnxruntime_node, ours


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (4, 6), (2, 9, 3)], ids=str)
@pytest.mark.parametrize("training", [0, 1])
def test_batch_normalization_is_onnxruntimes(shape: tuple[int, ...], training: int) -> None:
    rng = np.random.default_rng(10)
    x = rng.standard_normal(shape, np.float32) * 3 + 1
    parts = [rng.standard_normal(shape[-1], np.float32) for _ in range(3)]
    parts.append(rng.uniform(0.5, 2, shape[-1]).astype(np.float32))
    attrs = {"epsilon": 1e-3, "training_mode": training, "momentum": 0.7}
    got = ours("BatchNormalization", [x, *parts], attrs)
    wanted = onnxruntime_node("BatchNormalization", [channels_first(x), *parts], attrs, n_outputs=3 if training else 1)
    close(got[0], channels_last(wanted[0]), 8)
    for mine, theirs in zip(got[1:], wanted[1:], strict=True):
        close(mine, theirs, 70)


@pytest.mark.parametrize("axis", [-1, 1, -3])
@pytest.mark.parametrize("biased", [False, True])
def test_layer_normalization_is_onnxruntimes(axis: int, biased: bool) -> None:
    rng = np.random.default_rng(11)
    x = rng.standard_normal((3, 4, 6), np.float32) * 2 + 1
    scale, bias = (rng.standard_normal(x.shape[axis:], np.float32) for _ in range(2))
    inputs = [x, scale, bias] if biased else [x, scale]
    got = ours("LayerNormalization", inputs, {"axis": axis, "epsilon": 1e-4})
    wanted = onnxruntime_node("LayerNormalization", inputs, {"axis": axis, "epsilon": 1e-4}, n_outputs=3)
    for mine, theirs in zip(got, wanted, strict=True):
        close(mine, theirs, 72)


def test_instance_normalization_is_onnxruntimes() -> None:
    rng = np.random.default_rng(12)
    x = rng.standard_normal((2, 5, 7, 3), np.float32) * 2 + 1
    scale, bias = (rng.standard_normal(3, np.float32) for _ in range(2))
    (got,) = ours("InstanceNormalization", [x, scale, bias], {"epsilon": 1e-3})
    (wanted,) = onnxruntime_node("InstanceNormalization", [channels_first(x), scale, bias], {"epsilon": 1e-3})
    close(got, channels_last(wanted), 35)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_normalization_is_onnxruntimes(groups: int) -> None:
    rng = np.random.default_rng(13)
    x = rng.standard_normal((2, 4, 5, 6), np.float32) * 2 + 1
    scale, bias = (rng.standard_normal(6, np.float32) for _ in range(2))
    (got,) = ours("GroupNormalization", [x, scale, bias], {"num_groups": groups})
    (wanted,) = onnxruntime_node("GroupNormalization", [channels_first(x), scale, bias], {"num_groups": groups})
    close(got, channels_last(wanted), 120)


@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_normalization_is_onnxruntimes(axis: int) -> None:
    rng = np.random.default_rng(14)
    x = rng.standard_normal((3, 4, 6), np.float32)
    scale = rng.standard_normal(x.shape[axis:], np.float32)
    (got,) = ours("RMSNormalization", [x, scale], {"axis": axis})
    (wanted,) = onnxruntime_node("RMSNormalization", [x, scale], {"axis": axis}, opset=23)
    close(got, wanted, 24)


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization_is_onnxruntimes_and_keeps_zeros(axis: int, p: int) -> None:
    x = np.random.default_rng(15).standard_normal((4, 5), np.float32)
    x[2] = 0
    x[:, 1] = 0
    attrs = {"axis": axis, "p": p}
    close(ours("LpNormalization", [x], attrs)[0], onnxruntime_node("LpNormalization", [x], attrs)[0], 5)


def test_wrong_shapes_are_refused() -> None:
    x, three, four = np.zeros((1, 5, 5, 4), np.float32), np.zeros(3, np.float32), np.zeros(4, np.float32)
    with pytest.raises(ShapeError, match=r"expected input_var \(4,\), one value per channel, got \(3,\)"):
        inferred("BatchNormalization", [x, four, four, four, three], {})
    with pytest.raises(ShapeError, match=r"expected B to broadcast to \(4,\), got \(3,\)"):
        inferred("LayerNormalization", [x, four, three], {})
    with pytest.raises(ShapeError, match="expected num_groups that divides 4 channels, got 3"):
        inferred("GroupNormalization", [x, four, four], {"num_groups": 3})
    with pytest.raises(ShapeError, match=r"stem \(InstanceNormalization\): expected input \(N, \*spatial, C\)"):
        inferred("InstanceNormalization", [np.zeros((5, 4), np.float32), four, four], {})
    with pytest.raises(GraphError, match="num_groups"):
        inferred("GroupNormalization", [x, four, four], {})
