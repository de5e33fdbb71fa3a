"""The difference of runs of the energy log, and how sure it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alula.device.power.compare import compare, mixed, read_run, t_quantile, welch_margin
from alula.runtime.errors import MeterError, SourceError


def run_file(folder, name, energy_j, **more):
    summary = {
        "format": "alula-energy-2", "energy_j": energy_j, "duration_s": 10.0, "mean_w": energy_j / 10, "net_j": None,
        "source": "ina226", "accuracy": "measured", "bound": {"energy_j": 0.3},
        "counters": {"frame": {"count": 10, "each_j": energy_j / 10}},
    } | more  # fmt: skip
    path = folder / f"{name}.json"
    path.write_text(json.dumps(summary))
    return path


def runs(folder, energies, prefix, **more):
    return [read_run(run_file(folder, f"{prefix}{k}", energy_j, **more)) for k, energy_j in enumerate(energies)]


def test_the_quantiles_are_those_of_the_tables():
    table = {1: 12.7062, 2: 4.3027, 4: 2.7764, 9: 2.2622, 30: 2.0423, 1000: 1.9623}
    for freedom, value in table.items():
        assert t_quantile(0.975, freedom) == pytest.approx(value, abs=1e-3)


def test_two_runs_differ_by_the_bound_of_their_sampling_alone(tmp_path):
    energy, *_, each = compare(runs(tmp_path, [50.0], "a"), runs(tmp_path, [40.0], "b"))
    assert (energy.value, energy.ratio) == (-10.0, -0.2)
    assert energy.margin == pytest.approx(np.hypot(0.3, 0.3)) and not energy.repeated
    assert each.name == "energy per frame" and each.margin is None and not each.is_shown


def test_repeated_runs_give_an_interval_that_holds_what_it_promises():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        a, b = rng.normal(50.0, 2.0, 4).tolist(), rng.normal(47.0, 0.5, 3).tolist()
        held += abs(np.mean(b) - np.mean(a) - -3.0) <= welch_margin(a, b)
    assert 89 <= held <= 99  # 95 % of 100


def test_a_difference_is_shown_only_if_it_is_larger_than_its_uncertainty(tmp_path):
    same = compare(runs(tmp_path, [50, 51, 49], "a"), runs(tmp_path, [50.5, 49.5, 51], "b"))
    less = compare(runs(tmp_path, [50, 51, 49], "a"), runs(tmp_path, [40, 41, 39], "b"))
    assert not same[0].is_shown and less[0].is_shown


def test_other_meters_and_classes_are_named(tmp_path):
    a = runs(tmp_path, [50.0], "a")
    assert mixed(a, a) == ""
    assert mixed(a, runs(tmp_path, [50.0], "b", source="model")) == "expected one meter, got ina226 and model"
    assert mixed(a, runs(tmp_path, [50.0], "b", accuracy="guessed")) == "expected one class, got guessed and measured"


GOOD = (
    '{"format": "alula-energy-2", "energy_j": 1, "duration_s": 1, "mean_w": 1, "net_j": null, '
    '"source": "a", "accuracy": "measured", "counters": {}}'
)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "alula-idle-1"}', '{"format": "alula-energy-2"}', "\x00", GOOD.replace('"energy_j": 1', '"energy_j": NaN'),
     GOOD.replace('"net_j": null', '"net_j": "x"'), GOOD.replace('"net_j": null', '"net_j": 1' + 400 * "0"), GOOD.replace("{}", "[]"),
     *(GOOD.replace('"energy_j": 1', f'"energy_j": {value}') for value in ('"7"', "true", "1e300")),
     *(GOOD.replace('"duration_s": 1', f'"duration_s": {value}') for value in ('"7"', "-1", "null")),
     *(GOOD.replace('"mean_w": 1', f'"mean_w": {value}') for value in ('"7"', "true", "1e300")),
     GOOD[:-1] + ', "bound": {"energy_j": -1}}',
     GOOD.replace("{}", '{"frame": 1}'), GOOD.replace("measured", "fine"), GOOD.replace('"a"', "null")[:-1]],
)  # fmt: skip
def test_what_is_no_summary_is_refused_by_name(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(GOOD)
    assert read_run(path).bound_j() == 0
    path.write_text(text)
    with pytest.raises(MeterError, match=r"x\.json: expected"):
        read_run(path)


def test_a_pipe_is_not_read_for_ever():
    with pytest.raises(SourceError, match="a pipe or a device"):
        read_run(Path("/dev/zero"))
