"""Kernels, compiled ahead of time: build them once for a CPU, then load them from the cache.

Loading kernels does not import the code that builds them: each name here is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alula.runtime.compiler.builder import build, list_kernels
    from alula.runtime.compiler.cache import cache_path
    from alula.runtime.compiler.cpu import host_cpu
    from alula.runtime.compiler.loader import KernelLibrary, library

_HOMES = {
    "build": "builder", "list_kernels": "builder", "cache_path": "cache", "host_cpu": "cpu",
    "KernelLibrary": "loader", "library": "loader",
}  # fmt: skip

__all__ = ["KernelLibrary", "build", "cache_path", "host_cpu", "library", "list_kernels"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
