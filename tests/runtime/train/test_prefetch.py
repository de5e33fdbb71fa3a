"""What products ask for while they compute is what the next instructions read."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.model import Model
from alula.runtime.planning import binding
from alula.runtime.planning.lowering import Instruction, Ref
from alula.runtime.planning.prefetch import MIN_BYTES, RECENT, WAYS
from alula.runtime.train import SGD, Trainer
from tests.runtime.train.digits import network


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Instruction]:
    """The instructions of all programs that are made, with their words, which a program does not keep."""
    instructions: list[Instruction] = []
    original = binding.Tables.__init__

    def recorded(tables: binding.Tables, of_program: list[Instruction], external: set[str]) -> None:
        instructions.extend(Instruction(i.kernel, list(i.words), i.node) for i in of_program)
        original(tables, of_program, external)

    monkeypatch.setattr(binding.Tables, "__init__", recorded)
    return instructions


def _asked(instruction: Instruction) -> list[tuple[object, object]]:
    """What it asks for: pairs (address, lines)."""
    arguments = instruction.kernel.arguments if instruction.kernel else ()
    if WAYS[0][0] not in arguments:
        return []
    return [(instruction.words[arguments.index(a)], instruction.words[arguments.index(n)]) for a, n in WAYS]


def test_products_ask_for_what_comes_next(seen: list[Instruction]) -> None:
    """Every large weight, and what the optimiser remembers of it, is asked for before it is read, if it is not near."""
    rng = np.random.default_rng(0)
    trainer = Trainer(network("resnet20-cifar"), SGD(0.05, 0.9), threads=1)
    trainer.step(rng.standard_normal((8, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, 8))
    sizes = {name: variable.nbytes for name, variable in trainer._variables.items()}
    asked = set[str]()
    for i, instruction in enumerate(seen):
        for word, count in _asked(instruction):
            if not count:
                continue
            assert isinstance(word, Ref) and isinstance(count, int)
            assert 0 < 64 * count <= sizes[word.buffer]
            reads = [k for k, other in enumerate(seen) if k != i and word.buffer in other.named]
            assert min(k - i for k in reads if k > i) < RECENT
            asked.add(word.buffer)
    kernels = {name for name in sizes if name.endswith("conv2.weight") and sizes[name] >= MIN_BYTES}
    assert len(kernels) == 9
    assert kernels <= asked
    assert {f"{name}|momentum" for name in kernels} <= asked


def test_inference_asks_for_nothing(seen: list[Instruction]) -> None:
    Model(network("resnet20-cifar"), 1)(np.zeros((1, 3, 32, 32), np.float32))
    asked = [pair for instruction in seen for pair in _asked(instruction)]
    assert len(asked) >= 2 * 9
    assert set(asked) == {(0, 0)}
