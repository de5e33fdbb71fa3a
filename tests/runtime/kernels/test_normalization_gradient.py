"""Batch normalisation in training: precision, and results that do not depend on the number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.graph import Array, Graph, Node, TensorSpec
from alula.runtime.model import Model
from alula.runtime.ops.contract import find
from alula.runtime.planning.lowering import LOWERING
from tests.runtime.kernels.lowered import run
from tests.runtime.training_cases import training


def statistics(x: Array) -> tuple[Array, Array]:
    """Mean and 1 / standard deviation of each channel, by the kernels."""
    c = x.shape[-1]
    op = find("BatchNormalizationTraining", "")
    attrs = op.make_attrs({"epsilon": 0.0}, "")
    ones = np.ones(c, np.float32)
    inputs = {"x": x, "scale": ones, "bias": ones, "mean": ones, "var": ones}
    outputs = {"y": x.shape, "new_mean": (c,), "new_var": (c,), "saved_mean": (c,), "saved_inv_std": (c,)}
    rule = LOWERING.find(op)
    assert rule
    got = run(rule, op.name, attrs, inputs, outputs, threads=2)
    return got["saved_mean"], got["saved_inv_std"]


@pytest.mark.parametrize("offset", [0.0, 10.0, -1e3, 1e5])
def test_the_variance_of_a_batch_survives_a_large_mean(offset: float) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((4, 40, 31, 21)) + offset).astype(np.float32)
    mean, inverse = statistics(x)
    wide = x.astype(np.float64).reshape(-1, 21)
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(inverse, 1 / wide.std(0), rtol=1e-5)


def test_the_variance_of_a_batch_survives_outliers_wherever_they_are() -> None:
    rng = np.random.default_rng(1)
    for place in (0, 1, 255, 256, 1023):  # the first rows decide what distances are measured from
        x = rng.standard_normal((1024, 19)).astype(np.float32)
        x[place] += 3e3
        mean, inverse = statistics(x)
        wide = x.astype(np.float64)
        np.testing.assert_allclose(mean, wide.mean(0), atol=1e-6 * wide.std(0).max())
        np.testing.assert_allclose(inverse, 1 / wide.std(0), rtol=1e-5)


def test_a_channel_that_is_constant_has_no_variance() -> None:
    x = np.full((700, 5), 0.1, np.float32)
    _, inverse = statistics(x)
    assert np.isinf(inverse).all()


def test_no_result_of_training_depends_on_the_number_of_threads() -> None:
    for case in training(16):
        if case.fused:
            continue
        graph, feeds = case.build()
        alone = Model(graph, threads=1).run(feeds)
        for threads in (2, 3):
            shared = Model(graph, threads=threads).run(feeds)
            for name, array in alone.items():
                np.testing.assert_array_equal(shared[name], array, err_msg=f"{case.label} {name}")


def test_a_rectifier_does_not_hide_what_is_not_a_number() -> None:
    x = np.ones((6, 20), np.float32)
    x[2, 3] = np.nan
    op = find("BatchNormalizationTraining", "")
    vectors = {name: np.ones(20, np.float32) for name in ("scale", "bias", "mean", "var")}
    stages = (Node("Relu", ("y|body",), ("y",), find("Relu", "").make_attrs({}, "")),)
    node = Node(op.name, ("x", *vectors), ("y", "", "", "", ""), op.make_attrs({}, ""), "node", stages)
    inputs = {name: TensorSpec.of(array) for name, array in {"x": x, **vectors}.items()}
    y = Model(Graph("g", inputs, ("y",), (node,))).run({"x": x, **vectors})["y"]
    assert np.isnan(y[:, 3]).all() and np.isfinite(np.delete(y, 3, 1)).all()
