"""RAPL from a made-up powercap tree: which zones count, wrap-around, and what users are told."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alula.device.power.meters.rapl import Rapl, Zone, _difference
from alula.runtime.errors import MeterError

RANGE_UJ = 262_143_328_850


def package(tree, number=0, energy_uj=1_000_000, folder=None, **more):
    folder = folder or f"intel-rapl:{number}"
    return tree.write(folder, name=f"package-{number}", energy_uj=energy_uj, max_energy_range_uj=RANGE_UJ, **more)


def test_only_packages_are_added_up(tree, clock):
    zones = [package(tree, 0), package(tree, 1)]
    others = [
        tree.write("intel-rapl:0:0", name="core", energy_uj=0, max_energy_range_uj=RANGE_UJ),
        tree.write("intel-rapl:0:1", name="dram", energy_uj=0, max_energy_range_uj=RANGE_UJ),
        tree.write("intel-rapl:2", name="psys", energy_uj=0, max_energy_range_uj=RANGE_UJ),
        package(tree, 0, folder="intel-rapl-mmio:0"),  # the same package, seen through another door
    ]
    meter = Rapl(tree.root, clock)
    for zone in zones:
        (zone / "energy_uj").write_text("3000000")
    for zone in others:
        (zone / "energy_uj").write_text("90000000")
    clock.advance(2)
    reading = meter.read()
    assert reading.energy_j == pytest.approx(4.0)
    assert reading.power_w == pytest.approx(2.0)


def test_the_mmio_zone_is_used_where_it_is_the_only_one(tree, clock):
    package(tree, 0, folder="intel-rapl-mmio:0")
    assert Rapl(tree.root, clock).read().energy_j == 0


def test_a_machine_without_rapl_says_so(tmp_path):
    with pytest.raises(MeterError, match="expected a RAPL package zone, got none"):
        Rapl(tmp_path)


def test_a_counter_for_root_only_explains_itself(tree, monkeypatch):
    zone = package(tree)
    if os.geteuid() == 0:  # root may read anything: let the file refuse by itself
        import builtins

        real_open = builtins.open

        def refuse(path, *args, **kwargs):
            if str(path).endswith("energy_uj"):
                raise PermissionError(13, "Permission denied")
            return real_open(path, *args, **kwargs)

        monkeypatch.setattr(builtins, "open", refuse)
    else:
        (zone / "energy_uj").chmod(0)
    with pytest.raises(MeterError, match="sudo chmod -R a\\+r /sys/class/powercap"):
        Rapl(tree.root)


def test_garbage_in_the_counter_names_the_file(tree, clock):
    zone = package(tree)
    meter = Rapl(tree.root, clock)
    (zone / "energy_uj").write_text("n/a")
    with pytest.raises(MeterError, match=r"energy_uj: expected an integer, got 'n/a'"):
        meter.read()


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 9_999_999), steps=st.lists(st.integers(0, 9_999_999), min_size=1, max_size=20))
def test_wrap_around_never_loses_or_invents_energy(start, steps):
    # A range of 10 J, one reading every 10 ms: below 1000 W, at most one wrap between two readings.
    clock_ns = [0]
    with tempfile.TemporaryDirectory() as folder:
        zone = Path(folder) / "intel-rapl:0"
        zone.mkdir()
        for name, value in (("name", "package-0"), ("energy_uj", start), ("max_energy_range_uj", 10_000_000)):
            (zone / name).write_text(str(value))
        meter = Rapl(folder, lambda: clock_ns[0])
        total = start
        for step in steps:
            total += step
            clock_ns[0] += 9_999_000
            (zone / "energy_uj").write_text(str(total % 10_000_000))
            reading = meter.read()
            assert not reading.restarted
        assert reading.energy_j == pytest.approx((total - start) * 1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("range_uj", "last_uj", "value", "dt_s", "problem"),
    [
        (10_000_000, 0, 5, 1.0, "wrapped more than once"),
        (None, 7, 5, 1.0, "range is unknown"),
        (RANGE_UJ, 9_000_000, 0, 0.1, "it was reset"),
        (RANGE_UJ, RANGE_UJ + 50, 0, 0.1, "it was reset"),
    ],
)
def test_a_difference_that_means_nothing_is_not_booked(range_uj, last_uj, value, dt_s, problem):
    delta_uj, note = _difference(Zone(Path("intel-rapl:0"), range_uj, last_uj), value, dt_s)
    assert delta_uj == 0
    assert problem in note


def test_a_reset_counter_marks_the_reading_and_counts_on_from_there(tree, clock):
    zone = package(tree, energy_uj=9_000_000)
    meter = Rapl(tree.root, clock)
    clock.advance(0.1)
    (zone / "energy_uj").write_text("0")
    assert meter.read().restarted
    clock.advance(0.1)
    (zone / "energy_uj").write_text("500000")
    reading = meter.read()
    assert not reading.restarted
    assert reading.energy_j == pytest.approx(0.5)
