"""What the backward pass needs of activations: the gradient of the result times the slope."""

from __future__ import annotations

from typing import Any

import numpy as np

from alula.runtime.graph import Array, TensorSpec
from alula.runtime.lower.steps import lower_elementwise
from alula.runtime.ops import checks
from alula.runtime.ops.contract import NoAttrs, Op, Specs, Values, register


def _infer(attrs: Any, specs: Specs, values: Values) -> tuple[TensorSpec, ...]:
    dy, other = checks.given(specs, 0, "dY"), checks.given(specs, 1, "Y")
    checks.one_of("the gradient", dy, checks.FLOATS)
    checks.same_dtype(dy, Y=other)
    return (dy,)


def relu_grad(attrs: NoAttrs, dy: Array, y: Array) -> tuple[Array]:
    """The gradient where the rectifier let its input pass.

    dy, y  : any shape; y is the rectifier's result
    return : like dy
    """
    return (np.where(y > 0, dy, dy.dtype.type(0)),)


register(Op("ReluGrad", _infer, relu_grad, n_inputs=(2, 2), elementwise=True, lower=lower_elementwise))
