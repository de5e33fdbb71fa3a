"""Which rule writes a step as steps of ONNX's opset 21, and which ops of a file are taken at all.

The rules stand in the files of their kind: older opsets (upgrade.py), ops that are a few others (decompose.py), what quantisers
emit (quantised.py), attention (attention.py, rotary.py), onnxruntime's own domain (microsoft.py).
"""

from __future__ import annotations

from alula.host.onnx.attention import attention
from alula.host.onnx.microsoft import DOMAIN, MICROSOFT, ONNX_ONLY_BY_NAME
from alula.host.onnx.quantised import QUANTISED
from alula.host.onnx.rotary import rotary_embedding
from alula.host.onnx.steps import Build, Rule, Step
from alula.host.onnx.upgrade import REPLACED, upgrade
from alula.runtime.ops import REGISTRY

WRITTEN_OUT: dict[str, Rule] = {"Attention": attention, "RotaryEmbedding": rotary_embedding, **QUANTISED}
RULES: dict[str, Rule] = {**WRITTEN_OUT, **{f"{DOMAIN}.{op}": rule for op, rule in MICROSOFT.items()}}
WRITTEN = REPLACED | WRITTEN_OUT.keys()  # ops of ONNX that import leaves none of


def step_op(op: str, domain: str) -> str:
    """How a step of this op is called: "com.microsoft.Gelu" until its rule has written it."""
    known = (domain == DOMAIN and op in MICROSOFT) or (domain in ("", "ai.onnx") and op in ONNX_ONLY_BY_NAME)
    return f"{DOMAIN}.{op}" if known else op


def modern(step: Step, opset: int, build: Build) -> list[Step]:
    """The steps of ONNX's opset 21 that mean what this one meant."""
    rule = RULES.get(step.op)
    return rule(step, opset, build) if rule else upgrade(step, opset, build)


def imported_ops() -> frozenset[tuple[str, str]]:
    """(domain, op) of every op that the importer takes as it stands in a file: those with a contract, and those it rewrites."""
    ours = {(op.domain, op.name) for op in REGISTRY.ours().values()}
    written = {("", name) for name in (*WRITTEN, *ONNX_ONLY_BY_NAME, "Constant", "If")}
    return frozenset(ours | written | {(DOMAIN, name) for name in MICROSOFT})
