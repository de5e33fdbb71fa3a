"""The command line: what it prints, what it refuses, and with which exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alula import cli
from alula.cli import COMMANDS, main
from alula.host.pack import pack
from alula.report import Report, Table, count, size
from alula.runtime.errors import AlulaError
from alula.runtime.graph import Arrays, Graph, Node, TensorSpec
from alula.runtime.ops.contract import NoAttrs

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network: Conv, Relu, GlobalAveragePool, Flatten, Gemm, Softmax, with a free batch."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((24, 3, 3, 3)), "b1": rng.standard_normal(24), "w2": rng.standard_normal((10, 24)), "b2": np.zeros(10),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["g"], transB=1),
        helper.make_node("Softmax", ["g"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    path = tmp_path_factory.mktemp("models") / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def packed(onnx_file: Path) -> Path:
    path = onnx_file.with_suffix(".alula")
    assert main(["pack", str(onnx_file), "-o", str(path)]) == 0
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The line with which a command is refused: one, on standard error, with status 2."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as stop:
        status = stop.code  # type: ignore[assignment]
    output = capsys.readouterr()
    assert (status, output.out, output.err.count("\n")) == (2, "", 1), output.err
    return output.err


def test_help_names_every_command_and_imports_none() -> None:
    code = "import sys\nfrom alula.cli import main\ntry: main(['--help'])\nexcept SystemExit: print('numpy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f" {command} " in shown for command in COMMANDS)
    assert shown.endswith("False\n")


def test_help_of_a_command_needs_no_numpy() -> None:
    code = """import contextlib, io, sys
from alula.cli import COMMANDS, main
for command in COMMANDS:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([command, "--help"])
    if "numpy" in sys.modules:
        sys.exit(command)"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_an_unknown_command_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "pakc" in refused(capsys, "pakc")


def test_no_command_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "COMMAND" in refused(capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["pack", "absent.onnx", "-o", "out.alula"],
        ["info", "absent.alula"],
        ["verify", "absent.alula", "--against", "absent.onnx"],
        ["run", "absent.alula", "absent.mp4"],
        ["bench", "absent.alula"],
        ["export", "absent.alula", "-o", "out.onnx"],
    ],
    ids=lambda words: words[0],
)
def test_a_file_that_is_not_there_is_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / word) if "." in word else word for word in words]
    assert "absent" in refused(capsys, *words)


