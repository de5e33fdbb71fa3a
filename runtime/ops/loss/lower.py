"""Softmax with cross-entropy, its gradient, and CTC."""

from __future__ import annotations

from alula.runtime.graph import Node
from alula.runtime.ops.loss import kernel as kernels
from alula.runtime.planning.lowering import Lowering, Ref, lowers


def _weights(lowering: Lowering, node: Node, index: int) -> tuple[Ref | int, int]:
    """The address of the classes' weights, and whether there are any."""
    name = node.inputs[index] if index < len(node.inputs) else ""
    return (lowering.ref(name), 1) if name else (0, 0)


def _output(lowering: Lowering, node: Node, index: int, count: int) -> Ref:
    """The address of an output of `count` elements; scratch if nothing reads it."""
    name = node.outputs[index] if index < len(node.outputs) else ""
    return lowering.ref(name) if name else lowering.scratch(4 * count)


@lowers("CrossEntropy")
def lower_cross_entropy(lowering: Lowering, node: Node) -> bool:
    """CrossEntropy: a row at a time, then their mean or sum."""
    spec, attrs = lowering.spec(node.inputs[0]), node.attrs
    if node.fused or spec.dtype != "float32" or spec.size == 0 or attrs.reduction not in ("mean", "sum"):
        return False
    if lowering.spec(node.inputs[1]).dtype != "int64":
        return False
    n = spec.dims[-1]
    rows = spec.size // n
    weights, weighted = _weights(lowering, node, 2)
    losses, counts = lowering.scratch(4 * rows), lowering.scratch(4 * rows)
    lowering.emit(
        kernels.f32_cross_entropy, x=lowering.ref(node.inputs[0]), labels=lowering.ref(node.inputs[1]), weights=weights,
        log_prob=_output(lowering, node, 1, spec.size), losses=losses, counts=counts, rows=rows, n=n, weighted=weighted,
        ignored=attrs.ignore_index, smoothing=float(attrs.label_smoothing),
    )  # fmt: skip
    lowering.emit(
        kernels.f32_cross_entropy_total, losses=losses, counts=counts, loss=_output(lowering, node, 0, 1), rows=rows,
        mean=int(attrs.reduction == "mean"),
    )  # fmt: skip
    return True


@lowers("CrossEntropyGrad")
def lower_cross_entropy_grad(lowering: Lowering, node: Node) -> bool:
    """CrossEntropyGrad, over the log-probabilities if nothing else reads them."""
    spec, attrs = lowering.spec(node.outputs[0]), node.attrs
    if node.fused or spec.dtype != "float32" or spec.size == 0 or attrs.reduction not in ("mean", "sum"):
        return False
    if lowering.spec(node.inputs[2]).dtype != "int64":
        return False
    dloss, log_prob, labels = map(lowering.ref, node.inputs[:3])
    weights, weighted = _weights(lowering, node, 3)
    lowering.emit(
        kernels.f32_cross_entropy_grad, dloss=dloss, log_prob=log_prob, labels=labels, weights=weights,
        grad_x=lowering.ref(node.outputs[0]), rows=spec.size // spec.dims[-1], n=spec.dims[-1], weighted=weighted,
        ignored=attrs.ignore_index, smoothing=float(attrs.label_smoothing), mean=int(attrs.reduction == "mean"),
        inplace=(node.outputs[0], node.inputs[1]),
    )  # fmt: skip
    return True


@lowers("CTCLoss")
def lower_ctc(lowering: Lowering, node: Node) -> bool:
    """CTCLoss: threads share the samples; the gradient is made with the loss."""
    spec, attrs = lowering.spec(node.inputs[0]), node.attrs
    integers = [lowering.spec(name).dtype for name in node.inputs[1:]]
    if node.fused or spec.dtype != "float32" or spec.size == 0 or integers != ["int64"] * 3:
        return False
    (n, times, classes), length = spec.dims, lowering.spec(node.inputs[1]).dims[1]
    log_probs, labels, times_of, lengths = map(lowering.ref, node.inputs)
    size, mean = (times + 4) * (2 * length + 5), int(attrs.reduction == "mean")
    losses = _output(lowering, node, 1, n)
    lowering.emit(
        kernels.f32_ctc, log_probs=log_probs, labels=labels, times_of=times_of, lengths=lengths, losses=losses,
        gradient=_output(lowering, node, 2, spec.size), scratch=lowering.scratch(4 * size * lowering.n_threads),
        scratch_size=size, n=n, times=times, classes=classes, length=length, blank=attrs.blank,
        no_infinity=int(attrs.zero_infinity), mean=mean,
    )  # fmt: skip
    lowering.emit(
        kernels.f32_ctc_total, losses=losses, lengths=lengths, loss=_output(lowering, node, 0, 1), n=n, length=length,
        mean=mean,
    )  # fmt: skip
    return True
