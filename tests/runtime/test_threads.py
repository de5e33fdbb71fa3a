"""The virtual machine's threads: every share of every instruction runs once, however many threads there are."""

from __future__ import annotations

import numpy as np
import pytest

from alula.runtime.compiler.loader import library
from alula.runtime.graph import Array
from alula.runtime.planning.binding import TABLE_WORDS
from alula.runtime.threads import Team

N, LENGTH = 1000, 200


def _program(total: Array, added: Array, keep: Array, flag: Array, when: int) -> tuple[Array, Array]:
    """Instructions that add to the same total again and again, every third one under a flag; table and words.

    when : 1 if these run where the flag is set, 0 if where it is not
    """
    at = [array.ctypes.data for array in (total, added, keep, total)]
    words = np.array([*at, N, flag.ctypes.data], np.int64)
    table = np.zeros((LENGTH, TABLE_WORDS), np.int64)
    table[:, 0], table[:, 1] = library().address("f32_accumulate"), words.ctypes.data
    table[::3, 2], table[::3, 3] = words.ctypes.data + 8 * (len(words) - 1), when
    return table, words


@pytest.mark.parametrize("when", [0, 1])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_every_share_is_run_once(threads: int, when: int) -> None:
    team = Team(threads)
    total, added, keep = np.zeros(N, np.float32), np.arange(N, dtype=np.float32), np.ones(1, np.float32)
    flag = np.zeros(1, np.int64)
    table, words = _program(total, added, keep, flag, when)
    try:
        for runs, times in ((True, LENGTH), (False, LENGTH - len(range(0, LENGTH, 3)))):
            flag[0], total[:] = 7 * (when if runs else 1 - when), 0
            for run in range(1, 11):
                team.run(table.ctypes.data, LENGTH)
                assert np.array_equal(total, times * run * added)
        team.run(table.ctypes.data, 0)  # an empty program, and one that is skipped altogether
        team.run(table.ctypes.data, 1)
        assert np.array_equal(total, times * 10 * added)
    finally:
        team.stop()
    del words  # the table points to them: they had to live until here
