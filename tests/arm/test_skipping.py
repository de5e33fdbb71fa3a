"""A residual block of ResNet-20 that is skipped costs a board what the network built without it costs, by count."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.arm.boards import BOARDS, Board, ensure
from tests.arm.counting import CACHES, environment, plugin

# What the guest runs: instructions of the kernels in an inference and in a step of training, for each packed network
COUNT = """
import json, sys
import numpy as np
import alula
from alula.runtime.compiler import library
from alula.runtime.train import SGD
from tests.arm import counter
counter.set_region(*counter.code_of(library().path))
rng = np.random.default_rng(0)
x, y = rng.standard_normal((1, 3, 32, 32)).astype(np.float32), np.array([3])
for path in sys.argv[1:]:
    model = alula.load(path, threads=1)
    flags = [np.array(value) for value in (0, 1)] if "flag" in model.inputs else [None]
    trainer = model.trainer(optimizer=SGD(lr=1e-3, momentum=0.9))
    for flag in flags:
        given = [x] if flag is None else [x, flag]
        model(*given), trainer.step(*given, y)
        counts = [counter.of_region(lambda: model(*given))["all"], counter.of_region(lambda: trainer.step(*given, y))["all"]]
        print(json.dumps(counts), flush=True)
"""


@pytest.fixture
def board() -> Board:
    """A Raspberry Pi 3."""
    if not shutil.which("qemu-aarch64") or not shutil.which("gcc") or not BOARDS["pi3"].executable.exists():
        pytest.skip("expected an emulator, a C compiler and boards, got none; run make test-arm")
    return ensure()["pi3"]


def test_a_skipped_block_costs_what_the_network_without_it_costs(board: Board, tmp_path: Path) -> None:
    from alula.host.onnx.importer import import_onnx
    from alula.host.pack import pack
    from alula.host.zoo import build
    from alula.runtime.passes.guards import with_guard
    from alula.runtime.passes.trainable import trainable_form
    from tests.bench.skipping import block, without

    graph = trainable_form(import_onnx(build("resnet20-cifar")).graph)
    forms = {
        "guarded": with_guard(graph, *block(graph), "flag"), "without": without(graph, *block(graph)), "whole": graph
    }  # fmt: skip
    paths = []
    for name, form in forms.items():
        paths.append(tmp_path / f"{name}.alula")
        pack({name: form}, paths[-1], trainable=True)
    result = board.python(
        "-c", COUNT, *paths, plugin=f"{plugin()},region=later,{CACHES[board.cpu]}", env=environment(), timeout_s=900
    )
    assert result.returncode == 0, result.stderr[-500:]
    skipped, running, without_it, whole = (json.loads(line) for line in result.stdout.splitlines())
    for name, a, b, c in zip(("inference", "step"), skipped, without_it, running, strict=True):
        assert a == pytest.approx(b, rel=0.01), (name, a / b)
        assert a < 0.93 * c, name
    assert running[1] == pytest.approx(whole[1], rel=0.01)
