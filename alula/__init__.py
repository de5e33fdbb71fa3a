"""Alula runs a packed network on a Raspberry Pi and keeps training it there, within an energy budget.

    import alula
    model = alula.load("model.alula")
    answer = model(image)

Importing this module imports nothing else. Each name below is imported on first use.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in `typing`, whose import would be half the time of this one
if TYPE_CHECKING:
    from alula.runtime.errors import AlulaError as AlulaError
    from alula.runtime.model import Model as Model
    from alula.runtime.model import load as load
    from alula.runtime.model import load_all as load_all

__version__ = "0.1.0"
__all__ = ["AlulaError", "Model", "__version__", "load", "load_all"]

_HOME = {
    "AlulaError": "alula.runtime.errors",
    "Model": "alula.runtime.model",
    "load": "alula.runtime.model",
    "load_all": "alula.runtime.model",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'alula' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
