"""Averages of the weights, and statistics of batch normalisations that are made anew for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alula.runtime.errors import GraphError
from alula.runtime.model import Model
from alula.runtime.train import EMA, SGD, SWA, Trainer
from tests.runtime.train.digits import batches, network, trainer


@pytest.mark.parametrize("averaging", [EMA(0.8), EMA(0.5, warm_up=False), SWA(), SWA(start=3, period=2)])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_average_follows_the_weights(averaging: EMA | SWA, accumulate: int) -> None:
    own = trainer(SGD(0.002), averaging=averaging, accumulate=accumulate)
    expected = {name: own.graph.constants[name].astype(np.float64) for name in own.trained}
    for batch in batches(7 * accumulate):
        if own.step(*batch).updated:
            rate, values = averaging.rate(own.steps - 1), own.values()
            for name, mean in expected.items():
                mean += rate * (values[name] - mean)
    averaged = own.averaged_graph().constants
    for name, mean in expected.items():
        assert np.allclose(averaged[name], mean, rtol=1e-5, atol=1e-6), name
        assert not np.array_equal(averaged[name], own.values()[name]), name


def test_swa_is_the_mean_of_the_weights_that_count() -> None:
    own, seen = trainer(SGD(0.002), averaging=SWA(start=2, period=2)), []
    for batch in batches(6):
        own.step(*batch)
        seen.append(own.values()["fc2.weight"])
    assert np.allclose(own.averaged_graph().constants["fc2.weight"], np.mean(seen[1::2], axis=0), rtol=1e-5, atol=1e-6)


def test_statistics_are_those_of_the_batches() -> None:
    graph, rng = network("resnet20-cifar"), np.random.default_rng(0)
    inputs = [rng.standard_normal((8, 3, 32, 32)).astype(np.float32) for _ in range(3)]
    own = Trainer(graph, SGD(0.1), averaging=EMA(), threads=1)
    own.step(inputs[0], np.zeros(8, np.int64))
    renewed = own.averaged_graph([(x,) for x in inputs])
    node = next(node for node in renewed.nodes if node.op == "BatchNormalization")
    kept = own.averaged_graph()
    first = next(n for n in kept.nodes if n.op == "Conv")
    assert first.outputs[0] == node.inputs[0]
    model = Model(replace(kept, outputs=(first.outputs[0],)), 1)
    outputs = [np.asarray(model(x), np.float64) for x in inputs]
    assert np.allclose(renewed.constants[node.inputs[3]], np.mean([y.mean((0, 1, 2)) for y in outputs], 0), atol=1e-5)
    wanted = np.mean([y.reshape(-1, y.shape[-1]).var(0, ddof=1) for y in outputs], 0)
    assert np.allclose(renewed.constants[node.inputs[4]], wanted, rtol=1e-4)


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(GraphError, match="expected an average"):
        trainer().averaged_graph()
    with pytest.raises(GraphError, match="0 <= decay < 1"):
        EMA(1.0)
    with pytest.raises(GraphError, match="period >= 1"):
        SWA(period=0)
