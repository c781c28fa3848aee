"""SegFace's convolutional backbones: MobileNetV3-Large, EfficientNetV2-M and ConvNeXt-B.

Restated from the papers (Howard et al., 2019; Tan and Le, 2021; Liu et al., 2022); the modules are called as
in torchvision's ``mobilenet_v3_large().features``, ``efficientnet_v2_m().features`` and, its children in a
``Sequential``, ``convnext_base()`` (BSD-3-Clause).

Each takes RGB [N, 3, H, W], normalised as for ImageNet, and gives four maps [N, C, h, w] at strides 4, 8, 16
and 32; ``widths`` are their C.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ChannelNorm", "ConvNextB", "EfficientNetV2M", "MobileNetV3"]

# Kernel, expanded width, width, squeeze and excitation, hard swish, stride: table 1 of the paper.
_MOBILE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
# Fused, expansion, stride of the first, width, blocks: torchvision's; the paper has no table of the size M.
_EFFICIENT = (
    (True, 1, 1, 24, 3),
    (True, 4, 2, 48, 5),
    (True, 4, 2, 80, 5),
    (False, 4, 2, 160, 7),
    (False, 6, 1, 176, 14),
    (False, 6, 2, 304, 18),
    (False, 6, 1, 512, 5),
)


class _Tapped(nn.Sequential):
    """A chain that is read after the stages ``taps``."""

    taps: tuple[int, ...]
    widths: tuple[int, ...]

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]  # maps, not one
        maps = []
        for k, stage in enumerate(self):
            x = stage(x)
            if k in self.taps:
                maps.append(x)
        return maps


class MobileNetV3(_Tapped):
    taps = (3, 6, 12, 16)
    widths = (24, 40, 112, 960)

    def __init__(self) -> None:
        stages: list[nn.Module] = [_ConvNorm(3, 16, 3, nn.Hardswish(), 2)]
        inputs = 16
        for kernel, wide, outputs, squeezed, hard, stride in _MOBILE:
            act = nn.Hardswish() if hard else nn.ReLU()
            layers = [] if wide == inputs else [_ConvNorm(inputs, wide, 1, act)]
            layers.append(_ConvNorm(wide, wide, kernel, act, stride, wide))
            if squeezed:
                layers.append(_Squeeze(wide, _eighths(wide // 4), nn.ReLU(), nn.Hardsigmoid()))
            layers.append(_ConvNorm(wide, outputs, 1, nn.Identity()))
            stages.append(_Residual(layers, stride == 1 and inputs == outputs))
            inputs = outputs
        super().__init__(*stages, _ConvNorm(inputs, 960, 1, nn.Hardswish()))


class EfficientNetV2M(_Tapped):
    taps = (2, 3, 5, 8)
    widths = (48, 80, 176, 1280)

    def __init__(self) -> None:
        stages: list[nn.Module] = [_ConvNorm(3, 24, 3, nn.SiLU(), 2)]
        inputs = 24
        for fused, expansion, stride, outputs, count in _EFFICIENT:
            make = _fused if fused else _expanded
            blocks = [make(inputs, outputs, expansion, stride)]
            blocks += [make(outputs, outputs, expansion, 1) for _ in range(count - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        super().__init__(*stages, _ConvNorm(inputs, 1280, 1, nn.SiLU()))


class ConvNextB(nn.Sequential):
    """``depths``: blocks of each stage."""

    widths = (128, 256, 512, 1024)
    depths = (3, 3, 27, 3)

    def __init__(self) -> None:
        first = self.widths[0]
        stages: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, first, 4, 4), ChannelNorm(first))]
        for k, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            if k:
                before = self.widths[k - 1]
                stages.append(nn.Sequential(ChannelNorm(before), nn.Conv2d(before, width, 2, 2)))
            stages.append(nn.Sequential(*(_NextBlock(width) for _ in range(depth))))
        super().__init__(nn.Sequential(*stages))

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]  # maps, not one
        maps = []
        for k, stage in enumerate(self[0]):
            x = stage(x)
            if k % 2 == 1:
                maps.append(x)
        return maps


class _ConvNorm(nn.Sequential):
    def __init__(
        self, inputs: int, outputs: int, kernel: int, act: nn.Module, stride: int = 1, groups: int = 1
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs, eps=1e-3), act)


class _Squeeze(nn.Module):
    """Channels weighed by their means over the picture."""

    def __init__(self, width: int, inner: int, act: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, inner, 1)
        self.fc2 = nn.Conv2d(inner, width, 1)
        self.activation, self.scale_activation = act, gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_activation(self.fc2(self.activation(self.fc1(x.mean((2, 3), keepdim=True)))))


class _Residual(nn.Module):
    def __init__(self, layers: list[nn.Module], shortcut: bool) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)
        self._shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self._shortcut else self.block(x)


def _eighths(width: int) -> int:
    """The multiple of eight nearest to ``width``, but no tenth below it."""
    near = max(8, (width + 4) // 8 * 8)
    return near if near >= 0.9 * width else near + 8


def _fused(inputs: int, outputs: int, expansion: int, stride: int) -> nn.Module:
    if expansion == 1:
        layers: list[nn.Module] = [_ConvNorm(inputs, outputs, 3, nn.SiLU(), stride)]
    else:
        wide = inputs * expansion
        layers = [
            _ConvNorm(inputs, wide, 3, nn.SiLU(), stride),
            _ConvNorm(wide, outputs, 1, nn.Identity()),
        ]
    return _Residual(layers, stride == 1 and inputs == outputs)


def _expanded(inputs: int, outputs: int, expansion: int, stride: int) -> nn.Module:
    wide = inputs * expansion
    layers = [
        _ConvNorm(inputs, wide, 1, nn.SiLU()),
        _ConvNorm(wide, wide, 3, nn.SiLU(), stride, wide),
        _Squeeze(wide, inputs // 4, nn.SiLU(), nn.Sigmoid()),
        _ConvNorm(wide, outputs, 1, nn.Identity()),
    ]
    return _Residual(layers, stride == 1 and inputs == outputs)


class ChannelNorm(nn.LayerNorm):
    """Over the channels of a map."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _NextBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            _ChannelsLast(),
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer_scale * self.block(x).permute(0, 3, 1, 2)


class _ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)
