"""Native dependencies, each imported in a child process with a time limit."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from alula.device.doctor.finding import Fact, Finding, Verdict
from alula.device.doctor.machine import Machine
from alula.device.doctor.probe import Outcome, ask_child

REQUIRED = {"numpy": (1, 24), "psutil": (5, 9)}
OPTIONAL = ("cv2", "simplejpeg", "libcamera", "picamera2", "smbus2", "numba", "llvmlite", "onnx", "onnxruntime", "ncnn")
CAMERA = ("simplejpeg", "libcamera", "picamera2")
IMPORT = """
import importlib
name = sys.argv[1]
module = importlib.import_module(name)
version = getattr(module, "__version__", None)
if not isinstance(version, str):
    from importlib import metadata
    owners = metadata.packages_distributions().get(name, [])
    version = metadata.version(owners[0]) if owners else None
answer({"version": version, "path": getattr(module, "__file__", None) or ""})
"""
APT_CAMERA = (
    "for the ribbon-cable camera: sudo apt install -y python3-picamera2 --no-install-recommends, "
    "and a venv made with --system-site-packages"
)
# What NumPy's two generations say of a module that was built against the other one.
ABI_SIGNS = ("numpy.dtype size changed", "numpy.ufunc size changed", "_ARRAY_API not found",
             "compiled using NumPy 1.x", "numpy.core.multiarray failed to import", "compiled against ABI version")  # fmt: skip


def required(machine: Machine) -> list[Finding]:
    """NumPy and psutil, without which nothing runs."""
    return [judge(name, ask_child(IMPORT, machine.child_limit_s, name), machine) for name in REQUIRED]


def optional(machine: Machine, names: Iterable[str] = OPTIONAL) -> list[Finding]:
    """Those that are installed, one by one, and a line with the others."""
    findings, absent = [], []
    for name in names:
        if is_installed(name):
            findings.append(judge(name, ask_child(IMPORT, machine.child_limit_s, name), machine))
        else:
            absent.append(name)
    if absent:
        found = f"not installed, and needed only by what uses them: {', '.join(absent)}"
        facts: dict[str, Fact] = {"not_installed": " ".join(absent)}
        without_camera = machine.is_pi and "picamera2" in absent
        verdict = Verdict.NOTE if without_camera else Verdict.OK
        findings.append(Finding("optional", verdict, found, APT_CAMERA if without_camera else "", facts))
    return findings


def is_installed(name: str) -> bool:
    """Whether a module of that name would be found; it is not imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def judge(name: str, outcome: Outcome, machine: Machine) -> Finding:
    """The verdict on one import."""
    version, path = outcome.answer.get("version"), outcome.answer.get("path", "")
    facts: dict[str, Fact] = {f"{name}_works": not outcome.trouble, f"{name}_version": version}
    needed = name in REQUIRED
    if abi_trap(outcome):
        return Finding(name, Verdict.WRONG, f"built for another NumPy: {outcome.error or outcome.crash}",
                       _mend_abi(name), facts | {"numpy_abi_trap": True})  # fmt: skip
    if outcome.lethal:
        return Finding(name, Verdict.WRONG, f"import {outcome.trouble}", _mend_lethal(name, outcome), facts)
    if outcome.error:
        absent = outcome.error.startswith(f"ModuleNotFoundError: No module named '{name}'")
        fix = f"install it: sudo apt install python3-{name}, or pip install {name} in the venv"
        if not absent:
            fix = f"reinstall it: {outcome.error.split(':')[0]} means that a part of it does not fit"
        verdict = Verdict.WRONG if needed else Verdict.WARNING
        return Finding(name, verdict, outcome.error if not absent else "not installed", fix, facts)
    found = f"{version or 'without a version'}, {path or 'built in'}"
    least = REQUIRED.get(name)
    if least and version and _numbers(version) < least:
        wanted = ".".join(map(str, least))
        return Finding(
            name, Verdict.WRONG, found, f"{wanted} or later is needed: pip install '{name}>={wanted}'", facts
        )
    return Finding(name, Verdict.OK, found, facts=facts)


def abi_trap(outcome: Outcome) -> bool:
    """Whether a module failed because it was built against NumPy 1 and meets NumPy 2, or the reverse."""
    said = f"{outcome.error}\n{outcome.stderr}"
    return bool(outcome.trouble) and any(sign in said for sign in ABI_SIGNS)


def _mend_abi(name: str) -> str:
    if name in CAMERA:
        return (
            "the venv has a NumPy of its own over the one that apt's picamera2 was built for: "
            "pip uninstall numpy in the venv (made with --system-site-packages), or on Bookworm pip install 'numpy<2'"
        )
    return f"install a {name} built for this NumPy: pip install --upgrade --force-reinstall --no-deps {name}"


def _mend_lethal(name: str, outcome: Outcome) -> str:
    if outcome.hung:
        return f"try: python3 -X faulthandler -c 'import {name}'; reinstall {name} if it hangs again"
    if outcome.crash == "SIGILL":
        return f"this build of {name} is for a newer processor: install another version, or apt's, or remove it"
    return f"reinstall {name}, or remove it: whatever imports it dies without a word"


def _numbers(version: str) -> tuple[int, ...]:
    """(1, 24) of `1.24.2`."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
