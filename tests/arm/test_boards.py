"""The kernels, a network and a step of its training on the emulated boards, beside references and this machine's answers.

The case table runs once for each CPU; what depends on Python and NumPy runs on every release.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import alula
from alula.runtime.compiler import build
from tests.arm.boards import BOARDS, CHECKOUT, MAIN, Board, ensure
from tests.arm.debian import RELEASES, BoardsError
from tests.bench.networks import prepare
from tests.runtime.kernel_cases import CASES

PROCESSES = 4  # per board: each takes every fourth case
on_every_release = pytest.mark.parametrize("release", RELEASES)


@pytest.fixture(scope="module")
def boards() -> Iterator[dict[str, Board]]:
    """The boards, with a pack for each CPU."""
    try:
        ensure()
    except BoardsError as error:
        pytest.skip(str(error))
    for name in MAIN:
        build(BOARDS[name].cpu)
    yield {name: BOARDS[name] for name in MAIN}


def environment() -> dict[str, str]:
    """This checkout and this machine's kernel cache, as a board's Python is told of them."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return {"PYTHONPATH": str(CHECKOUT), "XDG_CACHE_HOME": cache, "OPENBLAS_NUM_THREADS": "1", "ALULA_CHECK": "1"}


def told_by(board: Board, *arguments: str) -> dict[str, object]:
    """The JSON object that a module prints on a board."""
    result = board.python("-m", *arguments, env=environment())
    assert result.returncode == 0, result.stderr[-2000:]
    document: dict[str, object] = json.loads(result.stdout)
    return document


def test_no_board_has_the_compiler(boards: dict[str, Board]) -> None:
    for board in boards.values():
        for module in ("numba", "llvmlite"):
            result = board.python("-c", f"import {module}", env=environment())
            assert "ModuleNotFoundError" in result.stderr


@pytest.mark.parametrize("name", MAIN)
def test_all_kernel_cases_equal_their_references(boards: dict[str, Board], name: str) -> None:
    board = boards[name]
    shares = [str(share) for share in range(PROCESSES)]
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda share: told_by(board, "tests.arm.run_cases", share, str(PROCESSES)), shares))
    assert [part["cpu"] for part in told] == [board.cpu] * PROCESSES
    assert [part["imported"] for part in told] == [[]] * PROCESSES
    failed = [case for part in told for case in part["failed"]]  # type: ignore[attr-defined]
    assert failed == []
    # the table has as many cases there as here, but for those that depend on the width of a vector
    assert abs(sum(int(str(part["cases"])) for part in told) - len(CASES)) <= len(CASES) // 10


@on_every_release
def test_a_release_has_its_own_python_and_debians_numpy(boards: dict[str, Board], release: str) -> None:
    code = "import sys, numpy, psutil; print('%d.%d' % sys.version_info[:2], numpy.__version__, numpy.__file__)"
    result = boards["pi3"].on(RELEASES[release]).python("-c", code, env=environment())
    python, numpy, where = result.stdout.split()
    assert (python, numpy[:2]) == {"bookworm": ("3.11", "1."), "trixie": ("3.13", "2.")}[release]
    assert where.endswith("/usr/lib/python3/dist-packages/numpy/__init__.py")


@on_every_release
@pytest.mark.parametrize("name", MAIN)
def test_a_packed_network_answers_as_it_does_here(
    boards: dict[str, Board], name: str, release: str, tmp_path: Path
) -> None:
    network = prepare("resnet20", tmp_path)
    wanted = alula.load(network.packed, threads=1).run(network.values)
    np.savez(tmp_path / "in.npz", **network.values)
    script = (
        "import sys, numpy as np, alula\n"
        "packed, values, out = sys.argv[1:]\n"
        "feeds = dict(np.load(values))\n"
        "one, two = (alula.load(packed, threads=n).run(feeds) for n in (1, 2))\n"
        "assert all(np.array_equal(one[k], two[k]) for k in one)\n"
        "assert not {'numba', 'llvmlite'} & set(sys.modules)\n"
        "np.savez(out, **one)\n"
    )
    out = tmp_path / "out.npz"
    result = (
        boards[name]
        .on(RELEASES[release])
        .python("-c", script, str(network.packed), str(tmp_path / "in.npz"), str(out), env=environment())
    )
    assert result.returncode == 0, result.stderr[-2000:]
    got = np.load(out)
    for key, value in wanted.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=1e-5 * float(np.abs(value).max()))


@on_every_release
@pytest.mark.parametrize("name", MAIN)
def test_a_packed_network_trains_as_it_does_here(
    boards: dict[str, Board], name: str, release: str, tmp_path: Path
) -> None:
    packed = prepare("resnet20", tmp_path).packed
    script = (
        "import json, sys, numpy as np, alula\n"
        "from alula.runtime.train import SGD\n"
        "rng = np.random.default_rng(0)\n"
        "x, y = rng.standard_normal((2, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, 2)\n"
        "trainer = alula.load(sys.argv[1], threads=1).trainer(optimizer=SGD(lr=0.001, momentum=0.9))\n"
        "print(json.dumps([float(trainer.step(x, y).loss) for _ in range(3)]))\n"
    )
    here = subprocess.run(
        [sys.executable, "-c", script, packed], capture_output=True, text=True, check=False, cwd=CHECKOUT
    )
    there = boards[name].on(RELEASES[release]).python("-c", script, packed, env=environment())
    assert here.returncode == there.returncode == 0, here.stderr[-2000:] + there.stderr[-2000:]
    wanted = json.loads(here.stdout)
    assert wanted[2] < wanted[0]
    np.testing.assert_allclose(json.loads(there.stdout), wanted, rtol=1e-4)


def test_a_pack_of_another_cpu_is_refused_and_does_not_crash(boards: dict[str, Board]) -> None:
    pack = build("cortex-a76")
    result = boards["pi3"].python(
        "-c", "from alula.runtime.compiler import library; library()", env=environment() | {"ALULA_PACK": str(pack)}
    )
    assert result.returncode == 1
    assert "cortex-a76" in result.stderr.splitlines()[-1]


@on_every_release
def test_the_doctor_finds_nothing_wrong_with_a_board(boards: dict[str, Board], release: str) -> None:
    for board in boards.values():
        result = board.on(RELEASES[release]).python("-m", "alula", "doctor", "--json", env=environment())
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
        assert board.cpu in result.stdout
        assert "Traceback" not in result.stderr
