"""From a kernel in Python to an object file: Numba's unoptimised LLVM IR, retargeted, then optimised for the CPU.

Runs only in worker processes (worker.py sets NUMBA_OPT=0 before Numba is imported). IR that was optimised for this
machine gives bad code for another, so nothing is optimised before the target is known. Uses Numba's internal
ahead-of-time code generator, so its version is pinned.
"""

from __future__ import annotations

import re
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core import compiler as numba_compiler
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu import FastMathOptions
from numba.core.registry import cpu_target

from alula.runtime.compiler.link import ALLOWED_SYMBOLS
from alula.runtime.compiler.target import IN_ORDER, target
from alula.runtime.errors import CompilerError
from alula.runtime.kernels import memory
from alula.runtime.kernels.lang import PLACEHOLDER, Kernel


def compile_kernel(kernel: Kernel, cpu: str) -> bytes:
    """The relocatable object of one kernel.

    raise : CompilerError if the kernel would need Python or Numba at run time
    """
    machine = _target_machine(cpu)
    module = _retarget(_unoptimised_ir(kernel), kernel.name, machine)
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    tuning.loop_interleaving = True
    tuning.loop_unrolling = not (kernel.compact and cpu in IN_ORDER)
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    _check_symbols(kernel, module)
    return bytes(machine.emit_object(module))


def assembly(kernel: Kernel, cpu: str) -> str:
    """The kernel's assembly, to read."""
    machine = _target_machine(cpu)
    module = _retarget(_unoptimised_ir(kernel), kernel.name, machine)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    return str(machine.emit_assembly(module))


def _target_machine(cpu: str) -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    wanted = target(cpu)
    triple = llvm.Target.from_triple(wanted.triple)
    return triple.create_target_machine(cpu=cpu, features=wanted.features, opt=3, reloc="pic", codemodel="small")


def _entry(kernel: Kernel) -> Any:
    """A function (args, tid, n_threads) that unpacks the argument words and calls the kernel's body."""
    body = numba.njit(error_model="numpy", boundscheck=False, fastmath=set(kernel.fastmath))(kernel.function)
    scope: dict[str, Any] = {"body": body, **vars(memory)}
    readers = {
        "float32": "f32",
        "int64": "i64",
        "int32": "i32",
        "uint8": "u8",
        "int8": "i8",
        "uint16": "u16",
        "uint64": "u64",
    }
    values = []
    for position, kind in enumerate(kernel.types):
        word = f"i64_at(args)[{position}]"
        if kind.element == "tail":
            values.append(f"i64_at(args + {8 * position})")
        elif kind.is_pointer:
            values.append(f"{readers[kind.element]}_at({word})")
        else:
            values.append(f"f32_from_bits({word})" if kind.element == "float32" else word)
    source = f"def entry(args, tid, n_threads):\n    body({', '.join([*values, 'tid', 'n_threads'])})\n"
    exec(source, scope)  # the text is made of the kernel's own argument types; nothing comes from outside
    return scope["entry"]


def _unoptimised_ir(kernel: Kernel) -> tuple[str, str]:
    """(LLVM text, symbol of the C wrapper)."""
    context = cpu_target.target_context
    cpu_target.typing_context.refresh()
    context.refresh()
    aot = context.with_aot_codegen(f"alula_{kernel.name}")
    flags = numba_compiler.Flags()
    flags.enable_pyobject = False
    flags.nrt = True
    flags.error_model = "numpy"
    flags.boundscheck = False
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.fastmath = FastMathOptions(set(kernel.fastmath))
    i64 = types.int64
    with global_compiler_lock:
        result = numba_compiler.compile_extra(
            cpu_target.typing_context, aot, _entry(kernel), (i64, i64, i64), types.void, flags, locals={}
        )
        result.library.finalize()
    return result.library.get_llvm_str(), result.fndesc.llvm_cfunc_wrapper_name


def _retarget(source: tuple[str, str], name: str, machine: Any) -> Any:
    """Parse the IR for another machine: its triple, no reference counting, one exported function."""
    text, symbol = source
    text = re.sub(r"^target triple = .*$", f'target triple = "{machine.triple}"', text, flags=re.M)
    text = re.sub(r"^target datalayout = .*$", f'target datalayout = "{machine.target_data}"', text, flags=re.M)
    text = re.sub(r'"(target-cpu|target-features|tune-cpu)"="[^"]*"', "", text)
    text = re.sub(rf'@"{PLACEHOLDER}([\w.]+)"', r"@\1", text)
    text = re.sub(r"\bnoinline\b", "nounwind", text)
    for counter in ("NRT_incref", "NRT_decref"):
        text = re.sub(
            rf"^define [^\n]*@{counter}\([^\n]*\{{\n.*?^\}}\n",
            f"define internal void @{counter}(ptr %p) alwaysinline {{ ret void }}\n", text, flags=re.M | re.S,
        )  # fmt: skip
    # Arguments of kernels and of `vec_...` functions never overlap, or are equal in a loop that reads an element
    # before it writes the same one.
    text = re.sub(
        r"^define [^\n]*$",
        lambda m: _without_aliases(m.group(0)) if name in m.group(0) or "vec_" in m.group(0) else m.group(0),
        text, flags=re.M,
    )  # fmt: skip
    if not machine.triple.startswith(
        "x86"
    ):  # vector registers have another letter than on the machine Numba compiles for
        text = re.sub(r'asm "", "=x[^"]*"', lambda m: m[0].replace("x", "w"), text)
    # What names a loop's metadata refers to itself, which llvmlite's builder cannot write
    for loop in set(re.findall(r"!llvm\.loop !(\d+)", text)):
        text = re.sub(rf"^!{loop} = !\{{", f"!{loop} = distinct !{{!{loop}, ", text, flags=re.M)
    module = llvm.parse_assembly(text)
    module.verify()
    for function in module.functions:
        if function.is_declaration:
            continue
        if function.name == symbol:
            function.name, function.linkage = name, "external"
        else:
            function.linkage = "internal"
            function.add_function_attribute("alwaysinline")
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    return module


def _without_aliases(definition: str) -> str:
    """A function's head with all its pointer arguments marked noalias."""
    return re.sub(r"\bptr (?!noalias)(?=[^,%]*%arg\.)", "ptr noalias ", definition)


def _check_symbols(kernel: Kernel, module: Any) -> None:
    alien = sorted(
        f.name for f in module.functions
        if f.is_declaration and not f.name.startswith("llvm.") and f.name not in ALLOWED_SYMBOLS
    )  # fmt: skip
    if alien:
        raise CompilerError(
            f"kernel {kernel.name}: expected no symbol but libc's and libm's, got {', '.join(alien)}; "
            "a kernel must not allocate, raise or call Python"
        )
