"""torch runs a random network: its outputs, and whole steps of training, in float32 or float64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alula.runtime.graph import Array
from tests.random_networks.draw import STATISTIC
from tests.random_networks.network import STEPS, Case
from tests.torch_network import TorchNetwork

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass
class Trained:
    """What steps of training gave: losses and outputs of each step, and the values of initializers after each."""

    losses: list[float]
    outputs: list[list[Array]]
    values: list[dict[str, Array]]


def _tensor(array: Array, dtype: torch.dtype, noise: float, rng: np.random.Generator) -> Tensor:
    if array.dtype != np.float32:
        return torch.from_numpy(array)
    wide = array.astype(np.float64) * (1 + noise * rng.uniform(-1, 1, array.shape))
    return torch.from_numpy(wide).to(dtype)


def _network(case: Case, trained: Sequence[str], dtype: torch.dtype) -> TorchNetwork:
    network = TorchNetwork(case.model, trained)
    return network.double() if dtype == torch.float64 else network


def infer(case: Case, dtype: torch.dtype = torch.float64) -> list[Array]:
    """All outputs, batch normalisations with their running statistics."""
    network, rng = _network(case, (), dtype).eval(), np.random.default_rng(0)
    with torch.no_grad():
        return [y.numpy() for y in network.results(*(_tensor(x, dtype, 0, rng) for x in case.inputs().values()))]


def loss_of(case: Case, output: Tensor, target: Array) -> Tensor:
    """The loss of a first output; a softmax at the end is taken as scores that are normalised already."""
    if not case.classes:
        return F.mse_loss(output, torch.from_numpy(target).to(output.dtype))
    scores = torch.log(output) if case.model.graph.node[-1].op_type == "Softmax" else output
    return F.cross_entropy(scores.reshape(-1, case.classes), torch.from_numpy(target).reshape(-1))


def train(case: Case, trained: Iterable[str], dtype: torch.dtype, noise: float = 0.0, seed: int = 0) -> Trained:
    """The steps of `STEPS`.

    trained : the initializers that change
    noise   : relative, of all inputs and weights, to see how well the results are conditioned
    """
    network, rng = _network(case, sorted(trained), dtype), np.random.default_rng(seed)
    if noise:
        with torch.no_grad():
            for tensor in network.parameters():
                tensor *= 1 + noise * torch.from_numpy(rng.uniform(-1, 1, tuple(tensor.shape)))
    network.train(case.batch_statistics is not False)
    name, options = case.recipe
    options = {{"epsilon": "eps"}.get(key, key): value for key, value in options.items()}
    lr = float(options["lr"])
    optimizer = OPTIMIZERS[name](network.parameters(), **options)
    kept = [n for n, at in network.places.items() if at.startswith("p") or case.roles.get(n) == STATISTIC]
    result = Trained([], [], [])
    for step, factor in enumerate(STEPS):
        optimizer.param_groups[0]["lr"] = lr * factor
        optimizer.zero_grad()
        outputs = network.results(*(_tensor(x, dtype, noise, rng) for x in case.inputs(step).values()))
        loss = loss_of(case, outputs[0], case.target(tuple(outputs[0].shape), step))
        loss.backward()
        optimizer.step()
        result.losses.append(float(loss.detach()))
        result.outputs.append([y.detach().numpy() for y in outputs])
        result.values.append({n: getattr(network, network.places[n]).detach().numpy().copy() for n in kept})
    return result
