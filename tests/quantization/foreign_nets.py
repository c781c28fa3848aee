"""Networks with the layers that our students do without, as .onnx files of somebody else's exporter."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional

__all__ = ["Branches", "Odd", "as_onnx", "smooth_frames"]


class Odd(nn.Module):
    """A map and a vector, by way of what our students do without.

    GELU, HardSwish, a resize, PReLU, an exponential, a transposed convolution, LayerNorm, softmax.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(8)
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, 1, 1)
        self.third = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.slope = nn.PReLU(8)
        self.up = nn.ConvTranspose2d(8, 5, 4, 2, 1)
        self.norm = nn.LayerNorm(8)
        self.vector = nn.Linear(8, 6)

    def forward(self, x):
        x = functional.gelu(self.first(x))
        fine = functional.hardswish(self.second(x))
        x = functional.interpolate(fine, scale_factor=2, mode="bilinear", align_corners=False)
        maps = self.up(torch.exp(-self.slope(self.third(x))))
        vector = self.vector(self.norm(fine.mean((2, 3))))
        return maps, functional.softmax(vector, 1)


class Branches(nn.Module):
    """What int8 costs dear: a small signal beside a large one, on one grid."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first = nn.Conv2d(3, 4, 3, 1, 1)
        self.last = nn.Conv2d(8, 2, 1, bias=False)

    def forward(self, x):
        small = torch.relu(self.first(x))
        joined = torch.cat([3000 * small + 5000, small], 1)
        return functional.conv2d(
            joined, self.last.weight * torch.tensor([0.0] * 4 + [1.0] * 4)[:, None, None]
        )


def as_onnx(net, outputs, side=16):
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (torch.zeros(1, 3, side, side),), target, dynamo=False,
                          opset_version=17, input_names=["image"], output_names=outputs)  # fmt: skip
    return target.getvalue()


def smooth_frames(count, side=16):
    """Smooth pictures, float [1, 3, side, side], 0 to 1."""
    coarse = torch.from_numpy(np.random.default_rng(4).uniform(0, 1, (count, 3, 4, 4)).astype(np.float32))
    fine = functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return [frame[None] for frame in fine.numpy()]
