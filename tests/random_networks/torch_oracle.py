"""torch runs a random network: its outputs, and whole steps of training, in float32 or float64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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


class _Rounded(torch.autograd.Function):
    """Numbers that are off by a share of themselves and of their like, on the way forward and on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: float, rng: np.random.Generator) -> Tensor:
        ctx.noise, ctx.rng = noise, rng
        return _off(x, noise, rng)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _off(grad, ctx.noise, ctx.rng), None, None


class _RoundedSoftmax(torch.autograd.Function):
    """A softmax whose shares do not sum to 1 by rounding: of a saturated one, that is all that flows back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, noise: float, rng: np.random.Generator) -> Tensor:
        ctx.axis, y = axis, torch.softmax(x, axis)
        y = y * (1 + noise * torch.from_numpy(rng.uniform(-1, 1, tuple(y.shape))).to(y.dtype))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (y,) = ctx.saved_tensors
        return (grad - (grad * y).sum(ctx.axis, keepdim=True)) * y, None, None, None


class _Same(list[Tensor]):
    """Tensors, told apart by identity."""

    def __contains__(self, x: object) -> bool:
        return any(x is other for other in self)


def _off(x: Tensor, noise: float, rng: np.random.Generator) -> Tensor:
    """A sum that cancels is off by a share of its terms; the median stands for these, and is not led by a mask."""
    finite = x.detach().isfinite()  # a mask's infinities are exact
    size = torch.where(finite, x.detach().abs(), 0)
    median = size[finite].median() if finite.any() else 0
    off = noise * (size + median) * torch.from_numpy(rng.uniform(-1, 1, tuple(x.shape))).to(x.dtype)
    return torch.where(finite, x + off, x)


def _tensor(array: Array, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(array).to(dtype) if array.dtype == np.float32 else torch.from_numpy(array)


def _network(case: Case, trained: Sequence[str], dtype: torch.dtype) -> TorchNetwork:
    network = TorchNetwork(case.model, trained)
    return network.double() if dtype == torch.float64 else network


def infer(case: Case, dtype: torch.dtype = torch.float64) -> list[Array]:
    """All outputs, batch normalisations with their running statistics."""
    network = _network(case, (), dtype).eval()
    with torch.no_grad():
        return [y.numpy() for y in network.results(*(_tensor(x, dtype) for x in case.inputs().values()))]


def loss_of(case: Case, output: Tensor, target: Array) -> Tensor:
    """The loss of a first output; a softmax at the end is taken as scores that are normalised already."""
    if not case.classes:
        return F.mse_loss(output, torch.from_numpy(target).to(output.dtype))
    scores = torch.log(output) if case.model.graph.node[-1].op_type == "Softmax" else output
    return F.cross_entropy(scores.reshape(-1, case.classes), torch.from_numpy(target).reshape(-1))


def train(case: Case, trained: Iterable[str], dtype: torch.dtype, noise: float = 0.0, seed: int = 0) -> Trained:
    """The steps of `STEPS`.

    trained : the initializers that change
    noise   : relative, of what every node makes and of its gradient: what rounding does to these results
    """
    network, rng = _network(case, sorted(trained), dtype), np.random.default_rng(seed)

    def rounded(x: Any) -> Any:
        floats = isinstance(x, Tensor) and x.is_floating_point()
        return _Rounded.apply(x, noise, rng) if noise and floats and x not in shares else x

    def softmax(module: Any, attrs: Any, values: Any) -> Tensor:
        shares.append(_RoundedSoftmax.apply(values[0], attrs.get("axis", -1), noise, rng))
        return shares[-1]

    shares = _Same()  # rounded already, and never below 0
    if noise:
        network.runs = [
            (softmax, attrs) if node.op_type == "Softmax" else (run, attrs)
            for node, (run, attrs) in zip(network.nodes, network.runs, strict=True)
        ]
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
        inputs = [_tensor(x, dtype) for x in case.inputs(step).values()]
        outputs = network.results(*inputs, after=rounded)
        loss = loss_of(case, outputs[0], case.target(tuple(outputs[0].shape), step))
        loss.backward()
        if case.clip_norm:
            torch.nn.utils.clip_grad_norm_(network.parameters(), case.clip_norm)
        optimizer.step()
        result.losses.append(float(loss.detach()))
        result.outputs.append([y.detach().numpy() for y in outputs])
        result.values.append({n: getattr(network, network.places[n]).detach().numpy().copy() for n in kept})
    return result
