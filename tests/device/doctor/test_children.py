"""What may kill a process is run in a child: crashes, hangs, errors and NumPy's trap are told apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alula.device.doctor import Machine, Verdict, dependencies, kernels, power, probe
from alula.device.doctor.probe import Outcome, ask_child
from tests.device.doctor.conftest import Fake

KILLED = "import os, signal\nos.kill(os.getpid(), signal.{})\n"


def module(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    return name


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched for modules, by this process and its children."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name, words", [("SIGILL", "this CPU does not have"), ("SIGSEGV", "memory access")])
def test_a_module_that_dies_of_a_signal_is_wrong_and_named(name: str, words: str, importable: Path) -> None:
    lethal = module(importable, f"lethal_{name.lower()}", KILLED.format(name))
    (finding,) = dependencies.optional(Machine(), (lethal,))
    assert finding.verdict is Verdict.WRONG and name in finding.found and words in finding.found
    assert lethal in finding.fix
    assert finding.facts[f"{lethal}_works"] is False


def test_a_module_that_hangs_is_stopped_with_what_it_has_started(importable: Path) -> None:
    hanging = module(importable, "hanging", "import subprocess\nsubprocess.run(['sleep', '600'])\n")
    (finding,) = dependencies.optional(Machine(child_limit_s=1), (hanging,))
    assert finding.verdict is Verdict.WRONG and "hung" in finding.found


def test_a_module_that_raises_is_a_warning_with_its_last_line(importable: Path) -> None:
    name = module(
        importable, "raising", "print('noise')\nraise OSError('libfoo.so.1: cannot open shared object file')\n"
    )
    (finding,) = dependencies.optional(Machine(), (name,))
    assert finding.verdict is Verdict.WARNING
    assert finding.found == "OSError: libfoo.so.1: cannot open shared object file"


def test_a_module_that_prints_is_still_heard(importable: Path) -> None:
    name = module(importable, "chatty", "print('{\"version\": 9}', end='')\n__version__ = '1.2'\n")
    (finding,) = dependencies.optional(Machine(), (name,))
    assert finding.verdict is Verdict.OK and finding.facts["chatty_version"] == "1.2"


@pytest.mark.parametrize(
    "text",
    [
        "raise ValueError('numpy.dtype size changed, Expected 96 from C header, got 88 from PyObject')",
        "import sys\nsys.stderr.write('A module that was compiled using NumPy 1.x cannot be run in NumPy 2.0')\n"
        "raise ImportError('numpy.core.multiarray failed to import')",
        "import sys\nsys.stderr.write('AttributeError: _ARRAY_API not found\\n')\n" + KILLED.format("SIGSEGV"),
    ],
    ids=["dtype", "multiarray", "crash"],
)
def test_numpy_s_trap_is_explained(text: str, importable: Path) -> None:
    module(importable, "picamera2", text)
    (finding,) = dependencies.optional(Machine(), ("picamera2",))
    assert finding.verdict is Verdict.WRONG and "another NumPy" in finding.found
    assert "--system-site-packages" in finding.fix and finding.facts["numpy_abi_trap"] is True


def test_what_is_not_installed_is_one_line_and_on_a_pi_says_how_to_get_the_camera(fake: Fake) -> None:
    (finding,) = dependencies.optional(fake.machine(), ("no_such_module", "nor_this"))
    assert (finding.verdict, finding.fix) == (Verdict.OK, "") and "no_such_module, nor_this" in finding.found
    fake.pi()
    if not dependencies.is_installed("picamera2"):
        (finding,) = dependencies.optional(fake.machine(), ("picamera2",))
        assert finding.verdict is Verdict.NOTE and "apt install" in finding.fix


def test_numpy_and_psutil_are_found_with_their_versions() -> None:
    numpy, psutil = dependencies.required(Machine())
    assert (numpy.verdict, psutil.verdict) == (Verdict.OK, Verdict.OK)
    assert numpy.facts["numpy_version"] == np.__version__


def test_a_dependency_that_is_needed_is_wrong_when_absent_or_old() -> None:
    absent = Outcome(error="ModuleNotFoundError: No module named 'numpy'")
    assert dependencies.judge("numpy", absent, Machine()).found == "not installed"
    assert dependencies.judge("numpy", absent, Machine()).verdict is Verdict.WRONG
    old = Outcome(answer={"version": "1.21.5", "path": "/x"})
    assert "1.24 or later" in dependencies.judge("numpy", old, Machine()).fix


def test_a_child_sees_the_modules_of_this_process(importable: Path) -> None:
    module(importable, "beside", "x = 5\n")
    assert ask_child("import beside; answer({'x': beside.x, 'word': sys.argv[1]})", 60, "w").answer == {
        "x": 5,
        "word": "w",
    }


def test_a_child_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.sys, "executable", "/no/such/python")
    assert "no child process" in ask_child("answer({})", 5).trouble


def test_a_child_that_ends_without_an_answer_is_an_error() -> None:
    assert ask_child("sys.exit(3)", 60).trouble == "ended with status 3"


def answering(text: str) -> str:
    return f"answer({text})"


CHOSEN = "{'cpu': 'cortex-a72', 'path': '/p/cortex-a72.so', 'reason': 'part 0xd08', 'refused': %s, 'cache': '/c'}"


def test_the_pack_is_shown_with_its_reason_and_those_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [["/c/pack-1.so", "digest differs"]]
    monkeypatch.setattr(kernels, "CHOOSE", answering(CHOSEN % refused))
    monkeypatch.setattr(kernels, "SELF_TEST", answering("{'results': [{'name': 'product', 'ok': True}]}"))
    pack, test, cache = kernels.kernels(Machine())
    assert pack.verdict is Verdict.NOTE and cache == Path("/c")
    assert pack.found == "cortex-a72: /p/cortex-a72.so (part 0xd08); refused pack-1.so: digest differs"
    assert (test.verdict, test.found) == (Verdict.OK, "equal to NumPy: product")


def test_kernels_that_crash_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "CHOOSE", answering(CHOSEN % []))
    monkeypatch.setattr(kernels, "SELF_TEST", KILLED.format("SIGILL"))
    pack, test, _ = kernels.kernels(Machine())
    assert (pack.verdict, test.verdict) == (Verdict.OK, Verdict.WRONG)
    assert "SIGILL" in test.found and test.facts["self_test"] is False


def test_kernels_that_miscount_are_wrong_with_the_case() -> None:
    results = [{"name": "3x3 convolution", "error": 0.5, "tolerance": 1e-3, "ok": False}]
    test = kernels.judge(results)  # type: ignore[arg-type]
    assert test.verdict is Verdict.WRONG and "3x3 convolution differs by 0.5" in test.found
    assert kernels.judge([]).verdict is Verdict.WRONG


@pytest.mark.parametrize("compiler, verdict", [(True, Verdict.WARNING), (False, Verdict.WRONG)])
def test_no_pack_is_wrong_unless_the_compiler_is_there(
    compiler: bool, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = "{'cpu': 'armv8', 'path': None, 'reason': 'none fits', 'refused': [], 'cache': '/c'}"
    monkeypatch.setattr(kernels, "CHOOSE", answering(none))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if compiler else None)
    pack, test, _ = kernels.kernels(Machine())
    assert pack.verdict is test.verdict is verdict and "none fits" in pack.found


def test_the_self_test_computes_what_numpy_does() -> None:
    test = kernels.self_test(Machine())
    assert test.verdict is Verdict.OK, test.found
    assert test.facts["self_test_cases"] == 5


def test_the_meter_is_the_one_that_a_run_would_take(fake: Fake) -> None:
    fake.pi()
    finding = power.power(fake.machine())
    assert finding.verdict is Verdict.NOTE and "model:Raspberry Pi 4 Model B (modelled)" in finding.found
    for name, value in {"name": "ina226", "in1_input": 5100, "curr1_input": 900, "power1_input": 4590000}.items():
        fake.write(f"sys/class/hwmon/hwmon2/{name}", value)
    finding = power.power(fake.machine())
    assert finding.verdict is Verdict.OK and finding.facts["meter_accuracy"] == "measured"


def test_the_doctor_itself_imports_nothing_native() -> None:
    code = "import sys, alula.device.doctor, alula.commands.doctor; print({'numpy', 'psutil', 'cv2', 'numba'} & set(sys.modules))"
    root = Path(__file__).parent.parent.parent.parent
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )
