"""`@frozen`: `@dataclass(frozen=True)` to its users, at a twentieth of the import time.

`dataclass` writes and compiles six methods per class. That is 0.4 ms for each of some fifty classes, in a start of tenths of
a second. Here one set of methods reads the fields when it runs. `dataclasses.fields`, `replace` and
`asdict` work. Classes with thousands of instances (nodes, specs, addresses) stay real dataclasses with slots.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, field
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


def _init(self: Any, *values: Any, **named: Any) -> None:
    fields = type(self).__dataclass_fields__
    if len(values) > len(fields):
        raise TypeError(f"{type(self).__name__} takes {len(fields)} values but {len(values)} were given")
    given = dict(zip(fields, values, strict=False))
    for name, value in named.items():
        if name not in fields or name in given:
            raise TypeError(
                f"{type(self).__name__} got {'two values for' if name in given else 'an unexpected'} {name!r}"
            )
        given[name] = value
    for name, spec in fields.items():
        if name not in given:
            if spec.default_factory is not MISSING:
                given[name] = spec.default_factory()
            elif spec.default is not MISSING:
                given[name] = spec.default
            else:
                raise TypeError(f"{type(self).__name__} misses {name!r}")
    self.__dict__.update({name: given[name] for name in fields})
    if hasattr(self, "__post_init__"):
        self.__post_init__()


def _set(self: Any, name: str, value: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in type(self).__dataclass_fields__)


def _equal(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in type(self).__dataclass_fields__)})"


METHODS = {
    "__init__": _init,
    "__setattr__": _set,
    "__delattr__": _delete,
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _repr,
}


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class an immutable record of its annotated fields."""
    made = dataclass(init=False, eq=False, repr=False)(cls)
    for name, method in METHODS.items():
        setattr(made, name, method)
    return made
