"""Our own counts as they were: a kernel, layer or network that needs over 2 % more instructions fails the bench."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

STORED = Path(__file__).with_name("baseline.json")
SLACK_RATIO = 0.02

Counts = Mapping[str, Mapping[str, int]]  # CPU -> what was counted -> instructions


def compare(counts: Counts, before: Counts) -> tuple[list[str], list[str]]:
    """Lines about what got worse, and about what the baseline should be told: better, new."""
    worse, news = [], []
    for cpu, found in counts.items():
        known = before.get(cpu, {})
        for name, now in found.items():
            if name not in known:
                news.append(f"{cpu}, {name}: {now:,} instructions, not in the baseline")
                continue
            change = now / known[name] - 1
            line = f"{cpu}, {name}: expected {known[name]:,} instructions, got {now:,} ({change:+.1%})"
            if change > SLACK_RATIO:
                worse.append(line)
            elif change < -SLACK_RATIO:
                news.append(line)
    return worse, news


def load() -> dict[str, dict[str, int]]:
    """The stored counts."""
    counts: dict[str, dict[str, int]] = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    return counts


def update(counts: Counts, whole: bool, apart: Collection[str] = ()) -> None:
    """Store counts. `whole`: everything was counted, so what is not among them is gone; `apart`: but for these."""
    merged = load()
    if whole:
        merged = {
            cpu: {name: count for name, count in known.items() if name.partition(", ")[0] in apart}
            for cpu, known in merged.items()
        }
    for cpu, found in counts.items():
        merged[cpu] = {**merged.get(cpu, {}), **found}
    STORED.write_text(json.dumps(merged, indent=1, sort_keys=True) + "\n", encoding="utf-8")
