"""EmotiEffNet (Savchenko, 2022): EfficientNet-B0 or -B2 with a head for expressions.

Restated from EfficientNet's paper (Tan and Le, 2019); the parameters are called as in timm's (Apache-2.0)
``tf_efficientnet_b0_ns`` and ``tf_efficientnet_b2_ns``, which ``av-savchenko/face-emotion-recognition``
(Apache-2.0) trains and saves whole. As in the TensorFlow original the convolutions pad to
``ceil(side / stride)``, more at the end than at the beginning, and the norms' epsilon is 1e-3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..adapter import Adapter, AdapterError
from ..checkpoint import State, fill

__all__ = ["EfficientNet", "network"]

_SCALES = {
    224: (1.0, 1.0),
    260: (1.1, 1.2),
}  # by the side that it was trained at: width and depth of B0 and B2
# Of B0: expansion, channels, blocks, stride, kernel.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def network(adapter: Adapter, state: State) -> nn.Module:
    """B0 or B2, as the size of the adapter's input tells.

    Raises:
        AdapterError: Neither is asked for, or the parameters are not its with as many classes as the adapter.
    """
    side = adapter.input.size[0]
    if side not in _SCALES:
        raise AdapterError(
            f"input.size is {side}, but EmotiEffNets see {' or '.join(map(str, _SCALES))} pixels"
        )
    # Some of the heads were saved as a sequence of one layer.
    own = {name.replace("classifier.0.", "classifier."): tensor for name, tensor in state.items()}
    return fill(EfficientNet(len(adapter.output.channels), *_SCALES[side]), own)


class EfficientNet(nn.Module):
    """RGB [N, 3, H, W], normalised as for ImageNet, to logits [N, classes]."""

    def __init__(self, classes: int, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        channels = _eighths(32 * width)
        self.conv_stem = _Same(3, channels, 3, 2)
        self.bn1 = _norm(channels)
        stages = []
        for expansion, outputs, count, stride, kernel in _STAGES:
            blocks = []
            for place in range(math.ceil(count * depth)):
                build = _Separable if expansion == 1 else _Inverted
                wider = _eighths(outputs * width)
                blocks.append(build(channels, wider, kernel, 1 if place else stride, expansion))
                channels = wider
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        features = _eighths(1280 * width)
        self.conv_head = _Same(channels, features, 1)
        self.bn2 = _norm(features)
        self.classifier = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.bn1(self.conv_stem(x)))
        x = functional.silu(self.bn2(self.conv_head(self.blocks(x))))
        return self.classifier(x.mean((2, 3)))


def _eighths(channels: float) -> int:
    """The nearest multiple of 8, but none that takes more than a tenth away."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Same(nn.Conv2d):
    """Pads as TensorFlow does."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        high, wide = (
            max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in map(int, x.shape[2:])
        )
        return super().forward(functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2)))


class _Squeeze(nn.Module):
    """Channels weighed by their own means over the picture."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, middle, 1)
        self.conv_expand = nn.Conv2d(middle, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = functional.silu(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.conv_expand(weights))


class _Separable(nn.Module):
    """The block of the first stage, which expands nothing."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, _: int) -> None:
        super().__init__()
        self.conv_dw = _Same(inputs, inputs, kernel, stride, groups=inputs)
        self.bn1 = _norm(inputs)
        self.se = _Squeeze(inputs, inputs // 4)
        self.conv_pw = _Same(inputs, outputs, 1)
        self.bn2 = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner = self.se(functional.silu(self.bn1(self.conv_dw(x))))
        inner = self.bn2(self.conv_pw(inner))
        return x + inner if self.residual else inner


class _Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.conv_pw = _Same(inputs, middle, 1)
        self.bn1 = _norm(middle)
        self.conv_dw = _Same(middle, middle, kernel, stride, groups=middle)
        self.bn2 = _norm(middle)
        self.se = _Squeeze(middle, inputs // 4)
        self.conv_pwl = _Same(middle, outputs, 1)
        self.bn3 = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.silu(self.bn1(self.conv_pw(x)))
        inner = self.se(functional.silu(self.bn2(self.conv_dw(inner))))
        inner = self.bn3(self.conv_pwl(inner))
        return x + inner if self.residual else inner
