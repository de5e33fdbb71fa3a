"""The rules that hold the project together: who may import whom, how long a file may be, what documents may promise."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from alula.cli import COMMANDS, Parser
from alula.demo.networks import INSTALL_OCR
from alula.device.doctor.system import FIRST_UNTRIED_PYTHON, MIN_PYTHON
from alula.runtime.ops.contract import REGISTRY
from alula.runtime.planning.autodiff import RULES
from alula.runtime.planning.expansion import RULES as EXPANSION
from alula.runtime.planning.lowering import LOWERING

ROOT = Path(__file__).parent.parent
FOLDERS = ("alula", "runtime", "device", "host", "tests", "demo", "deploy")
SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not any((ROOT / Path(*path.relative_to(ROOT).parts[:n])).is_symlink() for n in range(1, 4))
)
DOCUMENTS = sorted(path for folder in (".", "docs", "deploy") for path in (ROOT / folder).glob("*.md"))
COMPILER_ONLY = {"numba", "llvmlite"}
# What each folder may import when its modules are imported; anything else is fetched inside a function.
ALLOWED = {"runtime": {"numpy"}, "device": {"numpy", "psutil"}, "alula": set()}
# Whom no module of a folder may import, anywhere in it.
FORBIDDEN = {
    "runtime": ("alula.host", "alula.device", "alula.commands", "alula.cli"),
    "device": ("alula.host",),
    "host": ("alula.device",),
    "demo": ("alula.commands", "alula.cli"),
    "tests/bench": ("alula.commands",),
    "runtime/kernels": ("alula.runtime.ops", "alula.runtime.compiler"),
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, *, at_module_level: bool) -> set[str]:
    """Dotted names of what a file imports; those under `if TYPE_CHECKING` are not imported at all."""
    found: set[str] = set()

    def walk(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.update({node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)})
            elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "COMPILING"):
                walk(node.orelse)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and at_module_level:
                continue
            else:
                for field in ("body", "orelse", "finalbody", "handlers"):
                    walk(getattr(node, field, []))

    walk(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


def test_no_source_file_is_longer_than_400_lines_and_no_test_than_500() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: n for name, n in lengths.items() if n > (500 if name.startswith("tests/") else 400)} == {}


def test_half_of_all_source_files_have_130_lines_or_fewer() -> None:
    lengths = [len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES if not name_of(p).startswith("tests/")]
    assert statistics.median(lengths) <= 130


def test_every_source_file_says_what_it_is_for() -> None:
    silent = [
        name_of(p)
        for p in SOURCES
        if p.stat().st_size and not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))
    ]
    assert silent == []


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_nobody_imports_against_the_arrows(folder: str) -> None:
    broken = [
        f"{name_of(path)} imports {module}"
        for path in SOURCES
        if name_of(path).startswith(f"{folder}/")
        for module in imports(path, at_module_level=False)
        if any(module == other or module.startswith(f"{other}.") for other in FORBIDDEN[folder])
    ]
    assert broken == []


@pytest.mark.parametrize("folder", ALLOWED)
def test_importing_a_module_needs_only_the_base_dependencies(folder: str) -> None:
    broken = []
    for path in SOURCES:
        name = name_of(path)
        if not name.startswith(f"{folder}/"):
            continue
        allowed = ALLOWED[folder] | {"alula"} | sys.stdlib_module_names
        if name in ("runtime/compiler/pipeline.py", "runtime/kernels/simd.py", "runtime/kernels/memory.py"):
            allowed |= COMPILER_ONLY
        tops = {module.partition(".")[0] for module in imports(path, at_module_level=True)}
        broken += [f"{name} imports {top}" for top in sorted(tops - allowed - {""})]
    assert broken == []


def test_the_four_folders_are_imported_under_one_name_only() -> None:
    broken = [f"{name_of(path)} imports {m}" for path in SOURCES for m in imports(path, at_module_level=False)
              if m.partition(".")[0] in ("runtime", "device", "host", "demo")]  # fmt: skip
    assert broken == []
    for folder in ("runtime", "device", "host", "demo"):
        assert (ROOT / "alula" / folder).is_symlink()
        result = subprocess.run(
            [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert f"expected the import name alula.{folder}" in result.stderr


def test_the_same_pythons_are_promised_everywhere() -> None:
    text = {
        name: (ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "README.md", "deploy/install.sh")
    }
    minors = [
        int(minor) for minor in re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', text["pyproject.toml"])
    ]
    first, last = minors[0], minors[-1]
    assert minors == list(range(first, last + 1))
    assert f'requires-python = ">=3.{first},<3.{last + 1}"' in text["pyproject.toml"]
    assert f"Python 3.{first} to 3.{last}" in text["README.md"]
    assert f"    {' | '.join(f'3.{minor}' for minor in minors)}) ;;" in text["deploy/install.sh"]
    assert (MIN_PYTHON, FIRST_UNTRIED_PYTHON) == ((3, first), (3, last + 1))


def test_the_command_that_installs_the_ocr_networks_is_the_same_everywhere() -> None:
    arguments = INSTALL_OCR.removeprefix("pip install ")
    assert f"OCR_MODELS := {arguments}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert INSTALL_OCR in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_importing_alula_imports_nothing_else() -> None:
    code = "import sys, alula; print({m.partition('.')[0] for m in sys.modules} & {'numpy', 'psutil', 'numba', 'onnx', 'rich'})"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )


def test_using_the_engine_imports_neither_compiler_nor_onnx() -> None:
    code = "import sys, alula; alula.load; print({'numba', 'llvmlite', 'onnx', 'onnxruntime', 'cv2', 'rich'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )


def test_an_unknown_name_of_alula_is_refused_with_the_known_ones() -> None:
    alula = importlib.import_module("alula")
    with pytest.raises(AttributeError, match="load_all"):
        alula.laod  # noqa: B018


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_in_a_document_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_in_a_document_exists_with_its_options(document: Path) -> None:
    wrong = []
    for command, rest in re.findall(
        r"(?:^|`|&& )alula ([a-z]\w*)([^`#\n]*)", document.read_text(encoding="utf-8"), re.M
    ):
        if command not in COMMANDS:
            wrong.append(command)
            continue
        parser = Parser()
        importlib.import_module(f"alula.commands.{command}").add_arguments(parser)
        inner = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if inner and (words := rest.split()):  # of `alula power log -- COMMAND`, the options before the command
            parser, rest = inner[0].get(words[0]), rest.split(" -- ")[0]
            if parser is None:
                wrong.append(f"{command} {words[0]}")
                continue
        known = {option for action in parser._actions for option in action.option_strings} | {"--json"}
        wrong += [f"{command} {option}" for option in re.findall(r"--[a-z-]+", rest) if option not in known]
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_target_and_benchmark_in_a_document_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"(?:^|`)make (\w+)", text, re.M)) <= targets
    modules = set(re.findall(r"python -m (tests[\w.]+)", text))
    assert [m for m in sorted(modules) if not (ROOT / f"{m.replace('.', '/')}.py").exists()] == []


def test_every_path_in_the_architecture_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8") + (ROOT / "CONTRIBUTING.md").read_text(
        encoding="utf-8"
    )
    paths = re.findall(r"`((?:runtime|device|host|tests|docs|demo|alula)/[\w./]*)`", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


# Imports inside functions that close a circle of files: the face of a part that builds on it
LAZY = {("alula.runtime.model", "alula.runtime.train.trainer")}


def import_graph(folder: str) -> dict[str, set[str]]:
    """Module -> modules of the same folder that it imports, in functions too; those under TYPE_CHECKING left out."""
    files = {
        ".".join(("alula", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in (ROOT / folder).rglob("*.py")
    }
    graph = {}
    for name, path in files.items():
        found = imports(path, at_module_level=False) & files.keys()
        packages = {module.rpartition(".")[0] for module in found}  # of `from package import module`
        graph[name] = found - packages - {name}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which reaches every other one."""
    reached: dict[str, set[str]] = {}
    for name in graph:
        found, left = set[str](), [name]
        while left:
            new = graph[left.pop()] - found
            found |= new
            left += new
        reached[name] = found
    groups = {frozenset({n} | {m for m in reached[n] if n in reached[m]}) for n in graph if n in reached[n]}
    return sorted(map(sorted, groups))


