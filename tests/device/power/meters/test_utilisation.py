"""The model of power over processor load, and the table of boards."""

from __future__ import annotations

import pytest

from alula.device.power.meter import Accuracy
from alula.device.power.meters.boards import BOARDS, find_board, named_board
from alula.device.power.meters.utilisation import Utilisation
from alula.runtime.errors import MeterError


def pi(root, model):
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_bytes(model.encode() + b"\0")
    return root


def clocked(root, khz):
    path = root / "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{khz}\n")


def test_energy_is_the_line_integrated_over_the_load(tmp_path, clock):
    busy = [100.0]
    meter = Utilisation(2.0, 6.0, "", tmp_path, lambda: busy[0], n_cpu=4, clock=clock)
    clock.advance(10)
    busy[0] += 20  # 20 processor seconds in 10 s on 4 processors: load 0.5
    reading = meter.read()
    assert reading.energy_j == pytest.approx(2.0 * 10 + 4.0 * 0.5 * 10)
    assert reading.power_w == pytest.approx(4.0)
    assert meter.accuracy is Accuracy.MODELLED
    assert "modelled, not measured" in meter.notes[0]


def test_ticks_of_the_kernel_never_take_joules_back_nor_exceed_the_line(tmp_path, clock):
    busy = [100.0]
    meter = Utilisation(2.0, 6.0, "", tmp_path, lambda: busy[0], n_cpu=1, clock=clock)
    clock.advance(0.01)
    busy[0] += 0.02
    first = meter.read()
    assert first.power_w == pytest.approx(6.0)
    clock.advance(0.01)
    busy[0] -= 0.01
    second = meter.read()
    assert second.energy_j - first.energy_j == pytest.approx(2.0 * 0.01)


