"""LSTM, GRU and RNN against onnxruntime, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alula.runtime.errors import ShapeError
from alula.runtime.graph import Array
from tests.runtime.ops.oracle import close, inferred, onnxruntime_node, ours

T, N, C, H = 5, 3, 4, 6
DIRECTIONS = ["forward", "reverse", "bidirectional"]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}


def operands(op: str, direction: str, seed: int, states: bool = True, peepholes: bool = False) -> list[Array | None]:
    """Random inputs in ONNX's order, with sequences of unequal length."""
    rng = np.random.default_rng(seed)
    d, g = 1 + (direction == "bidirectional"), GATES[op]

    def draw(*shape: int) -> Array:
        return rng.uniform(-1, 1, shape).astype(np.float32)

    inputs = [draw(T, N, C), draw(d, g * H, C), draw(d, g * H, H), draw(d, 2 * g * H)]
    inputs += [np.array([5, 2, 4], np.int32), draw(d, N, H)] if states else []
    if op == "LSTM" and states:
        inputs += [draw(d, N, H)]
        inputs += [draw(d, 3 * H)] if peepholes else []
    return inputs


def compare(op: str, inputs: list[Array | None], attrs: dict[str, Any]) -> None:
    """Every output, ours against onnxruntime's."""
    attrs = {"hidden_size": H, **attrs}
    got = ours(op, inputs, attrs)
    wanted = onnxruntime_node(op, inputs, attrs, n_outputs=len(got))
    for mine, theirs in zip(got, wanted, strict=True):
        close(mine, theirs, 4 * T * (C + H))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_directions_lengths_and_states_are_onnxruntimes(op: str, direction: str) -> None:
    compare(op, operands(op, direction, 16), {"direction": direction})


@pytest.mark.parametrize("op", GATES)
def test_optional_inputs_may_be_absent(op: str) -> None:
    inputs = operands(op, "forward", 17, states=False)
    compare(op, inputs, {})
    compare(op, inputs[:3], {})
    compare(op, [*inputs[:3], None, None, np.full((1, N, H), 0.5, np.float32)], {})


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_lstm_with_peepholes_and_input_forget_is_onnxruntimes(direction: str) -> None:
    inputs = operands("LSTM", direction, 18, peepholes=True)
    compare("LSTM", inputs, {"direction": direction})
    compare("LSTM", inputs, {"direction": direction, "input_forget": 1})


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gru_with_linear_before_reset_is_onnxruntimes(direction: str) -> None:
    compare("GRU", operands("GRU", direction, 19), {"direction": direction, "linear_before_reset": 1})


@pytest.mark.parametrize("op", GATES)
def test_clip_is_onnxruntimes(op: str) -> None:
    compare(op, operands(op, "bidirectional", 20), {"direction": "bidirectional", "clip": 0.4})


@pytest.mark.parametrize("names", [("HardSigmoid", "Relu", "Softsign"), ("Sigmoid", "ScaledTanh", "Affine")], ids=str)
@pytest.mark.parametrize("op", GATES)
def test_activations_take_their_parameters_in_order(op: str, names: tuple[str, ...]) -> None:
    functions = names[-FUNCTIONS[op] :] if op == "RNN" else names[: FUNCTIONS[op]]
    n = 2 if op == "LSTM" and "Affine" in names else 1
    attrs = {"activations": functions, "activation_alpha": (0.3, 0.7)[:n], "activation_beta": (0.4, 0.1)[:n]}
    if functions == ("Softsign",):  # onnxruntime would warn of numbers that nothing takes
        attrs = {"activations": functions}
    compare(op, operands(op, "forward", 21), attrs)


@pytest.mark.parametrize("op", GATES)
def test_layout_1_is_the_same_with_the_batch_first(op: str) -> None:
    inputs = operands(op, "bidirectional", 22)
    wanted = ours(op, inputs, {"direction": "bidirectional"})
    swapped = [x if x is None or i not in (0, 5, 6) else x.swapaxes(0, 1) for i, x in enumerate(inputs)]
    got = ours(op, swapped, {"direction": "bidirectional", "layout": 1})
    np.testing.assert_array_equal(got[0], wanted[0].transpose(2, 0, 1, 3))
    for mine, theirs in zip(got[1:], wanted[1:], strict=True):
        np.testing.assert_array_equal(mine, theirs.swapaxes(0, 1))


@pytest.mark.parametrize("op", GATES)
def test_wrong_operands_are_refused(op: str) -> None:
    inputs = operands(op, "forward", 23)
    with pytest.raises(ShapeError, match=rf"stem \({op}\): expected W \(1, {GATES[op] * H}, 3\), got"):
        inferred(op, [inputs[0][..., :3], *inputs[1:]], {})
    with pytest.raises(ShapeError, match="expected R of 7 hidden units"):
        inferred(op, inputs, {"hidden_size": 7})
    with pytest.raises(ShapeError, match="expected sequence_lens from 0 to 5, got"):
        inferred(op, [*inputs[:4], np.array([5, 6, 1], np.int32), *inputs[5:]], {})
    with pytest.raises(ShapeError, match="expected an activation among"):
        inferred(op, inputs, {"activations": ("Sine",) * FUNCTIONS[op]})
    with pytest.raises(ShapeError, match="expected direction to be one of"):
        inferred(op, inputs, {"direction": "sideways"})
