"""When a sensor that repeats itself is doubted, and when it is taken to be frozen."""

from __future__ import annotations

import random

from alula.device.power.freeze import FROZEN_S, Freeze
from alula.device.power.meter import Reading

MS = 1_000_000


def watch(powers, period_ms=100, counter=False):
    """A Freeze that has seen these powers."""
    readings = [
        Reading(k * period_ms * MS, None if counter else p, p if counter else None) for k, p in enumerate(powers)
    ]
    freeze = Freeze(readings[0])
    doubted = [freeze.see(reading) for reading in readings[1:]]
    return freeze, sum(doubted)


def test_a_sensor_that_never_repeated_itself_is_doubted_soon_and_frozen_after_a_while():
    alive = [3 + 0.01 * k for k in range(100)]
    freeze, _ = watch([*alive, *[alive[-1]] * 5])
    assert freeze.doubted_s > 0 and not freeze.is_frozen
    freeze, _ = watch([*alive, *[alive[-1]] * int(FROZEN_S * 10 + 1)])
    assert freeze.is_frozen
    _, doubted_s = watch([*alive, *[alive[-1]] * 30, 9.0])
    assert doubted_s == 3.0  # it came back


def test_a_counter_that_stands_still_is_frozen_too():
    freeze, _ = watch([*range(100), *[99] * 101], counter=True)
    assert freeze.is_frozen


def test_a_sensor_that_never_varied_is_not_doubted():
    freeze, _ = watch([3.0] * 1000)
    assert freeze.doubted_s == 0 and not freeze.is_frozen


def test_a_sensor_whose_figures_are_seldom_new_is_not_doubted():
    freeze, doubted_s = watch([k // 50 for k in range(5000)])
    assert doubted_s == 0 and freeze.doubted_s == 0


def test_noise_of_few_steps_is_hardly_ever_doubted():
    rng = random.Random(0)
    _, doubted_s = watch([round(rng.gauss(3.0, 1.0)) for _ in range(20_000)])
    assert doubted_s < 4  # of 2000 s


def test_a_load_that_became_steady_is_mistaken_a_few_times():
    freeze, _ = watch([3 + 0.01 * k for k in range(100)])
    doubted = []
    for turn in range(40):
        powers = [2.0] * 400 + [5.0 + turn]
        doubted.append(sum(freeze.see(Reading((k + 500 * turn) * 100 * MS, power)) for k, power in enumerate(powers)))
    assert doubted[0] > 30 and not any(doubted[20:])


def test_a_second_freeze_is_noticed_too():
    alive = [3 + 0.01 * k for k in range(100)]
    freeze, _ = watch([*alive, *[0.0] * 300, *alive, *[1.0] * 120])
    assert freeze.is_frozen
