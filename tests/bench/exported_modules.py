"""Small torch modules of the kinds that users write themselves: a U-Net, recurrent ones, a transformer, a detector's head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def _block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.SiLU())


class UNet(nn.Module):
    """Two levels, a transposed convolution up and bilinear resizing to the skipped size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bottom = _block(3, 16), _block(16, 32), _block(32, 48)
        self.up = nn.ConvTranspose2d(48, 32, 2, stride=2)
        self.merge, self.last = _block(64, 16), nn.Conv2d(32, 2, 1)

    def forward(self, x: Any) -> Any:
        first = self.first(x)
        second = self.second(nn.functional.max_pool2d(first, 2))
        up = self.up(self.bottom(nn.functional.max_pool2d(second, 2)))
        merged = self.merge(torch.cat([up, second], 1))
        large = nn.functional.interpolate(merged, size=first.shape[-2:], mode="bilinear", align_corners=False)
        return self.last(torch.cat([large, first], 1)).sigmoid()


class Recurrent(nn.Module):
    """A bidirectional recurrent layer of two levels over a sequence, and a head on its last step."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.layer = kind(24, 32, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.layer(x)[0][:, -1])


class Transformer(nn.Module):
    """Two encoder layers of torch's own, and a mean over the sequence."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(24, 4, 64, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.encoder(x).mean(1))


class Detector(nn.Module):
    """A head as YOLO's: boxes by a softmax over bins, anchors from the shape, the best of the scores by top-k."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Sequential(_block(a, b), nn.MaxPool2d(2)) for a, b in ((3, 16), (16, 32), (32, 32)))
        )
        self.boxes, self.scores = nn.Conv2d(32, 4 * 8, 1), nn.Conv2d(32, 6, 1)
        self.register_buffer("bins", torch.arange(8.0))

    def forward(self, x: Any) -> Any:
        found = self.body(x)
        n, _, h, w = found.shape
        distances = self.boxes(found).view(n, 4, 8, h * w).softmax(2)
        distances = (distances * self.bins.view(1, 1, 8, 1)).sum(2)
        ys, xs = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        centres = torch.stack((xs.flatten(), ys.flatten()))
        corners = torch.cat((centres - distances[:, :2], centres + distances[:, 2:]), 1)
        best, where = self.scores(found).flatten(2).sigmoid().amax(1).topk(10)
        return corners.gather(2, where.unsqueeze(1).expand(-1, 4, -1)), best


MODULES: dict[str, Callable[[], nn.Module]] = {
    "unet": UNet,
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "transformer": Transformer,
    "detector": Detector,
}
