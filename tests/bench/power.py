"""How far the energy log is from the truth, on signals whose integral is known, and what it costs.

    python -m tests.bench.power --json power.json [--seeds 5] [--faults 1000] [--seconds 20]

* Signals: constant, steps, ramps, 50 Hz ripple, bursts of 20 ms; ten minutes each on simulated clocks, readings at 10 Hz with
  jittered instants and 10 mW of noise, by a sensor that sees one moment and by one with the window of an INA226 (35 ms).
  energy_error_max: the largest relative error of all but the bursts (at most 0.005 is wanted). bound_used_max: the largest error over
  its stated bound, bursts and those with 20 % of the readings missing included (below 1: every figure is within its bound).
* phase_sum_error: the largest relative difference of the sum of phases, other and gap from the total, over 10,000 random nestings.
* fault_*: random sequences of a sensor that vanishes, freezes, gives zeros, jumps or wraps, of sleep and of steps of the clock.
  fault_bound_used_max as above; fault_gaps_lost: faults that no event of the log tells of (0 is wanted).
* sampler_ratio: processor time of the sampler at 10 Hz with the utilisation model and a file of samples, of one core, measured
  over --seconds; sampler_mb: what its process grew by.
* day_growth_mb: memory that 24 simulated hours with a fault a minute add after the first hour.
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from alula.device.power.clocks import ClockWatch
from alula.device.power.freeze import FROZEN_S
from alula.device.power.log import EnergyLog
from alula.device.power.sampler import JITTER
from alula.report import Table
from tests.bench.output import finish
from tests.bench.signals import FAULTS, NS, Sensor, Signal, World, bursts, constant, ramps, ripple, steps

PERIOD_S, MINUTES_S, INA226_WINDOW_S = 0.1, 600.0, 0.035
MISSING = 0.2
NESTINGS = 10_000
LASTING_S = {"freeze": 8.0, "zeros": 8.0}  # on average, of faults; others 2
NAMES = ("capture", "infer", "adapt", "write")
# A fault that hid readings for longer than this must be told: the log's gap, and what a frozen sensor needs to be noticed.
GAP_S, NOTICED_S = 0.5, FROZEN_S + 1.5


@dataclass
class Result:
    """A total, the truth, and what the log says about itself."""

    energy_j: float
    true_j: float
    bound_j: float
    summary: dict[str, Any]

    @property
    def error(self) -> float:
        return abs(self.energy_j - self.true_j) / self.true_j

    @property
    def bound_used(self) -> float:
        return abs(self.energy_j - self.true_j) / max(self.bound_j, 1e-9)


def open_log(sensor: Sensor, world: World) -> EnergyLog:
    """A log on simulated clocks; whoever uses it calls `sample`."""
    watch = ClockWatch(world.monotonic, world.boot, world.wall)
    return EnergyLog(sensor, rate_hz=0, clock=world.monotonic, watch=watch)


def result(log: EnergyLog, sensor: Sensor, begun_s: float) -> Result:
    """Of a log that is closed."""
    summary = log.summary()
    true_j = sensor.signal.energy_j(sensor.world.true_s) - sensor.signal.energy_j(begun_s)
    return Result(summary["energy_j"], true_j, summary["bound"]["energy_j"], summary)


def watch_signal(signal: Signal, window_s: float, missing: float, seed: int, seconds: float = MINUTES_S) -> Result:
    """Watch a signal at 10 Hz; each reading is missing with the probability `missing`."""
    rng, world = random.Random(seed), World()
    world.to(1.0)
    sensor = Sensor(signal, world, rng, window_s, noise_w=0.01)
    log = EnergyLog(sensor, rate_hz=0, clock=world.monotonic)
    log.period_s = PERIOD_S  # what is asked for, so that it knows what is missing
    with log:
        for number in range(1, round(seconds / PERIOD_S)):
            world.to(1.0 + (number + rng.uniform(-JITTER, JITTER)) * PERIOD_S)
            if rng.random() >= missing:
                log.sample()
        world.to(1.0 + seconds)
    return result(log, sensor, 1.0)


def signals(seed: int, seconds: float = MINUTES_S) -> list[Signal]:
    """One of each kind."""
    rng = np.random.default_rng(seed)
    rare = bursts(rng, seconds, 0.02)
    return [constant(), steps(rng, seconds), ramps(rng, seconds), ripple(), bursts(rng, seconds),
            Signal("rare bursts", rare.power_w, rare.energy_j, burst=True)]  # fmt: skip


def measure_signals(seeds: int, seconds: float = MINUTES_S) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Every signal, with both sensors, with and without missing readings."""
    rows: list[tuple[Any, ...]] = []
    error_max = used_max = 0.0
    for number in range(len(signals(0, seconds))):
        for window_s in (0.0, INA226_WINDOW_S):
            for missing in (0.0, MISSING):
                runs = [watch_signal(signals(s, seconds)[number], window_s, missing, s, seconds) for s in range(seeds)]
                signal = signals(0, seconds)[number]
                error, used = max(run.error for run in runs), max(run.bound_used for run in runs)
                bound = max(run.bound_j / run.true_j for run in runs)
                said = [run.summary["sampling"]["missing_ratio"] for run in runs]
                rows.append((signal.name, f"{1e3 * window_s:.0f} ms", f"{missing:.0%}", f"{100 * error:.3f} %",
                             f"{100 * bound:.2f} %", f"{min(said):.0%}"))  # fmt: skip
                used_max = max(used_max, used)
                if not signal.burst and not missing:
                    error_max = max(error_max, error)
    return {"energy_error_max": error_max, "bound_used_max": used_max}, rows


