"""The kinds of power meters, one file each. A file that has a `KIND` is one; another is a part of one.

Adding a meter is adding a file: `select.py` and the commands know none by name.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from alula.device.power.kinds import Kind


@functools.cache
def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [module.KIND for module in modules if hasattr(module, "KIND")]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.name)}
