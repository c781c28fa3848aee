"""Building blocks that a CPU's dense int8 kernels and an Edge TPU run well.

A dense 3x3 multiply-add costs a fifth to a twelfth of a depthwise one on cores with dot products, so the
blocks are plain residual ones; on cores without (Pi 3, 4, Zero 2) a third, where inverted ones pay at many
channels (`benchmarks/results/README.md` has what was measured). ReLU only, or ReLU6 where a network is
bounded; batch norm folds away, upsampling is bilinear by two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "ConvBnRelu",
    "Inverted",
    "Residual",
    "bound",
    "residual",
    "say_always",
    "say_first",
    "stage",
    "upsample2",
]

_ALL_BUT_NOTHING = 1e-3


class ConvBnRelu(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int | None = None
    ) -> None:
        pad = kernel // 2 if padding is None else padding
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )


class Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBnRelu(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)  # a block starts as the identity
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(x + self.norm(self.second(self.first(x))))
        return y


class Inverted(nn.Module):
    """Widened, filtered channel by channel, made narrow (Sandler et al., "MobileNetV2", 2018)."""

    def __init__(self, inputs: int, outputs: int, expand: int, stride: int = 1) -> None:
        """``expand``: how many times as wide in the middle. A shortcut where the shape stays."""
        super().__init__()
        wide = expand * inputs
        self.widen = ConvBnRelu(inputs, wide, kernel=1)
        self.filter = nn.Sequential(
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU()
        )
        self.narrow = nn.Conv2d(wide, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.short = stride == 1 and inputs == outputs
        if self.short:
            nn.init.zeros_(self.norm.weight)  # a block with a shortcut starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.narrow(self.filter(self.widen(x))))
        return x + y if self.short else y


def residual(channels: int, expand: int = 0) -> nn.Module:
    """A block with a shortcut: plain, or inverted where ``expand`` says how wide."""
    return Inverted(channels, channels, expand) if expand else Residual(channels)


def stage(inputs: int, outputs: int, blocks: int, expand: int = 0) -> nn.Sequential:
    """Halves the resolution, then ``blocks`` blocks: plain, or inverted where ``expand`` says how wide."""
    first = Inverted(inputs, outputs, expand, 2) if expand else ConvBnRelu(inputs, outputs, stride=2)
    return nn.Sequential(first, *(residual(outputs, expand) for _ in range(blocks)))


def bound(*parts: nn.Module) -> None:
    """Stops at 6 what is activated in the parts: ReLU6, as MobileNet has it for low precision.

    Before pictures unlike those of its calibration a network's values may lie far beyond the int8 file's
    ranges, which cut them off; bounded ones have nowhere to go.
    """
    for part in parts:
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU):
                setattr(part, name, nn.ReLU6())
            else:
                bound(child)


def upsample2(x: Tensor) -> Tensor:
    """Bilinear, by two, half-pixel centres."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def say_first(layer: nn.Conv2d, values: Sequence[float]) -> None:
    """Makes a layer begin with about the same answer for every picture: ``values`` [outputs]."""
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(values))  # type: ignore[union-attr]  # every last layer has one


def say_always(layer: nn.Conv2d, values: Sequence[float]) -> None:
    """Makes a layer that nothing will teach say all but the same of every picture: ``values`` [outputs].

    Its weights are alike and small, not 0: of weights that are all 0 a quantiser cannot scale the bias.
    """
    nn.init.constant_(layer.weight, _ALL_BUT_NOTHING)
    say_first(layer, values)
