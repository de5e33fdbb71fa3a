"""All passes together, on random networks and on those of the field."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from alula.runtime.graph import Arrays, Graph, TensorSpec
from alula.runtime.passes import PASSES, optimise
from tests.runtime.passes.networks import SIZES, Builder, Wanderer, difference, image, ops_of


def _widened(graph: Graph) -> Graph:
    """The same network in float64, where rounding cannot hide or feign a difference."""
    values = {name: graph.constants[name] for name in graph.constants}
    constants = Arrays({name: v.astype("float64") if v.dtype == "float32" else v for name, v in values.items()})
    inputs = {name: TensorSpec(spec.shape, "float64") for name, spec in graph.inputs.items()}
    return replace(graph, inputs=inputs, constants=constants)


@pytest.mark.parametrize("seed", range(30))
def test_a_random_network_means_the_same_after_all_passes(seed: int) -> None:
    graph = Wanderer(seed).grow(14)
    optimised = optimise(graph)
    assert difference(graph, optimised, SIZES) < 5e-4  # a softmax can magnify rounding
    assert len(optimised.nodes) < len(graph.nodes)
    wide = _widened(graph)
    assert difference(wide, optimise(wide), SIZES) < 1e-10


@pytest.mark.parametrize("rewrite", PASSES, ids=lambda rewrite: str(rewrite.__name__))
def test_each_pass_alone_keeps_the_meaning(rewrite: object) -> None:
    for seed in range(100, 108):
        graph = _widened(Wanderer(seed).grow(10))
        assert difference(graph, rewrite(graph), SIZES) < 1e-10  # type: ignore[operator]


def test_to_optimise_again_changes_nothing() -> None:
    for seed in range(200, 220):
        once = optimise(Wanderer(seed).grow(12))
        assert optimise(once).nodes == once.nodes


def test_a_residual_block_is_one_node_per_convolution() -> None:
    b = Builder(x=image())
    x = b.node("Relu", b.batch_norm(b.conv("x", 4, 8, 3, bias=False, pads=(1, 1, 1, 1)), 8))
    y = b.node("Relu", b.batch_norm(b.conv(x, 8, 8, 3, bias=False, pads=(1, 1, 1, 1)), 8))
    y = b.batch_norm(b.conv(y, 8, 8, 3, bias=False, pads=(1, 1, 1, 1)), 8)
    y = b.node("Flatten", b.wrapped("GlobalAveragePool", b.node("Relu", b.node("Add", y, x))))
    graph = b.graph(b.node("Gemm", y, b.normal(8, 10), b.normal(10)))
    optimised = optimise(graph)
    assert [node.op for node in optimised.nodes] == [
        "Transpose",
        "Conv",
        "Conv",
        "Conv",
        "GlobalAveragePool",
        "Reshape",
        "Gemm",
    ]
    assert ops_of(optimised).count("Relu") == 3
    assert difference(graph, optimised, SIZES) < 1e-5


def _models() -> Path | None:
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "models"


@pytest.mark.skipif(_models() is None, reason="the package rapidocr-onnxruntime, which holds the networks, is absent")
@pytest.mark.parametrize(
    ("name", "shape", "max_nodes", "transposes"),
    [
        ("ch_PP-OCRv4_det_infer", (1, 3, 64, 96), 95, 2),  # the last one is of (N, H, W, 1): no element moves
        ("ch_PP-OCRv4_rec_infer", (1, 3, 48, 64), 95, 7),  # six are attention's own
        ("ch_ppocr_mobile_v2.0_cls_infer", (1, 3, 48, 192), 80, 1),
    ],
)
def test_the_networks_that_read_signs(name: str, shape: tuple[int, ...], max_nodes: int, transposes: int) -> None:
    pytest.importorskip("onnx")
    from alula.host.onnx.importer import import_onnx

    folder = _models()
    assert folder is not None
    graph = import_onnx(folder / f"{name}.onnx").graph
    optimised = optimise(graph)
    sizes = {d: s for d, s in zip(graph.inputs["x"].shape, shape, strict=True) if isinstance(d, str)}
    assert difference(graph, optimised, sizes) < 1e-4
    assert len(optimised.nodes) <= max_nodes
    assert ops_of(optimised).count("Transpose") <= transposes
    assert not {"BatchNormalization", "Clip", "Div", "Sqrt", "Pow"} & set(ops_of(optimised))


@pytest.mark.parametrize(("name", "nodes"), [("resnet20-cifar", 25), ("mobilenetv2-cifar", 56), ("vgg16-cifar", 21)])
def test_networks_of_the_zoo_keep_one_transpose_and_no_loose_arithmetic(name: str, nodes: int) -> None:
    pytest.importorskip("onnx")
    from alula.host.onnx.importer import import_onnx
    from alula.host.zoo import build

    graph = import_onnx(build(name)).graph
    optimised = optimise(graph)
    assert len(optimised.nodes) == nodes
    assert ops_of(optimised).count("Transpose") == 1
    assert difference(graph, optimised, {"batch": 2}) < 1e-4
