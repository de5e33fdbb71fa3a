"""What a board's process counts of another engine: onnxruntime, ncnn or torch, one thread.

    python3 -m tests.arm.count_rivals ENGINE MODEL ARRAYS.npz
    python3 -m tests.arm.count_rivals torch MODEL STEP          # a step of training of those in training.py

Runs on an emulated board, under the plugin with `region=later`; rivals.py starts it. ENGINE is onnxruntime, ncnn (float32)
or ncnn-fp16 (its default); MODEL is an ONNX file, or pnnx's FILE of FILE.ncnn.param and FILE.ncnn.bin.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from tests.arm import counter


def onnxruntime(model: str, x: Any) -> Callable[[], Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: x})[0]


def ncnn(model: str, x: Any, half: bool = False) -> Callable[[], Any]:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    net.opt.use_winograd_convolution = True
    if not half:
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = False
    assert not net.load_param(f"{model}.ncnn.param") and not net.load_model(f"{model}.ncnn.bin"), model
    mat = ncnn.Mat(x[0]).clone()

    def run() -> Any:
        extractor = net.create_extractor()
        extractor.input("in0", mat)
        status, out = extractor.extract("out0")
        assert status == 0, status
        return np.array(out)

    return run


def train(model: str, step: str) -> None:
    """Count a step of torch's; its losses of the first ones."""
    import onnx
    import torch
    from torch.nn.functional import cross_entropy

    from tests.arm.training import CHECKED_STEPS, RECIPE, batch_of
    from tests.torch_network import TorchNetwork

    torch.set_num_threads(1)
    network = TorchNetwork(onnx.load(model)).train()
    optimizer = torch.optim.SGD(network.parameters(), **RECIPE)
    x, y = map(torch.from_numpy, batch_of(step))

    def run() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    losses = [run() for _ in range(CHECKED_STEPS)]
    counts = counter.per_run(run, warm=0)
    print(json.dumps({"losses": losses, "instructions": counts["process"], "version": version("torch")}))


def main() -> None:
    engine, model, arrays = sys.argv[1:]
    if engine == "torch":
        train(model, arrays)
        return
    stored = np.load(arrays)
    (x,), (expected,) = ([stored[k] for k in stored.files if k.startswith(side)] for side in ("in ", "out "))
    library = engine.partition("-")[0]
    run = onnxruntime(model, x) if library == "onnxruntime" else ncnn(model, x, half=engine != library)
    answer = run()
    assert answer.size == expected.size, (answer.shape, expected.shape)
    difference = float(np.abs(answer.ravel() - expected.ravel()).max() / np.abs(expected).max())
    counts = counter.per_run(run, warm=0)
    print(json.dumps({"difference_ratio": difference, "instructions": counts["process"], "version": version(library)}))


if __name__ == "__main__":
    main()
