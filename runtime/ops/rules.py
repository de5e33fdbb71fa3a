"""Rules of an op that are in other files of its room than the contract: lowering and gradient.

A file of rules is imported when the first op of its room needs one, so inference never imports gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from alula.runtime.ops.contract import Op, files_for, import_file

Rule = TypeVar("Rule", bound=Callable[..., object])


class Rules(Generic[Rule]):
    """Rules of one kind.

    stem : how the files begin that hold them
    """

    def __init__(self, stem: str) -> None:
        self._stem = stem
        self._rules: dict[str, Rule] = {}
        self._imported: set[str] = set()

    def add(self, *ops: str) -> Callable[[Rule], Rule]:
        """Register a function as the rule of these ops."""

        def register(function: Rule) -> Rule:
            for op in ops:
                assert op not in self._rules, f"two {self._stem} rules for {op}"
                self._rules[op] = function
            return function

        return register

    def find(self, op: Op) -> Rule | None:
        """The rule of an op; None if it has none."""
        if op.name not in self._rules and op.room not in self._imported:
            for path in files_for("", "op", op.room):
                import_file(path)
            for path in files_for(op.name, self._stem, op.room):
                import_file(path)
                if op.name in self._rules:
                    return self._rules[op.name]
            self._imported.add(op.room)
        return self._rules.get(op.name)
