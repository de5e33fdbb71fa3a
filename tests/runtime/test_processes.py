"""A model in other processes: forked while it runs, pickled, copied, sent to a fresh one."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import alula
from alula.runtime.artifact import write_artifact
from alula.runtime.forks import ForkLock
from alula.runtime.graph import Array, Arrays
from alula.runtime.model import Model
from tests.runtime.planning.test_guards import residual

LIMIT_S = 20.0
IMAGE = np.random.default_rng(0).standard_normal((2, 9, 7, 3)).astype(np.float32)


def forked(work: Callable[[], bool]) -> int:
    """The exit status of a child that does the work: 0 if it is right, -SIGKILL if it hangs."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_fork_while_threads_run_a_model_gives_a_working_child(threads: int) -> None:
    model, stop = Model(residual(), threads=threads), threading.Event()
    wanted = model(IMAGE)

    def run() -> None:
        while not stop.is_set():
            model(IMAGE)

    runners = [threading.Thread(target=run) for _ in range(2)]
    for runner in runners:
        runner.start()
    try:
        answers = [forked(lambda: np.array_equal(model(IMAGE), wanted)) for _ in range(5)]
        planned = forked(lambda: model(IMAGE[:1]).shape == (1, *wanted.shape[1:]))
    finally:
        stop.set()
        for runner in runners:
            runner.join()
    assert (answers, planned) == ([0] * 5, 0)
    np.testing.assert_array_equal(model(IMAGE), wanted)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_lock_that_another_thread_holds_is_free_in_a_child() -> None:
    ours = ForkLock()
    with ours.lock:
        assert forked(lambda: ours.lock.acquire(timeout=1)) == 0
        assert ours.lock.locked()


def packed(folder: Path) -> Path:
    """A file with codes, floats and a graph."""
    graph = residual()
    weights = Arrays({name: graph.constants[name] for name in graph.constants})
    weights["a0.w"] = np.round(4 * weights["a0.w"]) / 4  # few values: stored as codes
    graph = graph.with_nodes(graph.nodes, weights)
    write_artifact(folder / "net.alula", {graph.name: graph}, {"task": "none"})
    return folder / "net.alula"


def test_a_pickled_model_is_the_network_of_its_file(tmp_path: Path) -> None:
    path = packed(tmp_path)
    model = alula.load(path, threads=1, max_bytes=1 << 24)
    wanted = model(IMAGE)
    size = path.stat().st_size
    sent = pickle.dumps(model)
    path.unlink()
    got = pickle.loads(sent)
    assert len(sent) < 1.5 * size + 20_000  # constants as they are stored
    assert (got.threads, got.max_bytes, got.metadata, got.inputs) == (1, 1 << 24, {"task": "none"}, model.inputs)
    np.testing.assert_array_equal(got(IMAGE), wanted)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_a_model_of_its_own(copied: Callable[[Model], Model]) -> None:
    model = Model(residual(), threads=2)
    wanted = model(IMAGE)
    other = copied(model)
    np.testing.assert_array_equal(other(IMAGE), wanted)
    assert other.graph is model.graph and other._store is not model._store and other._arena is not model._arena


def _answer(model: Model, image: Array) -> Array:
    return model(image)


def test_a_model_is_sent_to_a_fresh_process(tmp_path: Path) -> None:
    model = alula.load(packed(tmp_path), threads=2)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        got = pool.apply_async(_answer, (model, IMAGE)).get(LIMIT_S)
    np.testing.assert_array_equal(got, model(IMAGE))