def phase_sum_error(nestings: int, seed: int = 0) -> float:
    """The largest relative difference of the parts from the total."""
    rng, worst = random.Random(seed), 0.0
    for _ in range(nestings):
        world = World()
        sensor = Sensor(constant(), world, rng, counts=rng.random() < 0.5, noise_w=1.0)
        log = open_log(sensor, world)
        with log:
            nest(log, world, rng, rng.randrange(1, 5), rng.randrange(1, 12))
        summary = log.summary()
        parts = [*summary["phases"].values(), summary["other"], summary["gap"]]
        for names in (lambda part: (part["energy_j"],), lambda part: part["by_class_j"].values()):
            total = math.fsum(value for part in parts for value in names(part))
            worst = max(worst, abs(total - summary["energy_j"]) / max(abs(summary["energy_j"]), 1e-9))
    return worst


def nest(log: EnergyLog, world: World, rng: random.Random, depth: int, turns: int) -> None:
    """Random phases within phases, with readings and time in between."""
    for _ in range(turns):
        world.ns += int(rng.expovariate(1 / 0.03) * NS)
        if rng.random() < 0.4:
            log.sample()
        if depth and rng.random() < 0.5:
            with log.phase(rng.choice(NAMES)):
                nest(log, world, rng, depth - 1, rng.randrange(0, 4))


@dataclass
class Fault:
    """Something that went wrong from start_s to end_s, of the log's clock."""

    kind: str
    start_s: float
    end_s: float
    moved_s: float = 0.0  # asleep, or by which the clock was set

    def is_told(self, events: list[dict[str, Any]], counts: bool) -> bool:
        """Whether the log's events tell of it, if it must be told."""
        seen = [
            event
            for event in events
            if event["t_s"] - 0.3 <= self.end_s and event["t_s"] + event["seconds"] + 0.3 >= self.start_s
        ]
        kinds = {event["kind"] for event in seen}
        if self.kind == "sleep":
            return any(e["kind"] == "suspend" and abs(e["seconds"] - self.moved_s) < 0.01 for e in seen)
        if self.kind == "clock step":
            return any(e["kind"] == "clock step" and abs(e["seconds"] - self.moved_s) < 0.01 for e in events)
        if self.kind in ("jump", "wrap"):
            return bool(kinds & {"implausible", "gap"})
        needed_s = GAP_S + 0.2 if self.kind == "vanish" else NOTICED_S
        return self.end_s - self.start_s < needed_s or "gap" in kinds


