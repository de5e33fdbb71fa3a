"""The accounts of a ledger: energy by class in whole femtojoules, time in whole nanoseconds, so that sums are exact."""

from __future__ import annotations

from dataclasses import dataclass, field

from alula.device.power.bounds import Bound
from alula.device.power.meter import Accuracy

OTHER = ""  # the path of time outside all phases
FJ = 10**15  # femtojoules in a joule
Energy = dict[Accuracy, int]  # femtojoules by class


def add(energy: Energy, accuracy: Accuracy, energy_fj: int) -> None:
    """Book energy of a class."""
    energy[accuracy] = energy.get(accuracy, 0) + energy_fj


def joules(energy: Energy) -> float:
    """Of all classes together; whoever shows it says the worst of them."""
    return sum(energy.values()) / FJ


@dataclass
class Account:
    """What one phase used itself, without the phases inside it. `gap_ns` of its time have no energy booked here."""

    energy: Energy = field(default_factory=dict)
    nanoseconds: int = 0
    gap_ns: int = 0
    calls: int = 0

    @property
    def energy_j(self) -> float:
        return joules(self.energy)

    @property
    def seconds(self) -> float:
        return self.nanoseconds / 1e9

    @property
    def gap_s(self) -> float:
        return self.gap_ns / 1e9

    def __add__(self, other: Account) -> Account:
        energy = dict(self.energy)
        for accuracy, energy_fj in other.energy.items():
            add(energy, accuracy, energy_fj)
        gap_ns = self.gap_ns + other.gap_ns
        return Account(energy, self.nanoseconds + other.nanoseconds, gap_ns, self.calls + other.calls)


@dataclass
class Gap:
    """Time without readings. Energy is a counter's difference where there is one, else a guess, and of that class.

    unknown_s : seconds for which not even a guess is possible; no energy is booked for them
    """

    energy: Energy = field(default_factory=dict)
    nanoseconds: int = 0
    count: int = 0
    unknown_s: float = 0.0
    guessed_fj: int = 0

    @property
    def energy_j(self) -> float:
        return joules(self.energy)

    @property
    def guessed_j(self) -> float:
        return self.guessed_fj / FJ

    @property
    def counted_j(self) -> float:
        return (sum(self.energy.values()) - self.guessed_fj) / FJ

    @property
    def seconds(self) -> float:
        return self.nanoseconds / 1e9


@dataclass
class Source:
    """What one meter contributed, gaps left out, and what bounds its error."""

    bound: Bound
    energy_fj: int = 0
    nanoseconds: int = 0

    @property
    def energy_j(self) -> float:
        return self.energy_fj / FJ

    @property
    def seconds(self) -> float:
        return self.nanoseconds / 1e9


@dataclass
class Mark:
    """An instant. energy : what was booked up to there; None until the readings on both sides of it are there"""

    t_ns: int
    energy: Energy | None = None
