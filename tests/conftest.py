"""Every test runs with its plans proved and on poisoned memory (runtime/planning/checking.py), unless it says otherwise."""

from __future__ import annotations

import os

os.environ.setdefault("ALULA_CHECK", "1")
