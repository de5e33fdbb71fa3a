"""The model of power over processor load, and the table of boards."""

from __future__ import annotations

import pytest

from alula.device.power.meter import Accuracy
from alula.device.power.meters.boards import BOARDS, find_board
from alula.device.power.meters.utilisation import Utilisation
from alula.runtime.errors import MeterError


def test_energy_is_the_line_integrated_over_the_load(tmp_path, clock):
    busy = [100.0]
    meter = Utilisation(2.0, 6.0, "", tmp_path / "none", lambda: busy[0], n_cpu=4, clock=clock)
    clock.advance(10)
    busy[0] += 20  # 20 processor seconds in 10 s on 4 processors: load 0.5
    reading = meter.read()
    assert reading.energy_j == pytest.approx(2.0 * 10 + 4.0 * 0.5 * 10)
    assert reading.power_w == pytest.approx(4.0)
    assert meter.accuracy is Accuracy.MODELLED
    assert "modelled, not measured" in meter.notes[0]


def test_ticks_of_the_kernel_never_take_joules_back_nor_exceed_the_line(tmp_path, clock):
    busy = [100.0]
    meter = Utilisation(2.0, 6.0, "", tmp_path / "none", lambda: busy[0], n_cpu=1, clock=clock)
    clock.advance(0.01)
    busy[0] += 0.02
    first = meter.read()
    assert first.power_w == pytest.approx(6.0)
    clock.advance(0.01)
    busy[0] -= 0.01
    second = meter.read()
    assert second.energy_j - first.energy_j == pytest.approx(2.0 * 0.01)


def test_the_board_names_its_line(tmp_path, clock):
    path = tmp_path / "model"
    path.write_bytes(b"Raspberry Pi 4 Model B Rev 1.2\0")
    meter = Utilisation(model_path=path, busy_s=lambda: 0.0, n_cpu=4, clock=clock)
    assert meter.name == "model:Raspberry Pi 4 Model B"
    clock.advance(1)
    assert meter.read().power_w == pytest.approx(2.286)
    assert "PowerJoular" in meter.notes[0]


@pytest.mark.parametrize(
    ("name", "idle_w"),
    [
        ("Raspberry Pi 4 Model B Rev 1.1", 2.307),
        ("Raspberry Pi 4 Model B Rev 1.5", 2.286),  # unknown revision: the first of this model
        ("Raspberry Pi 3 Model B Plus Rev 1.3", 2.002),
        ("Raspberry Pi 3 Model B Rev 1.2", 1.078),
        ("Raspberry Pi Zero 2 W Rev 1.0", 0.60),
        ("Raspberry Pi 5 Model B Rev 1.1", 4.403),
    ],
)
def test_boards_are_found_by_model_then_revision(name, idle_w):
    board = find_board(name)
    assert board is not None and board.idle_w == idle_w


def test_every_board_draws_more_under_load_and_names_its_source():
    assert all(board.idle_w > 0 and board.slope_w > 0 and board.source for board in BOARDS)


def test_an_unknown_machine_gets_a_guess_that_says_so(tmp_path):
    meter = Utilisation(model_path=tmp_path / "none", n_cpu=2)
    assert meter.board.idle_w + meter.board.slope_w == pytest.approx(13.0)
    assert "is a guess, give watts" in meter.notes[0]
    assert meter.read().energy_j >= 0


@pytest.mark.parametrize(
    ("idle_w", "max_w"), [(5, 2), (-1, 2), (1, float("inf")), (float("nan"), 2), (1, None), (None, 3)]
)
def test_watts_that_do_not_fit_are_refused(idle_w, max_w):
    with pytest.raises(MeterError, match="expected"):
        Utilisation(idle_w, max_w)
