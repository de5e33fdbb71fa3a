"""Filters in two parts give the bits of whole ones; what is asked for ahead is read soon; small variables share pages."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.graph import Graph
from alula.runtime.look_ahead import LEAST_BYTES, RECENT, WAYS
from alula.runtime.lower import winograd
from alula.runtime.lowering import Instruction, Ref
from alula.runtime.model import Model
from alula.runtime.program import Program
from alula.runtime.train import MSE, SGD, Trainer
from alula.runtime.variables import SMALL_BYTES, Slab
from tests.runtime.passes.networks import Builder, picture
from tests.runtime.train.digits import network


def _residual(c_in: int, c: int) -> Graph:
    """Convolutions with bias, whose gradients meet in a sum behind a Relu."""
    b = Builder(0, x=picture(c_in))
    pads = {"pads": (1, 1, 1, 1)}
    first = b.node("Relu", b.conv("x", c_in, c, 3, **pads))
    second = b.node("Relu", b.conv(first, c, c, 3, **pads))
    return b.graph(b.node("Add", first, b.conv(second, c, c, 3, **pads)))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("c", "size"), [(64, (7, 9)), (88, (8, 8)), (96, (5, 4))])
def test_filters_in_two_parts_give_the_same_bits(
    c: int, size: tuple[int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, graph = np.random.default_rng(1), _residual(40, c)
    x, y = (rng.standard_normal((3, channels, *size)).astype(np.float32) for channels in (40, c))
    found = []
    for most in (1 << 40, 1):
        monkeypatch.setattr(winograd, "MOST_FILTER_BYTES", most)
        trainer = Trainer(graph, SGD(lr=1e-4, momentum=0.9), MSE(), threads=threads)
        for _ in range(2):
            loss = trainer.step(x, y).loss
        products = [i for i in trainer.program(x).instructions if i.kernel and i.kernel.name == "f32_winograd"]
        found.append((loss, trainer.values(), len(products)))
    (whole, values, count), (split, others, more) = found
    assert more == 2 * count
    assert whole == split
    for name, value in values.items():
        assert np.array_equal(value, others[name]), name


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Instruction]:
    """The instructions of all programs that are made, with their words, which a program does not keep."""
    instructions: list[Instruction] = []
    original = Program._assemble

    def recorded(program: Program) -> None:
        instructions.extend(Instruction(i.kernel, list(i.words), i.node) for i in program.instructions)
        original(program)

    monkeypatch.setattr(Program, "_assemble", recorded)
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
    kernels = {name for name in sizes if name.endswith("conv2.weight") and sizes[name] >= LEAST_BYTES}
    assert len(kernels) == 9
    assert kernels <= asked
    assert {f"{name}|momentum" for name in kernels} <= asked


def test_inference_asks_for_nothing(seen: list[Instruction]) -> None:
    Model(network("resnet20-cifar"), 1)(np.zeros((1, 3, 32, 32), np.float32))
    asked = [pair for instruction in seen for pair in _asked(instruction)]
    assert len(asked) >= 2 * 9
    assert set(asked) == {(0, 0)}


def test_small_variables_share_pages_and_do_not_overlap() -> None:
    slab = Slab()
    sizes = [16, 1, 0, SMALL_BYTES // 4, SMALL_BYTES // 4 + 1, 100_000, *range(1, 200)]
    arrays = [slab.empty(size, np.dtype("float32")) for size in sizes]
    for number, array in enumerate(arrays):
        assert array.ctypes.data % 64 == 0
        array[:] = number
    for number, (size, array) in enumerate(zip(sizes, arrays, strict=True)):
        assert array.shape == (size,)
        assert (array == number).all()
    pages = {array.ctypes.data // 4096 for array in arrays[6:]}
    assert len(pages) < 40
