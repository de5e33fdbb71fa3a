"""The short way through a small network: the answers of the long one, in arrays of the caller's own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from alula.runtime.errors import DTypeError, GraphError, ShapeError
from alula.runtime.graph import Array, Arrays, Graph, Node, TensorSpec
from alula.runtime.model import MAX_PROGRAMS, Model
from alula.runtime.planning.reference import evaluate
from alula.runtime.threads import team
from tests.runtime.planning.test_guards import node, residual

DENSE = 32
RNG = np.random.default_rng(0)


def dense(*more: Node, outputs: tuple[str, ...] = ("y",), inputs: str = "x") -> Graph:
    """A fully connected layer and whatever follows it."""
    constants = Arrays(
        w=RNG.standard_normal((16, DENSE)).astype(np.float32), b=RNG.standard_normal(DENSE).astype(np.float32)
    )
    specs = {name: TensorSpec(("n", 16)) for name in inputs.split()}
    return Graph("dense", specs, outputs, (node("Gemm", "x w b", "y"), *more), constants)


def feed(seed: int = 0, n: int = 2) -> Array:
    return np.random.default_rng(seed).standard_normal((n, 16)).astype(np.float32)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Makes models as users have them: without the checks, under which nothing takes the short way."""
    monkeypatch.delenv("ALULA_CHECK")
    return Model


def is_short(model: Model) -> bool:
    return all(program.call is not None for program in model._programs.values())


@pytest.mark.parametrize("threads", [1, 2])
def test_every_call_gives_the_same_bits_in_arrays_of_its_own(quick: Callable[..., Model], threads: int) -> None:
    model = quick(dense(), threads=threads)
    feeds = [feed(seed) for seed in range(3)]
    first, again = [model(x) for x in feeds], [model(x) for x in feeds]
    assert is_short(model)
    for x, one, two in zip(feeds, first, again, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, model.run({"x": x})["y"])
        assert not np.shares_memory(one, two) and two.flags.owndata and two.flags.writeable


def test_what_is_not_as_planned_is_converted_or_refused_as_in_the_first_call(quick: Callable[..., Model]) -> None:
    model, x = quick(dense()), feed()
    wanted = model(x)
    np.testing.assert_array_equal(model(np.asfortranarray(x)), wanted)
    np.testing.assert_array_equal(model(x[::-1])[::-1], wanted)
    np.testing.assert_array_equal(model(x.astype(">f4")), wanted)
    np.testing.assert_array_equal(model(x.view(np.recarray)), wanted)
    np.testing.assert_array_equal(model(x=x), wanted)
    with pytest.raises(DTypeError, match="expected a NumPy array, got list"):
        model(x.tolist())
    np.testing.assert_array_equal(model(np.ma.array(x)), wanted)
    with pytest.raises(DTypeError, match="input x: expected an array without a mask"):
        model(np.ma.masked_greater(x, 0))
    for listed in ([x], [], (x,), x, None):
        with pytest.raises(DTypeError, match="pass a dict"):
            model.run(listed)
    with pytest.raises(DTypeError, match="float64"):
        model(x.astype(np.float64))
    with pytest.raises(ShapeError):
        model(x[:, :3])
    for wrong in ((), (x, x)):
        with pytest.raises(GraphError, match="pass each once"):
            model(*wrong)
    with pytest.raises(GraphError, match="rename it"):
        model.run({"z": x})


def test_outputs_that_are_one_buffer_are_two_arrays(quick: Callable[..., Model]) -> None:
    graph = dense(node("Flatten", "y", "flat"), outputs=("y", "flat"))
    model, x = quick(graph), feed()
    for _ in range(2):
        arrays = model(x)
        assert len(arrays) == 2
        for array, wanted in zip(arrays, (evaluate(graph, {"x": x})[name] for name in graph.outputs), strict=True):
            np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-5)
        assert not np.shares_memory(*arrays)


def test_outputs_that_nothing_computes_take_the_long_way(quick: Callable[..., Model]) -> None:
    graph = dense(outputs=("y", "x", "b"))
    model, x = quick(graph), feed()
    for _ in range(2):
        _, same, bias = model(x)
        np.testing.assert_array_equal(same, x)
        np.testing.assert_array_equal(bias, graph.constants["b"])
        same[:] = bias[:] = 0


def test_inputs_by_name_come_in_any_order(quick: Callable[..., Model]) -> None:
    graph = dense(node("Sub", "x u", "d"), outputs=("d", "y"), inputs="x u")
    model, x, u = quick(graph), feed(0), feed(1)
    for _ in range(2):
        for named in ({"x": x, "u": u}, {"u": u, "x": x}):
            np.testing.assert_array_equal(model.run(named)["d"], x - u)
            np.testing.assert_array_equal(model(**named)[0], x - u)
    assert len(model._programs) == 1 and is_short(model)


def test_an_input_may_have_any_name(quick: Callable[..., Model]) -> None:
    graph = dense(node("Sub", "x self", "d"), outputs=("d",), inputs="x self")
    np.testing.assert_array_equal(quick(graph)(x=feed(0), self=feed(1)), feed(0) - feed(1))


def test_large_and_small_inputs_take_turns_on_one_arena(quick: Callable[..., Model]) -> None:
    model = quick(residual())
    sizes = [1, 2, 100, 3, 1]
    rng = np.random.default_rng(0)
    feeds = [rng.standard_normal((n, 9, 7, 3)).astype(np.float32) for n in sizes]
    first = [model(x) for x in feeds]
    for x, wanted in zip(feeds, first, strict=True):
        np.testing.assert_array_equal(model(x), wanted)
        np.testing.assert_array_equal(quick(residual())(x), wanted)


def test_the_program_used_longest_ago_goes_first(quick: Callable[..., Model]) -> None:
    model, x = quick(dense()), feed()
    model(x)
    for n in range(3, 3 + MAX_PROGRAMS):
        model(feed(n=n))
        model(x)
    assert len(model._programs) == MAX_PROGRAMS
    kept = [program.network.inputs["x"].dims[0] for program in model._programs.values()]
    assert kept[-1] == 2 and 3 not in kept


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_that_call_at_once_get_their_own_answers(quick: Callable[..., Model], threads: int) -> None:
    small, large = quick(dense(), threads=threads), quick(residual(), threads=threads)
    feeds = [feed(seed) for seed in range(4)]
    images = [np.full((2, 9, 7, 3), seed, np.float32) for seed in range(4)]
    wanted = [(small(x), large(image)) for x, image in zip(feeds, images, strict=True)]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(150):
            if not (np.array_equal(small(feeds[i]), wanted[i][0]) and np.array_equal(large(images[i]), wanted[i][1])):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_tiny_network_wakes_nobody(quick: Callable[..., Model]) -> None:
    model = quick(dense(), threads=7)
    model(feed())
    model(feed())
    assert not team(7).workers
