"""The kernels: which pack was chosen and why, and whether it works."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from alula.device.doctor.finding import Fact, Finding, Verdict
from alula.device.doctor.machine import Machine
from alula.device.doctor.probe import ask_child

CHOOSE = """
from alula.runtime.compiler import cache, packs
chosen = packs.choose()
answer({"cpu": chosen.cpu, "path": None if chosen.path is None else str(chosen.path), "reason": chosen.reason,
        "refused": [[str(path), why] for path, why in chosen.refused], "cache": str(next(iter(cache.folders(chosen.cpu)), ""))})
"""
SELF_TEST = """
from alula.device.doctor.selftest import results
answer({"results": results()})
"""
COMPILER = "build them with: alula kernels build"
REINSTALL = "install the wheel that was built with its packs, or alula[compiler], which builds them here"


def kernels(machine: Machine) -> tuple[Finding, Finding, Path | None]:
    """The pack, the self-test with it, and the folder of the cache if it could be learned."""
    outcome = ask_child(CHOOSE, machine.child_limit_s)
    if outcome.trouble:
        fix = "fix NumPy first, if it is wrong above; else " + REINSTALL
        pack = Finding("pack", Verdict.WRONG, f"could not be chosen: {outcome.trouble}", fix, {"pack": None})
        return pack, Finding("self-test", Verdict.WRONG, "not run: no pack", facts={"self_test": None}), None
    chosen = outcome.answer
    cache = Path(chosen["cache"]) if chosen["cache"] else None
    refused = "; ".join(f"refused {Path(path).name}: {why}" for path, why in chosen["refused"])
    facts: dict[str, Fact] = {"kernel_cpu": chosen["cpu"], "pack": chosen["path"], "pack_reason": chosen["reason"],
                              "packs_refused": refused}  # fmt: skip
    told = all(why in chosen["reason"] for _, why in chosen["refused"])
    rest = "" if told else f"; {refused}"
    if chosen["path"] is None:
        return *_without_pack(chosen["cpu"], chosen["reason"] + rest, facts), cache
    found = f"{chosen['cpu']}: {chosen['path']} ({chosen['reason']}){rest}"
    verdict = Verdict.NOTE if refused else Verdict.OK
    return Finding("pack", verdict, found, facts=facts), self_test(machine), cache


def self_test(machine: Machine) -> Finding:
    """Products and convolutions through the engine, compared with NumPy, in a child process."""
    outcome = ask_child(SELF_TEST, machine.child_limit_s)
    if outcome.trouble:
        fix = f"these kernels do not fit this processor: {REINSTALL}" if outcome.lethal else REINSTALL
        return Finding("self-test", Verdict.WRONG, outcome.trouble, fix, {"self_test": False})
    return judge(outcome.answer["results"])


def judge(results: list[dict[str, float | str | bool]]) -> Finding:
    """The verdict on what the self-test answered."""
    bad = [f"{r['name']} differs by {r['error']:.2g}, {r['tolerance']:.2g} is allowed" for r in results if not r["ok"]]
    facts: dict[str, Fact] = {"self_test": bool(results) and not bad, "self_test_cases": len(results)}
    if bad or not results:
        found = "; ".join(bad) or "no case was run"
        return Finding("self-test", Verdict.WRONG, found, f"do not trust these kernels: {REINSTALL}", facts)
    names = ", ".join(str(r["name"]) for r in results)
    return Finding("self-test", Verdict.OK, f"equal to NumPy: {names}", facts=facts)


def _without_pack(cpu: str, why: str, facts: dict[str, Fact]) -> tuple[Finding, Finding]:
    """No pack: with the compiler there they are built at first use; without it nothing runs."""
    can_build = all(importlib.util.find_spec(name) for name in ("numba", "llvmlite"))
    facts["compiler"] = can_build
    verdict = Verdict.WARNING if can_build else Verdict.WRONG
    test = Finding("self-test", verdict, "not run: no pack", facts={"self_test": None})
    return Finding("pack", verdict, f"{cpu}: none ({why})", COMPILER if can_build else REINSTALL, facts), test
