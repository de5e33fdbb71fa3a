"""What a baseline says of counts: which are worse, which are better or new."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.arm import baseline, tables
from tests.arm.training import agree

BEFORE = {"cortex-a53": {"layer a": 1000, "network b": 5000}}


def test_a_count_over_two_percent_above_the_baseline_is_named() -> None:
    worse, news = baseline.compare({"cortex-a53": {"layer a": 1021, "network b": 5099}}, BEFORE)
    assert worse == ["cortex-a53, layer a: expected 1,000 instructions, got 1,021 (+2.1%)"]
    assert news == []


def test_a_better_count_and_a_new_one_are_told_and_are_no_failure() -> None:
    worse, news = baseline.compare({"cortex-a53": {"layer a": 900, "layer c": 7}, "cortex-a72": {"layer a": 1}}, BEFORE)
    assert worse == []
    assert [line.partition(":")[0] for line in news] == [
        "cortex-a53, layer a",
        "cortex-a53, layer c",
        "cortex-a72, layer a",
    ]


def test_an_update_of_a_part_keeps_the_rest_and_of_the_whole_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "STORED", tmp_path / "baseline.json")
    baseline.update(BEFORE, whole=True)
    baseline.update({"cortex-a53": {"layer a": 3}}, whole=False)
    assert baseline.load() == {"cortex-a53": {"layer a": 3, "network b": 5000}}
    baseline.update({"cortex-a53": {"network d": 4, "network d, conv": 2, "network e": 7}}, whole=False)
    baseline.update({"cortex-a53": {"layer a": 3}}, whole=True, apart=["network d"])
    assert baseline.load() == {"cortex-a53": {"layer a": 3, "network d": 4, "network d, conv": 2}}
    baseline.update({"cortex-a53": {"layer a": 3}}, whole=True)
    assert baseline.load() == {"cortex-a53": {"layer a": 3}}


def test_the_summary_takes_the_better_rival_and_the_worst_cpu() -> None:
    rows = {cpu: [{"kind": "network", "name": "efficientnet-lite0", "counts": {"process": n}}]
            for cpu, n in (("cortex-a53", 50), ("cortex-a72", 60))}  # fmt: skip
    engines = {"onnxruntime": {"instructions": 200}, "ncnn": {"instructions": 100}, "ncnn-fp16": {"instructions": 10}}
    theirs = {cpu: {"efficientnet-lite0": engines} for cpu in rows}
    assert tables.summarise(rows, theirs) == {"ratio_lite0_max": 0.6}


def test_the_summary_has_the_worst_of_the_detectors() -> None:
    rows = [{"kind": "network", "name": name, "counts": {"process": n}} for name, n in (("yolov8n", 3), ("yolo11n", 4))]
    theirs = {name: {"ncnn": {"instructions": 2}} for name in ("yolov8n", "yolo11n")}
    assert tables.summarise({"cortex-a53": rows}, {"cortex-a53": theirs})["ratio_detectors_max"] == 2.0


def test_the_summary_is_a_geometric_mean_of_instructions_per_multiply_add() -> None:
    rows = [{"kind": "layer", "group": "f32_depthwise", "counts": {"all": n}, "work": 10} for n in (2, 8)]
    assert tables.summarise({"cortex-a53": rows}, {}) == {"depthwise_per_mac_a53": pytest.approx(0.4)}


def test_a_training_step_is_compared_with_torch_on_the_worst_cpu() -> None:
    rows = {cpu: [{"kind": "step", "name": "resnet20 b8", "counts": {"process": n}}]
            for cpu, n in (("cortex-a53", 50), ("cortex-a72", 40))}  # fmt: skip
    theirs = {cpu: {"training resnet20 b8": {"torch": {"instructions": 100}}} for cpu in rows}
    assert tables.summarise(rows, theirs) == {"ratio_train_resnet20_b8_max": 0.5}


def test_equal_losses_agree_and_others_do_not() -> None:
    assert agree([2.0, 1.5], [2.001, 1.4999])
    assert not agree([2.0, 1.5], [2.0, 1.6])
    assert not agree([float("nan")], [2.0])


def test_the_stored_counts_cover_the_same_networks_as_the_bench() -> None:
    from tests.arm.bench import CPUS, NETWORKS
    from tests.arm.detectors import DETECTORS
    from tests.arm.rivals import ENGINES, TRAINING, stored
    from tests.arm.training import STEPS

    theirs = stored()
    steps = {tables.training(step) for step in STEPS}
    for cpu in CPUS:
        assert set(theirs[cpu]) == set(NETWORKS) | set(DETECTORS) | steps
        assert all(set(ENGINES) <= set(theirs[cpu][name]) for name in theirs[cpu] if name not in steps)
        assert all(set(theirs[cpu][step]) == {TRAINING} for step in steps)
        assert {f"network {name}" for name in NETWORKS} | steps <= set(baseline.load()[cpu])
