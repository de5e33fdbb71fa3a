"""Power signals whose integral is known, sensors that watch them, and what can go wrong with one (tests/bench/power.py)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from alula.device.power.limits import Limits
from alula.device.power.meter import Accuracy, Reading
from alula.runtime.errors import MeterError

RANGE_W = 15.0  # of the simulated sensors: 5 V, 3 A, as most supplies of a Pi
NS = 1_000_000_000
FAULTS = ("vanish", "freeze", "zeros", "jump", "wrap", "sleep", "clock step")


@dataclass(frozen=True)
class Signal:
    """Power as a function of time, and its integral from 0: both exact. burst : rare and short, so that readings miss most of it"""

    name: str
    power_w: Callable[[float], float]
    energy_j: Callable[[float], float]
    burst: bool = False


def constant() -> Signal:
    """3 W."""
    return Signal("constant", lambda t_s: 3.0, lambda t_s: 3.0 * t_s)


def broken_line(name: str, t_s: np.ndarray, power_w: np.ndarray, burst: bool = False) -> Signal:
    """Straight between points; two points at one instant are a step. t_s, power_w : (N,) float64, in order"""
    sums_j = np.concatenate([[0.0], np.cumsum(np.diff(t_s) * (power_w[1:] + power_w[:-1]) / 2)])

    def power(at_s: float) -> float:
        k = min(max(int(np.searchsorted(t_s, at_s, side="right")) - 1, 0), len(t_s) - 2)
        width_s = t_s[k + 1] - t_s[k]
        share = (at_s - t_s[k]) / width_s if width_s else 1.0
        return float(power_w[k] + (power_w[k + 1] - power_w[k]) * share)

    def energy(at_s: float) -> float:
        k = min(max(int(np.searchsorted(t_s, at_s, side="right")) - 1, 0), len(t_s) - 2)
        return float(sums_j[k] + (at_s - t_s[k]) * (power_w[k] + power(at_s)) / 2)

    return Signal(name, power, energy, burst)


def steps(rng: np.random.Generator, seconds: float) -> Signal:
    """A new level each 0.5 to 8 s: a program whose phases differ."""
    edges = np.concatenate([[0.0], np.cumsum(rng.uniform(0.5, 8.0, int(seconds)))])
    levels = rng.uniform(2.0, 7.0, len(edges) - 1)
    return broken_line("steps", np.repeat(edges, 2)[1:-1], np.repeat(levels, 2))


def ramps(rng: np.random.Generator, seconds: float) -> Signal:
    """Up and down in 1 to 20 s: a board that warms up, a clock that is lowered."""
    corners = np.concatenate([[0.0], np.cumsum(rng.uniform(1.0, 20.0, int(seconds)))])
    return broken_line("ramps", corners, rng.uniform(2.0, 7.0, len(corners)))


def ripple() -> Signal:
    """Mains: 0.5 W of 50 Hz on 3 W, which readings at exactly 10 Hz would all meet at the same phase."""
    omega = 2 * math.pi * 50
    return Signal(
        "50 Hz ripple",
        lambda t_s: 3.0 + 0.5 * math.sin(omega * t_s),
        lambda t_s: 3.0 * t_s + 0.5 * (1 - math.cos(omega * t_s)) / omega,
    )


def bursts(rng: np.random.Generator, seconds: float, per_s: float = 1.0) -> Signal:
    """6 W for 20 ms on 3 W, at random times, once a second on average."""
    starts = np.sort(rng.uniform(0.0, seconds, int(seconds * per_s)))
    starts = starts[np.diff(starts, prepend=-1.0) > 0.03]
    edges = np.sort(np.concatenate([[0.0], starts, starts + 0.02, [seconds + 60]]))
    levels = np.where(np.arange(len(edges) - 1) % 2 == 0, 3.0, 6.0)
    return broken_line("20 ms bursts", np.repeat(edges, 2)[1:-1], np.repeat(levels, 2), burst=True)


@dataclass
class World:
    """The clocks of a simulated board, in nanoseconds. Only the board's sleep moves `boot` away from `ns`."""

    ns: int = 0
    asleep_ns: int = 0
    set_ns: int = 0

    def monotonic(self) -> int:
        return self.ns

    def boot(self) -> int:
        return self.ns + self.asleep_ns

    def wall(self) -> int:
        return self.ns + self.asleep_ns + self.set_ns + 1_700_000_000 * NS

    @property
    def true_s(self) -> float:
        """Seconds in which the board drew power, awake or asleep."""
        return self.boot() / NS

    def to(self, seconds: float) -> None:
        """Go on to this monotonic time."""
        self.ns = max(self.ns, round(seconds * NS))


@dataclass
class Sensor:
    """A shunt that shows the signal's mean over `window_s`, or, if it counts, the energy in a register of 32 bits.

    noise_w : standard deviation of a reading; faults : those that are on now
    """

    signal: Signal
    world: World
    rng: random.Random
    window_s: float = 0.0
    counts: bool = False
    noise_w: float = 0.0
    faults: set[str] = field(default_factory=set)
    name: str = "simulated"
    covers: str = "a simulated board"
    accuracy: Accuracy = Accuracy.MEASURED
    interval_s: float = 0.001
    notes: tuple[str, ...] = ()
    wrap_j: float = 400.0
    _last: Reading | None = None
    _register_j: float = 0.0
    _sum_j: float = 0.0

    @property
    def limits(self) -> Limits:
        return Limits(0.0, RANGE_W, self.window_s)

    def read(self) -> Reading:
        if "vanish" in self.faults:
            raise MeterError(f"{self.name}: expected a sensor, got none")
        t_ns, t_s = self.world.ns, self.world.true_s
        if self._last is not None and "freeze" in self.faults:
            last = self._last
            return Reading(t_ns, last.power_w, last.energy_j)
        self._last = self._counter(t_ns, t_s) if self.counts else Reading(t_ns, self._power_w(t_s))
        return self._last

    def close(self) -> None:
        """Nothing is held open."""

    def _power_w(self, t_s: float) -> float:
        if "zeros" in self.faults:
            return 0.0
        window_s = min(self.window_s, t_s)
        true_w = self.signal.power_w(t_s)
        if window_s > 0:
            true_w = (self.signal.energy_j(t_s) - self.signal.energy_j(t_s - window_s)) / window_s
        power_w = max(round(true_w + self.rng.gauss(0.0, self.noise_w), 3), 0.0)  # in steps of 1 mW
        if "wrap" in self.faults:
            return power_w - 2 * RANGE_W  # a register whose sign bit was reached
        if "jump" in self.faults:
            return power_w + self.rng.choice((-40.0, 40.0, 400.0))
        return power_w

    def _counter(self, t_ns: int, t_s: float) -> Reading:
        """A register that wraps, and is set to zero by `wrap`: the difference then means nothing. It jumps, and stays there."""
        if "zeros" in self.faults:
            return Reading(t_ns, energy_j=0.0)
        register_j = self.signal.energy_j(t_s) % self.wrap_j
        restarted = "wrap" in self.faults
        self._sum_j += 0.0 if restarted else (register_j - self._register_j) % self.wrap_j
        self._register_j = register_j
        if "jump" in self.faults:
            self._sum_j += self.rng.choice((5000.0, -5000.0))
        return Reading(t_ns, energy_j=self._sum_j, restarted=restarted)
