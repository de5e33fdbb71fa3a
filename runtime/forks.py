"""What a fork must not copy: locks that a thread held which the child does not have."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Renewable(Protocol):
    """What must not stay as another thread left it when the process was forked."""

    def renew(self) -> None:
        """Make it as new; no other thread is running."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_in_children(thing: Renewable) -> None:
    """In each child of this process `renew` is called before anything else, as long as the thing lives."""
    _renewables.add(thing)


class ForkLock:
    """A lock, used as `with it.lock`, that is free in a child."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """Another lock: whoever holds the old one releases that."""
        self.lock = threading.Lock()


def _renew_all() -> None:
    for thing in list(_renewables):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
