"""The text spotter on the emulated boards and their releases, beside what it reads on this machine; the other kernel tests there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from alula.demo.networks import INSTALL_OCR, NAME, ocr_models, pack_networks
from alula.demo.scoring import overlap
from alula.runtime.compiler import build, cache_path
from tests.arm.boards import BOARDS, CHECKOUT, MAIN, Board, ensure
from tests.arm.debian import BoardsError
from tests.arm.spot import spot

LONG_SIDE = 320  # pixels: the detector is most of the work
FRAMES = (24, 60, 132)  # level signs, and some that are upside down
SPATIAL = "tests/runtime/test_kernels_spatial.py"


@pytest.fixture(scope="module", params=MAIN)
def board(request: pytest.FixtureRequest) -> Board:
    """One board after the other, with its pack, OpenCV and pytest."""
    try:
        ensure(extras=("opencv", "pytest"))
    except BoardsError as error:
        pytest.skip(str(error))
    chosen: Board = BOARDS[request.param]
    build(chosen.cpu)
    return chosen


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three networks of the spotter, packed."""
    models = ocr_models()
    if models is None:
        pytest.skip(f"the OCR networks are not here: {INSTALL_OCR}")
    return pack_networks(models, tmp_path_factory.mktemp("spotter") / NAME).path


def environment() -> dict[str, str]:
    """This checkout and this machine's kernels."""
    return {"PYTHONPATH": str(CHECKOUT), "XDG_CACHE_HOME": str(cache_path().parents[2]), "OPENBLAS_NUM_THREADS": "1"}


def test_the_spotter_reads_the_same_on_a_board(board: Board, packed: Path) -> None:
    wanted = spot(packed, LONG_SIDE, list(FRAMES))
    result = board.python(
        "-m", "tests.arm.spot", packed, str(LONG_SIDE), *map(str, FRAMES), env=environment(), extras=("opencv",)
    )
    assert result.returncode == 0, result.stderr[-2000:]
    told = json.loads(result.stdout)
    assert told["imported"] == []
    assert len({seen["text"] for seen in wanted}) >= len(FRAMES)
    assert [(seen["frame"], seen["text"]) for seen in told["seen"]] == [
        (seen["frame"], seen["text"]) for seen in wanted
    ]
    overlaps = [overlap(np.array(a["quad"]), np.array(b["quad"])) for a, b in zip(told["seen"], wanted, strict=True)]
    print(f"{board.name}: {len(overlaps)} boxes, least overlap {min(overlaps):.3f}")
    assert min(overlaps) > 0.95


def test_kernels_of_pools_resizes_and_recurrence_equal_their_references(board: Board) -> None:
    result = board.python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", CHECKOUT, CHECKOUT / SPATIAL,
        env=environment() | {"PYTHONDONTWRITEBYTECODE": "1"}, extras=("pytest",),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed and int(passed[1]) > 50
