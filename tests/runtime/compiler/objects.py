"""Objects made with llvmlite alone: a function that does nothing, or calls another one."""

from __future__ import annotations

from pathlib import Path

import llvmlite.binding as llvm

from alula.runtime.compiler.target import target


def make_object(path: Path, name: str, cpu: str, calls: str = "") -> Path:
    """An object with one function."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    body = f"call void @{calls}()\n ret void" if calls else "ret void"
    declaration = f"declare void @{calls}()\n" if calls else ""
    module = llvm.parse_assembly(
        f'target triple = "{target(cpu).triple}"\n{declaration}define void @{name}(i64 %a, i64 %b, i64 %c) {{\n {body}\n}}\n'
    )
    machine = llvm.Target.from_triple(target(cpu).triple).create_target_machine(cpu=cpu, reloc="pic", codemodel="small")
    path.write_bytes(machine.emit_object(module))
    return path
