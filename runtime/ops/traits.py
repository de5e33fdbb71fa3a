"""What training, passes and the packager need to know of an op besides its computation. The contract declares it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alula.runtime.frozen import frozen

# Roles of inputs that training may change; "statistic" is one that it follows
WEIGHT, BIAS, SCALE, SHIFT, SLOPE, TABLE, STATISTIC = "weight", "bias", "scale", "shift", "slope", "table", "statistic"
ROLES = (WEIGHT, BIAS, SCALE, SHIFT, SLOPE, TABLE, STATISTIC)

Axis = int | Callable[[Any], int | None] | None  # of a weight, or what it is for the attributes
Stage = Callable[[Any], tuple[str, float, float]]  # attributes -> stage of the elementwise kernel, and its two numbers
# (ONNX attributes, ranks of the inputs, lengths of those that are lists) -> rank of the outputs; None: not known
Rank = Callable[[Mapping[str, Any], Sequence[int | None], Sequence[int | None]], int | None]


@frozen
class Operand:
    """An input that holds something learned.

    role    : one of the above
    outputs : its axis of output channels: weights that have one can be quantised
    inputs  : its axis of input channels: of weights that have one, a part of the channels can be trained
    grouped : which of the two counts the channels of one group, "outputs" or "inputs", where an op has groups
    """

    role: str
    outputs: Axis = None
    inputs: Axis = None
    grouped: str = ""


@frozen
class Linear:
    """y = gain * product(x, weight) + bias_gain * bias: constant factors and summands next to it fold into the two.

    weight, bias : numbers of the inputs; bias None: it has none
    gain, bias_gain : names of attributes, "" for 1
    whole        : attrs -> whether each output sums over all inputs of the weight, and none of them is padding
    """

    weight: int
    bias: int | None = None
    gain: str = ""
    bias_gain: str = ""
    whole: Callable[[Any], bool] = lambda attrs: True


@frozen
class ChannelsLast:
    """The inputs and outputs of a spatial op that ONNX lays out (N, C, *spatial), and we (N, *spatial, C)."""

    inputs: tuple[int, ...] = (0,)
    outputs: tuple[int, ...] = (0,)


def axis_for(axis: Axis, attrs: Any) -> int | None:
    """An operand's axis for these attributes."""
    return axis(attrs) if callable(axis) else axis


def first(attrs: Mapping[str, Any], ranks: Sequence[int | None], lengths: Sequence[int | None]) -> int | None:
    """Outputs have the rank of the first input."""
    return ranks[0] if ranks else None


def broadcast(attrs: Mapping[str, Any], ranks: Sequence[int | None], lengths: Sequence[int | None]) -> int | None:
    """Inputs are broadcast against each other."""
    known = [rank for rank in ranks if rank is not None]
    return max(known, default=None) if len(known) == len(ranks) else None


def always(rank: int) -> Rank:
    """Outputs have this rank."""
    return lambda attrs, ranks, lengths: rank
