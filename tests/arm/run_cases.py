"""On a board, without pytest and without the compiler: every case of the kernel table beside its NumPy reference.

    python -m tests.arm.run_cases SHARE OF      # the cases SHARE, SHARE + OF, SHARE + 2 OF...

Prints one JSON object: the cases that ran, those that failed with why, the pack, and what was imported.
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np

from alula.runtime.compiler import library
from alula.runtime.compiler.cpu import host_cpu
from alula.runtime.graph import Array
from alula.runtime.model import Model
from alula.runtime.planning.reference import evaluate
from tests.runtime.kernel_case import Case
from tests.runtime.kernel_cases import CASES

THREADS = (1, 2)


def difference(case: Case, got: Array, wanted: Array) -> str:
    """What is wrong with a result; nothing if it equals the reference but for the rounding of sums."""
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        return f"expected {wanted.dtype} {wanted.shape}, got {got.dtype} {got.shape}"
    try:
        if case.exact or wanted.dtype.kind != "f":
            np.testing.assert_array_equal(got, wanted)
        else:
            scale = float(np.abs(wanted).max(initial=1e-6, where=np.isfinite(wanted)))
            eps = float(np.finfo(wanted.dtype).eps) * case.slack
            atol = (4 + case.terms**0.5) * 2 * eps * scale
            np.testing.assert_allclose(got, wanted, rtol=4 * eps, atol=atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:300]
    return ""


def failure(case: Case) -> str:
    """Why a case fails, on one thread or on two; nothing if it does not."""
    graph, feeds = case.build()
    wanted = evaluate(graph, feeds)
    for threads in THREADS:
        got = Model(graph, threads=threads).run(feeds)
        for name in graph.outputs:
            if why := difference(case, got[name], wanted[name]):
                return f"{threads} threads: {why}"
    return ""


def main() -> None:
    """Run this process's share."""
    share, of = map(int, sys.argv[1:3])
    warnings.simplefilter("ignore")  # references overflow on purpose
    mine = CASES[share::of]
    failed = [{"case": case.label, "why": why} for case in mine if (why := failure(case))]
    imported = sorted({"numba", "llvmlite"} & set(sys.modules))
    told = {"cpu": host_cpu(), "pack": str(library().path), "cases": len(mine), "failed": failed, "imported": imported}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
