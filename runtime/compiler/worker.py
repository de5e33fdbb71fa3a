"""A process that compiles kernels: reads one line per kernel (module, name, object path), answers `done NAME` or `failed NAME why`.

Started as `python -m alula.runtime.compiler.worker CPU`, in an environment where NUMBA_OPT=0 is already set.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path


def main() -> None:
    """Serve until standard input ends."""
    from alula.runtime.compiler import pipeline
    from alula.runtime.kernels.lang import KERNELS

    cpu = sys.argv[1]
    for line in sys.stdin:
        module, name, path = line.rstrip("\n").split("\t")
        try:
            importlib.import_module(module)
            code = pipeline.compile_kernel(KERNELS[name], cpu)
            temporary = Path(f"{path}.{os.getpid()}")
            temporary.write_bytes(code)
            temporary.replace(path)
            answer = f"done {name}"
        except Exception as error:  # whatever goes wrong is this kernel's result, told to the parent in one line
            answer = f"failed {name} {type(error).__name__}: {' '.join(str(error).split())[:2000]}"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
