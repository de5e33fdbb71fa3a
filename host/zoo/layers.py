"""The layers of the zoo's networks: `Net`. Drawn weights follow He et al. (2015)."""

from __future__ import annotations

import math
from typing import Any

from alula.host.zoo.builder import Builder, Shape

# op, attributes, and the mean square of what the activation makes of a standard normal x, relative to that of x
ACTIVATIONS: dict[str, tuple[str, dict[str, Any], float]] = {
    "hard_swish": ("HardSwish", {}, 1 / 3),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, 0.28),
    "sigmoid": ("Sigmoid", {}, 0.29),
}
SILU_POWER, GELU_POWER = 0.36, 0.43


def divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of the divisor, at least 0.9 of what was asked for, as MobileNet's authors round."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class Net(Builder):
    """A network under construction. Every layer takes and returns names of tensors."""

    def channels(self, x: str) -> int:
        """Channels of an image, or features of a vector."""
        return self.shapes[x][0]

    def conv(
        self,
        x: str,
        name: str,
        c_out: int,
        kernel: int,
        stride: int = 1,
        *,
        pads: str = "half",
        group: int = 1,
        bias: bool = False,
        bias_mean: float = 0.0,
    ) -> str:
        """A convolution.

        pads      : half the kernel on each side, `same` as TensorFlow has it (more at the end), or none
        bias_mean : of the drawn biases
        """
        c_in, *sizes = self.shapes[x]
        fan_in = c_in // group * kernel * kernel
        shape = (c_out, c_in // group, kernel, kernel)
        draw = self.normal(math.sqrt(2 / fan_in), shape)
        inputs = [x, self.weight(f"{name}.weight", shape, draw)]
        if bias:
            inputs.append(self.weight(f"{name}.bias", (c_out,), self.normal(0.05, (c_out,), bias_mean)))
        totals = [kernel // 2 * 2 if pads == "half" else 0 for _ in sizes]
        if pads == "same":
            totals = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in sizes]
        begin, end = [total // 2 for total in totals], [total - total // 2 for total in totals]
        out = [(size + total - kernel) // stride + 1 for size, total in zip(sizes, totals)]
        return self.node(
            "Conv", inputs, name, 2 * self.power[x], (c_out, *out),
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[*begin, *end], group=group,
        )  # fmt: skip

    def conv_transpose(self, x: str, name: str, c_out: int, kernel: int = 2) -> str:
        """A convolution the other way: `kernel` times as large, each output from one pixel."""
        c_in, h, w = self.shapes[x]
        shape = (c_in, c_out, kernel, kernel)
        inputs = [x, self.weight(f"{name}.weight", shape, self.normal(math.sqrt(1 / c_in), shape))]
        inputs.append(self.weight(f"{name}.bias", (c_out,), self.normal(0.05, (c_out,))))
        return self.node(
            "ConvTranspose", inputs, name, shape=(c_out, kernel * h, kernel * w),
            kernel_shape=[kernel] * 2, strides=[kernel] * 2,
        )  # fmt: skip

    def batch_norm(self, x: str, name: str, gain: float = 1.0, epsilon: float = 1e-5) -> str:
        """Batch normalisation with statistics such as training leaves: about those of its input. gain : its mean scale"""
        c, power = self.channels(x), self.power[x]
        draws = {
            "weight": lambda: gain * self.rng.uniform(0.8, 1.2, c),
            "bias": lambda: self.rng.normal(0, 0.1, c),
            "running_mean": lambda: self.rng.normal(0, 0.2 * math.sqrt(power), c),
            "running_var": lambda: power * self.rng.uniform(0.8, 1.25, c),
        }
        inputs = [self.weight(f"{name}.{part}", (c,), draw) for part, draw in draws.items()]
        return self.node("BatchNormalization", [x, *inputs], name, gain * gain + 0.01, epsilon=epsilon)

    def conv_norm(
        self,
        x: str,
        names: tuple[str, str],
        c_out: int,
        kernel: int,
        stride: int = 1,
        act: str = "",
        *,
        pads: str = "half",
        group: int = 1,
        epsilon: float = 1e-5,
        gain: float = 1.0,
    ) -> str:
        """Convolution, batch normalisation and, if one is named, an activation. names : of the first two"""
        y = self.conv(x, names[0], c_out, kernel, stride, pads=pads, group=group)
        y = self.batch_norm(y, names[1], gain, epsilon)
        return self.activation(y, act) if act else y

    def activation(self, x: str, act: str, name: str = "") -> str:
        """relu, relu6, hard_swish, hard_sigmoid, sigmoid, silu, gelu; its node is named after its input."""
        name = name or f"{x}.{act}"
        if act in ("relu", "relu6", "silu", "gelu"):
            made: str = getattr(self, act)(x, name)
            return made
        op, attrs, power = ACTIVATIONS[act]
        return self.node(op, [x], name, power * self.power[x], **attrs)

    def relu(self, x: str, name: str) -> str:
        """max(x, 0): half of a balanced tensor's power; a sum with a positive shortcut loses next to nothing."""
        return self.node("Relu", [x], name, self.power[x] * (1 if x in self.sums else 0.5))

    def relu6(self, x: str, name: str) -> str:
        """min(max(x, 0), 6)."""
        return self.node("Clip", [x, self.constant("zero", 0), self.constant("six", 6)], name, self.power[x] / 2)

    def silu(self, x: str, name: str) -> str:
        """x sigmoid(x), as PyTorch exports it."""
        gate = self.node("Sigmoid", [x], f"{name}.gate")
        return self.node("Mul", [x, gate], name, SILU_POWER * self.power[x])

    def gelu(self, x: str, name: str) -> str:
        """x (1 + erf(x / sqrt(2))) / 2, as PyTorch exports it."""
        y = self.node("Div", [x, self.constant("root_of_two", math.sqrt(2))], f"{name}.scaled")
        y = self.node("Add", [self.node("Erf", [y], f"{name}.erf"), self.constant("one", 1)], f"{name}.gate")
        y = self.node("Mul", [x, y], f"{name}.doubled")
        return self.node("Mul", [y, self.constant("half", 0.5)], name, GELU_POWER * self.power[x])

    def squeeze_excite(self, x: str, name: str, width: int, act: str, gate: str) -> str:
        """Hu et al. 2018: a factor for each channel, from all channels' means."""
        y = self.node("GlobalAveragePool", [x], f"{name}.avgpool", shape=(self.channels(x), 1, 1))
        y = self.activation(self.conv(y, f"{name}.fc1", width, 1, bias=True), act)
        y = self.activation(self.conv(y, f"{name}.fc2", self.channels(x), 1, bias=True), gate)
        return self.node("Mul", [y, x], name, 0.28 * self.power[x], self.shapes[x])

    def add(self, x: str, y: str, name: str) -> str:
        """x + y, a residual connection."""
        self.sums.add(name)
        return self.node("Add", [x, y], name, self.power[x] + self.power[y])

    def concat(self, parts: list[str], name: str) -> str:
        """Parts, one behind the other along the channels."""
        widths = [self.channels(part) for part in parts]
        power = sum(width * self.power[part] for width, part in zip(widths, parts)) / sum(widths)
        return self.node("Concat", parts, name, power, (sum(widths), *self.shapes[parts[0]][1:]), axis=1)

    def split(self, x: str, name: str, *widths: int) -> list[str]:
        """The channels in parts of these widths, one after the other."""
        rest = self.shapes[x][1:]
        parts = [f"{name}.{number}" for number in range(len(widths))]
        inputs = [x, self.constant(f"{name}.sizes", widths, "int64")]
        self.node("Split", inputs, parts[0], shape=(widths[0], *rest), axis=1)
        for part, width in zip(parts[1:], widths[1:], strict=True):
            self.nodes[-1].output.append(part)
            self.shapes[part], self.power[part] = (width, *rest), self.power[x]
        return parts

    def reshape(self, x: str, name: str, sizes: Shape, shape: Shape) -> str:
        """The same elements under another shape. sizes : as ONNX has them, with the batch; shape : without it"""
        return self.node("Reshape", [x, self.constant(f"{name}.sizes", sizes, "int64")], name, shape=shape)

    def transpose(self, x: str, name: str, perm: Shape, shape: Shape) -> str:
        """The axes in another order, with the batch. shape : without it"""
        return self.node("Transpose", [x], name, shape=shape, perm=perm)

    def upsample(self, x: str, name: str) -> str:
        """Each pixel four times: twice as high and wide."""
        c, h, w = self.shapes[x]
        scales = self.constant("twice", [1, 1, 2, 2])
        return self.node(
            "Resize", [x, "", scales], name, shape=(c, 2 * h, 2 * w),
            mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric",
        )  # fmt: skip

    def max_pool(self, x: str, name: str, kernel: int = 2, stride: int = 2, pad: int = 0) -> str:
        """The largest of kernel x kernel."""
        c, *sizes = self.shapes[x]
        out = [(size + 2 * pad - kernel) // stride + 1 for size in sizes]
        pads: dict[str, Any] = {"pads": [pad] * 4} if pad else {}
        return self.node("MaxPool", [x], name, shape=(c, *out), kernel_shape=[kernel] * 2, strides=[stride] * 2, **pads)

    def global_pool(self, x: str, name: str) -> str:
        """The mean of all pixels, as a vector."""
        pooled = self.node("GlobalAveragePool", [x], name, shape=(self.channels(x), 1, 1))
        return self.flatten(pooled, f"{name}.flat")

    def flatten(self, x: str, name: str) -> str:
        """An image as a vector (batch, C * H * W)."""
        return self.node("Flatten", [x], name, shape=(math.prod(self.shapes[x]),), axis=1)

    def linear(self, x: str, name: str, c_out: int, gain: float = 2.0) -> str:
        """A fully connected layer. gain : of the mean square, by the drawn weights"""
        c_in = self.channels(x)
        draw = self.normal(math.sqrt(gain / c_in), (c_out, c_in))
        inputs = [x, self.weight(f"{name}.weight", (c_out, c_in), draw)]
        inputs.append(self.weight(f"{name}.bias", (c_out,), self.normal(0.05, (c_out,))))
        return self.node("Gemm", inputs, name, gain * self.power[x], (c_out,), transB=1)