def test_an_onnx_file_in_place_of_a_packed_one_is_refused(onnx_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected an .alula file" in refused(capsys, "info", onnx_file)


def test_a_truncated_onnx_file_is_refused(onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(onnx_file.read_bytes()[:1000])
    assert "cut.onnx" in refused(capsys, "pack", cut, "-o", tmp_path / "out.alula")
    assert not (tmp_path / "out.alula").exists()


def test_an_output_folder_that_is_not_there_is_refused(
    onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, "pack", onnx_file, "-o", tmp_path / "no" / "such" / "out.alula")


@pytest.mark.parametrize("bits", ["nine", "0", "9", "other=8"])
def test_bits_that_are_none_are_refused(
    bits: str, onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "bits" in refused(capsys, "pack", onnx_file, "-o", tmp_path / "out.alula", "--bits", bits)


@pytest.mark.parametrize("shape", ["x=1,3,8", "y=1,3,8,9", "x=1,3,8,10", "x=1,3,8,nine", "x=0,3,8,9"])
def test_a_shape_that_does_not_fit_is_refused(shape: str, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "shape" in refused(capsys, "info", packed, "--shape", shape)


def test_a_graph_that_is_not_in_the_file_is_refused_with_those_that_are(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "small" in refused(capsys, "info", packed, "--graph", "large")


def test_an_array_of_the_wrong_dtype_is_refused(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 9)))
    assert "float64" in refused(capsys, "run", packed, tmp_path / "x.npy")


def test_a_source_that_is_no_array_and_no_image_is_refused(
    packed: Path, onnx_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--preset imagenet" in refused(capsys, "run", packed, onnx_file)
    assert "expected a video" in refused(capsys, "run", packed, onnx_file, "--preset", "raw")


def test_an_interrupt_ends_with_one_line_and_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(args: object) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr("alula.commands.kernels.run", interrupt)
    assert main(["kernels", "where"]) == 130
    assert capsys.readouterr().err == "alula: interrupted\n"


# A process that was started in the background ignores Ctrl-C, and so do its children
HEEDING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def test_ctrl_c_while_modules_are_imported_ends_with_one_line_and_130(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass\n")
    ended = subprocess.run(
        [sys.executable, "-c", f"{HEEDING}; import sys; from alula.entry import main; sys.exit(main())", "info"], timeout=60,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (130, "alula: interrupted\n")


ENDLESS = (
    f"{HEEDING}\n"
    + """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, it is ignored
import alula.commands.kernels as kernels
from alula.cli import main
from alula.device.power import EnergyLog, select_meter
def run(args):
    with EnergyLog(select_meter("model,idle=1,full=2"), sys.argv[1] + ".csv", sys.argv[1] + ".json") as log, log.phase("detect"):
        print("ready", flush=True)
        while True:
            time.sleep(0.1)  # short: a signal just before one does not end it
kernels.run = run
sys.exit(main(["kernels"]))
"""
)


@pytest.mark.parametrize("number, status, line", [(signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up"),
                                                  (signal.SIGINT, 130, "interrupted")])  # fmt: skip
def test_a_signal_ends_a_command_with_its_energy_log_whole(
    number: signal.Signals, status: int, line: str, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path / "energy")], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:  # fmt: skip
        assert child.stdout and child.stdout.readline() == "ready\n"
        child.send_signal(number)
        said = child.communicate(timeout=60)[1]
    assert (child.returncode, said) == (status, f"alula: {line}\n")
    summary = json.loads((tmp_path / "energy.json").read_text())
    assert summary["state"] in ("Terminated", "KeyboardInterrupt")
    assert summary["phases"]["detect"]["calls"] == 1


def test_main_leaves_signals_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["kernels", "where"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("words", [["--every", "2"], ["--shape", "1,3,8,9"], ["--frames", "3"], ["--meter", "model"]])
def test_options_that_mean_nothing_for_an_array_are_refused(
    words: list[str], packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 9), np.float32))
    assert words[0] in refused(capsys, "run", packed, tmp_path / "x.npy", *words)


def test_a_shape_means_nothing_for_a_video(onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "signs.alula"
    models = [word for name in ("detect", "classify", "recognise") for word in ("--graph", f"{name}={onnx_file}")]
    assert main(["pack", *models, "-o", str(path)]) == 0
    capsys.readouterr()
    assert "--shape" in refused(capsys, "run", path, "clip.mp4", "--shape", "1,3,8,9")


def test_an_error_of_many_lines_is_printed_in_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> Report:
        raise AlulaError("where:\n  expected this,\n  got that")

    monkeypatch.setattr("alula.commands.kernels.run", fail)
    assert refused(capsys, "kernels", "where") == "alula: where: expected this, got that\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "alula", "kernels", "list", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_pack_says_how_much_smaller_the_file_is(
    onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.alula"
    assert main(["pack", "--graph", f"tiny={onnx_file}", "-o", str(path), "--bits", "tiny=4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["size_bytes"] == path.stat().st_size
    assert {row["graph"] for row in document["tensors"]} == {"tiny"}
    assert document["largest_error_ratio"] > 0


def test_info_shows_tensors_memory_and_multiply_adds(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(packed), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (graph,) = document["graphs"]
    products = 8 * 9 * 24 * 27 + 240
    assert products <= graph["macs"] < 1.1 * products
    assert graph["shapes"] == {"x": [1, 3, 8, 9]}
    assert graph["arena_bytes"] > 0 and graph["weight_bytes"] >= 4 * 24 * 27
    assert sum(row["stored_bytes"] for row in document["tensors"]) < document["size_bytes"]
    assert main(["info", str(packed)]) == 0
    shown = capsys.readouterr().out
    assert "bits per weight" in shown and "multiply-adds" in shown


def test_verify_agrees_with_onnxruntime_layer_by_layer(
    packed: Path, onnx_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["verify", str(packed), "--against", str(onnx_file), "--layers", "--shape", "x=2,3,8,9", "--json"]
    assert main(words) == 0
    (graph,) = json.loads(capsys.readouterr().out)["graphs"]
    assert graph["passed"] and graph["largest_ratio"] < 1e-5
    assert {"r", "g", "y"} <= {layer["tensor"] for layer in graph["layers"]}
    assert all(layer["ratio"] < 1e-5 for layer in graph["layers"])


def test_verify_ends_with_1_beyond_the_tolerance(
    onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rough.alula"
    assert main(["pack", str(onnx_file), "-o", str(path), "--bits", "2"]) == 0
    assert main(["verify", str(path), "--against", str(onnx_file)]) == 1
    assert "BEYOND" in capsys.readouterr().out


def test_verify_refuses_the_model_of_another_network(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = helper.make_tensor_value_info("other", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["other"], ["z"])], "other", [value], [out])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(tmp_path / "o.onnx")
    )
    assert "packed from" in refused(capsys, "verify", packed, "--against", tmp_path / "o.onnx")


def test_run_writes_the_outputs_by_name(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(1).standard_normal((2, 3, 8, 9)).astype(np.float32))
    assert main(["run", str(packed), str(tmp_path / "x.npy"), "--out", str(tmp_path / "y.npz")]) == 0
    with np.load(tmp_path / "y.npz") as results:
        assert results["y"].shape == (2, 10)
        np.testing.assert_allclose(results["y"].sum(axis=1), 1, rtol=1e-5)


def test_export_gives_back_a_model_that_verifies(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "back.onnx"
    assert main(["export", str(packed), "-o", str(path)]) == 0
    assert main(["verify", str(packed), "--against", str(path)]) == 0


def test_bench_times_both_engines_and_says_their_joules(
    packed: Path, onnx_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alula.energy.MEASURED_S", 0.05)
    monkeypatch.setattr("alula.energy.READINGS", 0)
    words = [
        "bench",
        str(packed),
        "--against",
        str(onnx_file),
        "--threads",
        "1",
        "--rounds",
        "1",
        "--meter",
        "model,idle=2,full=6",
    ]
    assert main([*words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["ratio"] > 0 and row["ms"] > 0 and row["peak_fraction"] > 0
    assert row["energy_j"] > 0 and row["onnxruntime_energy_j"] > 0


def test_kernels_list_says_which_are_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"vm_run", "f32_peak"} <= {row["kernel"] for row in document["kernels"]}


def test_figures_are_set_to_the_right_and_text_to_the_left(capsys: pytest.CaptureFixture[str]) -> None:
    Report({}, [Table(("name", "size"), [("a", "1.5 MB"), ("longer", "12 B")])]).show(as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "name      size",
        "------  ------",
        "a       1.5 MB",
        "longer    12 B",
    ]


def test_json_takes_numpy_values_and_paths(capsys: pytest.CaptureFixture[str]) -> None:
    Report({"a": np.float32(0.5), "b": np.arange(2), "c": Path("x")}).show(as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [0, 1], "c": "x"}


def test_sizes_and_counts_are_short() -> None:
    assert [size(n) for n in (0, 999, 1500, 2_345_678, 3e9)] == ["0 B", "999 B", "1.5 kB", "2.3 MB", "3.00 GB"]
    assert [count(n) for n in (12, 41_300_000)] == ["12", "41.3 M"]


def test_every_command_is_a_file() -> None:
    files = {path.stem for path in (ROOT / "alula/commands").glob("*.py")} - {"__init__"}
    assert files == set(cli.COMMANDS)


def test_info_says_which_flags_skip_how_many_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, attrs = TensorSpec((2, 3)), NoAttrs()
    nodes = (Node("Abs", ("x",), ("a",), attrs, guard="on", otherwise=("x",)), Node("Sqrt", ("a",), ("y",), attrs))
    graph = Graph("net", {"x": spec, "on": TensorSpec((1,), "int64")}, ("y",), nodes, Arrays())
    pack({"net": graph}, tmp_path / "net.alula")
    assert main(["info", str(tmp_path / "net.alula")]) == 0
    assert "net: 1 of 2 nodes are skipped where a flag is 0: on (1)" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "net.alula"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["graphs"][0]["guards"] == {"on": 1}