def run_faults(seed: int, seconds: float = 60.0) -> tuple[Result, int]:
    """One random sequence. return: the result, and how many faults no event tells of"""
    rng, world = random.Random(seed), World()
    np_rng = np.random.default_rng(seed)
    signal = rng.choice((constant(), steps(np_rng, 4 * seconds), ramps(np_rng, 4 * seconds), ripple()))
    sensor = Sensor(signal, world, rng, counts=rng.random() < 0.4, noise_w=0.02)
    log = open_log(sensor, world)
    faults: list[Fault] = []
    with log:
        at_s, next_s = 0.0, 3.0 + rng.expovariate(1 / 5)
        while at_s < seconds:
            at_s += PERIOD_S * (1 + rng.uniform(-JITTER, JITTER))
            world.to(at_s)
            current = faults[-1] if faults else None
            if current and at_s >= current.end_s:
                sensor.faults.clear()
            if not sensor.faults and at_s >= next_s:
                kind = rng.choice(FAULTS)
                fault = Fault(kind, at_s, at_s + rng.expovariate(1 / LASTING_S.get(kind, 2.0)))
                if kind in ("sleep", "clock step"):
                    fault.end_s, fault.moved_s = at_s, rng.uniform(0.2, 20.0)
                    world.asleep_ns += int(fault.moved_s * NS) if kind == "sleep" else 0
                    fault.moved_s *= 1 if kind == "sleep" else rng.choice((-1, 1))
                    world.set_ns += int(fault.moved_s * NS) if kind == "clock step" else 0
                else:
                    sensor.faults.add(kind)
                faults.append(fault)
                next_s = fault.end_s + 2.0 + rng.expovariate(1 / 5)
            log.sample()
        if sensor.faults:
            faults[-1].end_s = at_s
        sensor.faults.clear()
        world.to(at_s + 0.1)
    whole = result(log, sensor, 0.0)
    lost = [fault for fault in faults if not fault.is_told(whole.summary["events"], sensor.counts)]
    return whole, len(lost)


def measure_faults(sequences: int) -> dict[str, Any]:
    """Many random sequences."""
    used_max, lost = 0.0, 0
    for seed in range(sequences):
        whole, untold = run_faults(seed)
        used_max, lost = max(used_max, whole.bound_used), lost + untold
    return {"fault_sequences": sequences, "fault_bound_used_max": used_max, "fault_gaps_lost": lost}


SAMPLER = """
import psutil, sys, time
from alula.device.power import EnergyLog, select_meter
meter = select_meter("model,idle=2,full=6")
meter.read()
process = psutil.Process()
before = process.memory_info().rss
with EnergyLog(meter, sys.argv[1] + "/s.csv", sys.argv[1] + "/s.json", rate_hz=10) as log:
    time.sleep(float(sys.argv[2]))
grown = process.memory_info().rss - before
print(log.summary()["sampling"]["sampler_cpu_ratio"], grown / 1e6)
"""


def measure_sampler(seconds: float) -> dict[str, float]:
    """What the sampler costs, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        said = subprocess.run(
            [sys.executable, "-c", SAMPLER, folder, str(seconds)], capture_output=True, text=True, check=True
        ).stdout
    ratio, megabytes = map(float, said.split())
    return {"sampler_ratio": ratio, "sampler_mb": megabytes}


def day_growth_mb(hours: float = 24.0) -> float:
    """What a long log adds to the memory after its first hour."""
    rng, world = random.Random(0), World()
    sensor = Sensor(constant(), world, rng, noise_w=0.05)
    process = psutil.Process(os.getpid())
    before = 0
    with open_log(sensor, world) as log:
        for number in range(round(hours * 3600 / PERIOD_S)):
            world.ns += int(PERIOD_S * NS)
            sensor.faults = {FAULTS[number // 600 % 5]} if number % 600 < 20 else set()
            with log.phase("step"):
                log.sample()
            if number == round(3600 / PERIOD_S):
                gc.collect()
                before = process.memory_info().rss
    gc.collect()
    return (process.memory_info().rss - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    logging.disable()  # what the log says of its faults
    summary, rows = measure_signals(args.seeds)
    parts: list[Callable[[], dict[str, Any]]] = [
        lambda: {"phase_sum_error": phase_sum_error(NESTINGS)},
        lambda: measure_faults(args.faults),
        lambda: measure_sampler(args.seconds),
        lambda: {"day_growth_mb": day_growth_mb()},
    ]
    for part in parts:
        begun_s = time.perf_counter()
        summary |= part()
        print(f"{time.perf_counter() - begun_s:.0f} s", file=sys.stderr)
    columns = ("signal", "window", "missing", "largest error", "largest bound", "said to be missing")
    finish(summary, {"signals": [dict(zip(columns, row)) for row in rows]}, Table(columns, rows), args.json)


if __name__ == "__main__":
    main()
