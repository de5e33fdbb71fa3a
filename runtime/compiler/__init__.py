"""Kernels, compiled ahead of time: build them once for a CPU, load them from the cache ever after."""

from __future__ import annotations

from alula.runtime.compiler.build import build, list_kernels
from alula.runtime.compiler.cache import cache_path
from alula.runtime.compiler.cpu import host_cpu
from alula.runtime.compiler.loader import KernelLibrary, library

__all__ = ["KernelLibrary", "build", "cache_path", "host_cpu", "library", "list_kernels"]