@pytest.mark.parametrize("step_s", [0.003, 0.011, 0.1])
def test_joules_of_steps_stay_below_full_load_and_add_up(tmp_path, clock, step_s):
    now_s = [0.0]
    meter = Utilisation(2.0, 6.0, "", tmp_path, lambda: 4 * (now_s[0] // 0.01 + 1) * 0.01, n_cpu=4, clock=clock)
    steps = round(1 / step_s)
    for step in range(1, steps + 1):
        clock.advance(step_s)
        now_s[0] = step * step_s
        reading = meter.read()
        assert reading.energy_j <= 6.0 * now_s[0] + 1e-9 and reading.power_w <= 6.0 + 1e-9
    assert reading.energy_j == pytest.approx(6.0 * now_s[0], abs=4.0 * 0.01 + 1e-9), "all but a step of the kernel's"


def test_processors_that_nobody_knew_of_leave_no_debt(tmp_path, clock):
    busy = [0.0]
    meter = Utilisation(2.0, 6.0, "", tmp_path, lambda: busy[0], n_cpu=1, clock=clock)
    clock.advance(10)
    busy[0] += 20
    assert meter.read().energy_j == pytest.approx(60.0)
    clock.advance(10)
    assert meter.read().energy_j == pytest.approx(60.0 + 20.0 + 4.0 * 0.01)


def test_the_board_names_its_line(tmp_path, clock):
    meter = Utilisation(root=pi(tmp_path, "Raspberry Pi 4 Model B Rev 1.2"), busy_s=lambda: 0.0, n_cpu=4, clock=clock)
    assert meter.name == "model:Raspberry Pi 4 Model B"
    clock.advance(1)
    assert meter.read().power_w == pytest.approx(2.285693)
    assert "PowerJoular" in meter.notes[0]


@pytest.mark.parametrize(
    ("name", "idle_w", "accuracy"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", 4.403192, Accuracy.MODELLED),
        ("Raspberry Pi 5 Model B Rev 1.1", 4.403192, Accuracy.MODELLED),
        ("Raspberry Pi 4 Model B Rev 1.1", 2.307256, Accuracy.MODELLED),
        ("Raspberry Pi 4 Model B Rev 1.5", 2.285693, Accuracy.MODELLED),  # unknown revision: the first of this model
        ("Raspberry Pi 400 Rev 1.0", 1.822133, Accuracy.MODELLED),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", 2.002230, Accuracy.MODELLED),
        ("Raspberry Pi 3 Model B Rev 1.2", 1.078204, Accuracy.MODELLED),
        ("Raspberry Pi 3 Model A Plus Rev 1.0", 1.1, Accuracy.GUESSED),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", 1.0, Accuracy.GUESSED),
        ("Raspberry Pi Compute Module 4 Rev 1.1", 2.285693, Accuracy.GUESSED),
        ("Raspberry Pi Compute Module 5 Rev 1.0", 4.403192, Accuracy.GUESSED),
        ("Raspberry Pi Compute Module 5 Lite Rev 1.0", 4.403192, Accuracy.GUESSED),
        ("Raspberry Pi 500 Rev 1.0", 4.403192, Accuracy.GUESSED),
        ("Raspberry Pi Zero 2 W Rev 1.0", 0.60, Accuracy.GUESSED),
    ],
)
def test_every_board_of_the_field_has_a_line_that_says_what_it_is_worth(name, idle_w, accuracy):
    board = find_board(name)
    assert board is not None and (board.idle_w, board.accuracy) == (idle_w, accuracy)
    assert (accuracy is Accuracy.GUESSED) == ("guess" in board.source)


def test_the_line_of_another_revision_is_said_and_of_a_stranger_there_is_none():
    assert find_board("Raspberry Pi 4 Model B Rev 1.5").source.endswith("of revision 1.2")
    assert find_board("Raspberry Pi 4 Model B Rev 1.2").source == "linear fit published with PowerJoular"
    assert (
        find_board("Raspberry Pi 6 Model B Rev 1.0") is None
        and find_board("Orange Pi 5") is None
        and find_board("") is None
    )


@pytest.mark.parametrize("name", ["pi5", "5", "Raspberry Pi 5 Model B", "5b"])
def test_a_board_is_named_as_people_name_it(name):
    assert named_board(name).model == "Raspberry Pi 5 Model B"


def test_other_short_names():
    names = {"cm4": "Raspberry Pi Compute Module 4", "zero2w": "Raspberry Pi Zero 2 W", "3b+": "Raspberry Pi 3 Model B Plus",
             "3a+": "Raspberry Pi 3 Model A Plus", "cm3+": "Raspberry Pi Compute Module 3 Plus", "pi400": "Raspberry Pi 400"}  # fmt: skip
    assert {name: named_board(name).model for name in names} == names
    with pytest.raises(MeterError, match=r"expected model: and one of .*cm4.*, got 'x'; or give watts"):
        named_board("x")


def test_every_board_draws_more_under_load_and_names_its_source():
    assert all(board.idle_w > 0 and board.slope_w > 0 and board.source for board in BOARDS)


def test_an_unknown_machine_gets_a_guess_that_says_so(tmp_path):
    meter = Utilisation(root=tmp_path, n_cpu=2)
    assert meter.board.idle_w + meter.board.slope_w == pytest.approx(13.0)
    assert "is a guess, give watts" in meter.notes[0]
    assert meter.read().energy_j >= 0


@pytest.mark.parametrize(
    ("idle_w", "max_w"), [(5, 2), (-1, 2), (1, float("inf")), (float("nan"), 2), (1, None), (None, 3)]
)
def test_watts_that_do_not_fit_are_refused(idle_w, max_w):
    with pytest.raises(MeterError, match="expected"):
        Utilisation(idle_w, max_w)


def test_the_clock_scales_what_grows_with_load(tmp_path, clock):
    busy = [0.0]
    clocked(pi(tmp_path, "Raspberry Pi 4 Model B Rev 1.2"), 1_500_000)
    meter = Utilisation(root=tmp_path, busy_s=lambda: busy[0], n_cpu=4, clock=clock)
    assert any("does not see the firmware throttle" in note for note in meter.notes)
    for khz, ratio in ((1_500_000, 1.0), (600_000, 0.4), (1_800_000, 1.2)):
        clocked(tmp_path, khz)
        before_j = meter.read().energy_j
        clock.advance(1)
        busy[0] += 4.0
        reading = meter.read()
        assert reading.energy_j - before_j == pytest.approx(2.285693 + ratio * 4.534427)
        assert reading.power_w == pytest.approx(2.285693 + ratio * 4.534427)


def test_the_firmwares_clock_is_the_truth_and_its_throttling_is_said(tmp_path, clock, monkeypatch):
    clocked(pi(tmp_path, "Raspberry Pi 3 Model B Plus Rev 1.3"), 1_400_000)
    replies = {"measure_clock arm": "frequency(48)=600000000", "get_throttled": "throttled=0x50005"}
    monkeypatch.setattr("alula.device.firmware.ask", lambda command, root: replies[command])
    busy = [0.0]
    meter = Utilisation(root=tmp_path, busy_s=lambda: busy[0], n_cpu=4, clock=clock)
    clock.advance(6)
    busy[0] += 24.0
    reading = meter.read()
    assert reading.power_w == pytest.approx(2.002230 + 3.298333 * 600 / 1400)
    assert reading.note.endswith("the firmware holds the clock down: under-voltage, throttled")
    clock.advance(1)
    assert meter.read().note == ""


def test_a_clock_that_vanishes_is_the_stock_clock(tmp_path, clock):
    clocked(pi(tmp_path, "Raspberry Pi 4 Model B Rev 1.2"), 750_000)
    busy = [0.0]
    meter = Utilisation(root=tmp_path, busy_s=lambda: busy[0], n_cpu=1, clock=clock)
    (tmp_path / "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq").unlink()
    clock.advance(1)
    busy[0] += 1.0
    assert meter.read().power_w == pytest.approx(2.285693 + 4.534427)


def test_another_boards_line_does_not_go_with_this_boards_clock(tmp_path, clock):
    clocked(pi(tmp_path, "Raspberry Pi 4 Model B Rev 1.2"), 600_000)
    busy = [0.0]
    meter = Utilisation(None, None, "pi5", tmp_path, lambda: busy[0], 1, clock)
    clock.advance(1)
    busy[0] += 1.0
    assert meter.read().power_w == pytest.approx(4.403192 + 3.457856)
