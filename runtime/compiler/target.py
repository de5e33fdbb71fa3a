"""The CPUs that kernels are compiled for, under LLVM's names, and what a machine must have to run the result.

Part of every kernel's hash, because this file changes code. `cpu.py` recognises the machine.
"""

from __future__ import annotations

from alula.runtime.errors import CompilerError
from alula.runtime.frozen import frozen

X86_V2 = frozenset("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3".split())
X86_V3 = X86_V2 | frozenset("abm avx avx2 bmi1 bmi2 f16c fma movbe".split())
X86_V4 = X86_V3 | frozenset("avx512f avx512bw avx512cd avx512dq avx512vl".split())
ARM_V80 = frozenset("fp asimd".split())
ARM_V82 = ARM_V80 | frozenset("crc32 atomics asimdrdm fphp asimdhp asimddp lrcpc".split())


@frozen
class Target:
    """One CPU.

    needs    : everything that LLVM may emit for it beyond the architecture's base, as Linux names it: the `flags` of x86,
               the HWCAPs of ARM
    features : LLVM features beyond those that the name implies, or fewer
    """

    triple: str
    needs: frozenset[str] = frozenset()
    features: str = ""

    @property
    def architecture(self) -> str:
        """As `uname -m` says it on Linux."""
        return self.triple.partition("-")[0].replace("arm64", "aarch64")


X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
# LLVM's names imply the optional parts that the Raspberry Pi 3 and 4 were made without
NO_CRYPTO, V80_ONLY = "-aes,-sha2", "-aes,-sha2,-crc"

TARGETS = {
    "cortex-a53": Target(ARM, ARM_V80, V80_ONLY),
    "cortex-a72": Target(ARM, ARM_V80, V80_ONLY),
    "cortex-a76": Target(ARM, ARM_V82, NO_CRYPTO),
    "generic": Target(ARM, ARM_V80),
    "x86-64": Target(X86),
    "x86-64-v2": Target(X86, X86_V2),
    "x86-64-v3": Target(X86, X86_V3),
    # Kernels ask for full vectors themselves, and LLVM must not halve those of its own loops.
    "x86-64-v4": Target(X86, X86_V4, "-prefer-256-bit"),
    "apple-m1": Target("arm64-apple-macosx11.0.0", ARM_V82),
}

IN_ORDER = frozenset({"cortex-a53"})  # for these LLVM unrolls every loop, which doubles the code


def target(cpu: str) -> Target:
    """What is known of a CPU.

    raise : CompilerError if kernels cannot be compiled for it
    """
    if cpu not in TARGETS:
        raise CompilerError(f"cpu {cpu!r}: expected one of {', '.join(TARGETS)} or host, got another name; choose one")
    return TARGETS[cpu]
