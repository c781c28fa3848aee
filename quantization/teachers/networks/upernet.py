"""UPerNet's head (Xiao et al., 2018): a pyramid of pooled contexts, added up from coarse to fine.

Restated from the paper; the modules are called as in mmsegmentation's ``UPerHead`` (Apache-2.0).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["UPerHead"]

_POOLED = (1, 2, 3, 6)


class UPerHead(nn.Module):
    """Four maps [N, width, h, w], the finest first, to logits [N, classes, h, w] of the finest one's size.

    Args:
        width: Of every map, and of the head.
        classes: How many.
        coarsest: Side of the last, square map.
    """

    def __init__(self, width: int, classes: int, coarsest: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(_Pool(coarsest, cells), _ConvNorm(width, width, 1)) for cells in _POOLED
        )
        self.bottleneck = _ConvNorm((1 + len(_POOLED)) * width, width, 3)
        self.lateral_convs = nn.ModuleList(_ConvNorm(width, width, 1) for _ in range(3))
        self.fpn_convs = nn.ModuleList(_ConvNorm(width, width, 3) for _ in range(3))
        self.fpn_bottleneck = _ConvNorm(4 * width, width, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        last = maps[-1]
        pooled = [_resized(pool(last), last) for pool in self.psp_modules]
        levels = [conv(x) for conv, x in zip(self.lateral_convs, maps[:-1], strict=True)]
        levels.append(self.bottleneck(torch.cat((last, *pooled), 1)))
        for k in (2, 1, 0):
            levels[k] = levels[k] + _resized(levels[k + 1], levels[k])
        fine = [conv(x) for conv, x in zip(self.fpn_convs, levels[:-1], strict=True)]
        alike = [_resized(x, fine[0]) for x in (*fine, levels[-1])]
        return self.conv_seg(self.fpn_bottleneck(torch.cat(alike, 1)))


class _ConvNorm(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class _Pool(nn.Module):
    """Means over ``cells`` x ``cells`` parts, which may overlap: torch's adaptive pooling, for ONNX."""

    shares: Tensor

    def __init__(self, side: int, cells: int) -> None:
        super().__init__()
        shares = torch.zeros(cells, side)
        for k in range(cells):
            first, end = k * side // cells, -(-(k + 1) * side // cells)
            shares[k, first:end] = 1 / (end - first)
        self.register_buffer("shares", shares, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.shares @ x @ self.shares.T


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="bilinear")
