"""Ops of onnxruntime's own domain, com.microsoft, as ONNX's: what its quantisers and optimisers emit.

Source: onnxruntime's ContribOperators.md.
"""

from __future__ import annotations

from typing import Any

from alula.host.onnx.microsoft_attention import ATTENTION_MICROSOFT
from alula.host.onnx.quantised import QUANTISED_MICROSOFT
from alula.host.onnx.steps import Build, Rule, Step
from alula.host.onnx.writer import Writer
from alula.runtime.errors import GraphError

DOMAIN = "com.microsoft"
ONNX_ONLY_BY_NAME = ("SimplifiedLayerNormalization",)  # onnxruntime's, but in ONNX's domain


def _activated(write: Writer, x: str, parameters: tuple[float, ...]) -> list[Step]:
    """The steps, the last of which is the activation that an op was fused with."""
    name = write.step.attrs.get("activation", "")
    alpha, beta = (*parameters, 0.0, 0.0)[:2]
    if not name:
        return write.end("Identity", x)
    if name in ("Relu", "Sigmoid", "Tanh"):
        return write.end(name, x)
    if name == "LeakyRelu":
        return write.end(name, x, alpha=alpha)
    if name == "HardSigmoid":
        return write.end(name, x, alpha=alpha, beta=beta)
    if name == "Clip":
        return write.end(name, x, write.constant(alpha), write.constant(beta))
    raise GraphError(f"{write.step.label}: expected an activation of onnxruntime, got {name!r}; export without it")


def _own(step: Step) -> dict[str, Any]:
    """The attributes of a fused op without those of its activation."""
    return {name: value for name, value in step.attrs.items() if not name.startswith("activation")}


def _fused_conv(step: Step, opset: int, build: Build) -> list[Step]:
    """Conv, with a summand as its fourth input, then an activation."""
    write = Writer(step, build)
    y = write.add("Conv", write.input(0), write.input(1), step.input(2), **_own(step))
    if step.input(3):
        y = write.add("Add", y, step.input(3))
    return _activated(write, y, tuple(step.attrs.get("activation_params", ())))


def _fused_gemm(step: Step, opset: int, build: Build) -> list[Step]:
    """Gemm, then an activation."""
    write = Writer(step, build)
    y = write.add("Gemm", *step.inputs, **_own(step))
    return _activated(write, y, tuple(step.attrs.get(f"activation_{name}", 0.0) for name in ("alpha", "beta")))


def _fused_matmul(step: Step, opset: int, build: Build) -> list[Step]:
    """alpha A B; trans swaps a matrix's last two axes, transBatch moves its first axis before the last."""
    write = Writer(step, build)
    operands = []
    for index, name in enumerate("AB"):
        x, moved, flipped = (
            write.input(index),
            step.attrs.get(f"transBatch{name}", 0),
            step.attrs.get(f"trans{name}", 0),
        )
        if moved or flipped:
            rank = build.rank(x, step.label)
            perm = [*range(1, rank - 1), 0, rank - 1] if moved else list(range(rank))
            if flipped and rank > 1:
                perm[-2:] = perm[:-3:-1]
            x = write.add("Transpose", x, perm=tuple(perm))
        operands.append(x)
    alpha = float(step.attrs.get("alpha", 1.0))
    if alpha == 1:
        return write.end("MatMul", *operands)
    return write.end("Mul", write.add("MatMul", *operands), write.constant(alpha))


def _gelu(approximate: str) -> Rule:
    """Gelu of x, or of x and a bias."""

    def rule(step: Step, opset: int, build: Build) -> list[Step]:
        write = Writer(step, build)
        x = write.add("Add", *step.inputs) if step.input(1) else write.input(0)
        return write.end("Gelu", x, approximate=approximate)

    return rule


def _quick_gelu(step: Step, opset: int, build: Build) -> list[Step]:
    """x sigmoid(alpha x)."""
    write = Writer(step, build)
    x = write.input(0)
    scaled = write.add("Mul", x, write.constant(step.attrs.get("alpha", 1.702)))
    return write.end("Mul", x, write.add("Sigmoid", scaled))


def _skip_norm(op: str, bias: int) -> Rule:
    """A normalisation of a sum; its fourth output is the sum.

    bias : which input is added, too
    """

    def rule(step: Step, opset: int, build: Build) -> list[Step]:
        write = Writer(step, build)
        y, total = step.outputs[0], step.outputs[3] if len(step.outputs) > 3 else ""
        step.outputs = [*step.outputs[:3], ""]
        write.only(1)
        x = write.add("Add", write.input(0), write.input(1), out="" if step.input(bias) else total)
        if step.input(bias):
            x = write.add("Add", x, step.input(bias), out=total)
        parameters = [step.input(index) for index in range(2, 4) if index < bias]
        write.add(op, x, *parameters, out=y, axis=-1, epsilon=step.attrs.get("epsilon", 1e-12))
        return write.steps

    return rule


def _rms_norm(step: Step, opset: int, build: Build) -> list[Step]:
    """RMSNormalization under its older name."""
    write = Writer(step, build)
    write.only(1)
    attrs = {"axis": step.attrs.get("axis", -1), "epsilon": step.attrs.get("epsilon", 1e-5)}
    return write.end("RMSNormalization", write.input(0), write.input(1), **attrs)


MICROSOFT: dict[str, Rule] = {
    **QUANTISED_MICROSOFT,
    **ATTENTION_MICROSOFT,
    "BiasGelu": _gelu("none"),
    "FastGelu": _gelu("tanh"),
    "FusedConv": _fused_conv,
    "FusedGemm": _fused_gemm,
    "FusedMatMul": _fused_matmul,
    "Gelu": _gelu("none"),
    "QuickGelu": _quick_gelu,
    "SimplifiedLayerNormalization": _rms_norm,
    "SkipLayerNormalization": _skip_norm("LayerNormalization", 4),
    "SkipSimplifiedLayerNormalization": _skip_norm("RMSNormalization", 3),
}
