"""Every test runs with its plans proved and on poisoned memory (runtime/planning/checking.py), unless it says otherwise.

A fault within a command is raised as it is (alula/faults.py), so a test sees it.
"""

from __future__ import annotations

import os

os.environ.setdefault("ALULA_CHECK", "1")
os.environ.setdefault("ALULA_TRACEBACK", "1")