@pytest.mark.parametrize("folder", ["runtime", "host", "device"])
def test_no_files_import_each_other_in_a_circle(folder: str) -> None:
    graph = import_graph(folder)
    lazy = {(name, other) for name, other in LAZY if other in graph.get(name, ())}
    assert len(LAZY) <= 3 and (folder != "runtime" or lazy == LAZY)
    assert (
        circles({name: {other for other in others if (name, other) not in lazy} for name, others in graph.items()})
        == []
    )
    assert folder != "runtime" or circles(graph)  # what is declared is needed


def test_the_makefile_runs_every_benchmark() -> None:
    lines = re.findall(r"^(?:LONG_)?BENCHES := ([^#\n]*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert len(lines) == 2
    scripts = {
        path.stem for path in (ROOT / "tests/bench").glob("*.py") if "def main(" in path.read_text(encoding="utf-8")
    }
    assert set(" ".join(lines).split()) == scripts


def test_the_list_of_ops_is_complete_and_says_which_have_a_kernel() -> None:
    rows = re.findall(r"^\| `runtime/ops/(\w+)/` \| (.*) \|$", (ROOT / "docs/ops.md").read_text(encoding="utf-8"), re.M)
    listed = {room: set(ops.split(", ")) for room, ops in rows}
    registered: dict[str, set[str]] = {}
    for name, op in REGISTRY.ours().items():
        registered.setdefault(op.room, set()).add(f"{name}*" if LOWERING.find(op) or EXPANSION.find(op) else name)
    assert listed == registered


FIRST = """
import importlib, sys
importlib.import_module(f"alula.runtime.ops.{sys.argv[1]}.{sys.argv[2]}")
from alula.runtime.ops.contract import REGISTRY
from alula.runtime.planning.autodiff import RULES
from alula.runtime.planning.autodiff import RULES
from alula.runtime.planning.lowering import LOWERING
print(",".join(sorted(name for name, op in REGISTRY.ours().items() if LOWERING.find(op))))
print(",".join(sorted(name for name, op in REGISTRY.ours().items() if RULES.find(op))))
"""


@pytest.mark.parametrize(
    "first", ["conv.lower", "conv.gradient", "elementwise.lower", "elementwise.gradient_activation"]
)
def test_rules_are_found_whichever_file_was_imported_first(first: str) -> None:
    """A new process each: what one room imports of another must not hide the rules of the other one's ops."""
    command = [sys.executable, "-c", FIRST, *first.split(".")]
    lowered, differentiated = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    ours = REGISTRY.ours().items()
    assert lowered == ",".join(sorted(name for name, op in ours if LOWERING.find(op)))
    assert differentiated == ",".join(sorted(name for name, op in ours if RULES.find(op)))
    assert "Relu" in lowered.split(",") and "Relu" in differentiated.split(",")
