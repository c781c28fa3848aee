"""DDAMFN++ (Zhang et al., 2023): a mixed-feature network under heads of dual-direction attention.

Restated from the paper's figures and tables; the parameters are called as in ``SainingZhang/DDAMFN``,
folder ``DDAMFN++`` (no licence file; none of its code is here), so that its checkpoints load as they are.
Some of what they store is never used, there as here: the norm and the leak of the mixed depthwise
convolutions, a convolution in every head, and a norm of the answers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..adapter import Adapter
from ..checkpoint import State, fill
from .mobilefacenet import ConvBn, ConvBnPrelu, Stack

__all__ = ["Ddamfn", "network"]

_WIDTH = 512  # channels of the features


def network(adapter: Adapter, state: State) -> nn.Module:
    """The net with as many attention heads as the checkpoint has.

    Raises:
        AdapterError: The parameters are not its with as many classes as the adapter.
    """
    heads = len({name.split(".")[0] for name in state if name.startswith("cat_head")})
    return fill(Ddamfn(len(adapter.output.channels), max(heads, 1)), state)


class Ddamfn(nn.Module):
    """RGB [N, 3, 112, 112], normalised as for ImageNet, to logits [N, classes]."""

    def __init__(self, classes: int, heads: int = 2) -> None:
        super().__init__()
        self.features = _mixed_feature_net()
        self.heads = heads
        for place in range(heads):
            self.add_module(f"cat_head{place}", _Head())
        self.Linear = ConvBn(_WIDTH, _WIDTH, 7, groups=_WIDTH)
        self.fc = nn.Linear(_WIDTH, classes)
        self.bn = nn.BatchNorm1d(classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        weights = self.get_submodule("cat_head0")(features)
        for place in range(1, self.heads):
            weights = torch.maximum(weights, self.get_submodule(f"cat_head{place}")(features))
        return self.fc(self.Linear(features * weights).flatten(1))


def _mixed_feature_net() -> nn.Sequential:
    """RGB [N, 3, 112, 112] to [N, 512, 7, 7]; a mixed convolution is given as kernels and their channels."""
    return nn.Sequential(
        ConvBnPrelu(3, 64, 3, 2, 1),
        ConvBnPrelu(64, 64, 3, 1, 1, groups=64),
        _Mixed(64, 64, {3: 64, 5: 32, 7: 32}, 2),
        _residuals(64, {3: 96, 5: 32}, 9),
        _Mixed(64, 128, {3: 128, 5: 64, 7: 64}, 2),
        _residuals(128, {3: 192, 5: 64}, 16),
        _Mixed(128, 256, {3: 256, 5: 256, 7: 256, 9: 256}, 2),
        _residuals(256, {3: 172, 5: 170, 7: 170}, 6),
        ConvBnPrelu(256, _WIDTH),
    )


def _residuals(channels: int, mix: dict[int, int], count: int) -> Stack:
    return Stack(*(_Mixed(channels, channels, mix, residual=True) for _ in range(count)))


class _Mixed(nn.Module):
    """A bottleneck whose depthwise convolution has kernels of several sizes, with coordinate attention."""

    def __init__(
        self, inputs: int, outputs: int, mix: dict[int, int], stride: int = 1, residual: bool = False
    ) -> None:
        super().__init__()
        middle = sum(mix.values())
        self.conv = ConvBnPrelu(inputs, middle)
        self.conv_dw = _MixedDepthwise(mix, stride)
        self.CA = _Coordinates(middle)
        self.project = ConvBn(middle, outputs)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_dw(self.conv(x))
        inner = self.project(inner * self.CA(inner.mean(3, keepdim=True), inner.mean(2, keepdim=True)))
        return x + inner if self.residual else inner


class _MixedDepthwise(nn.Module):
    """Mixed depthwise convolution (Tan and Le, 2019): each share of the channels has a kernel of its own."""

    def __init__(self, mix: dict[int, int], stride: int) -> None:
        super().__init__()
        self.shares = list(mix.values())
        self.mixed_depthwise_conv = nn.ModuleList(
            nn.Conv2d(share, share, kernel, stride, kernel // 2, groups=share, bias=False)
            for kernel, share in mix.items()
        )
        self.bn = nn.BatchNorm2d(sum(self.shares))
        self.prelu = nn.PReLU(sum(self.shares))

    def forward(self, x: Tensor) -> Tensor:
        shares = x.split(self.shares, 1)
        return torch.cat([conv(s) for conv, s in zip(self.mixed_depthwise_conv, shares, strict=True)], 1)


class _Coordinates(nn.Module):
    """Coordinate attention (Hou et al., 2021).

    The map's means, or what stands for them: down [N, C, H, 1] and across [N, C, 1, W], to weights
    [N, C, H, W].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = max(8, channels // 32)
        self.conv1 = nn.Conv2d(channels, middle, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, channels, 1)
        self.conv3 = nn.Conv2d(middle, channels, 1)

    def forward(self, down: Tensor, across: Tensor) -> Tensor:
        both = torch.cat((down, across.transpose(2, 3)), 2)
        both = functional.hardswish(self.bn1(self.conv1(both)))
        down, across = both.split([down.shape[2], across.shape[3]], 2)
        return torch.sigmoid(self.conv2(down)) * torch.sigmoid(self.conv3(across.transpose(2, 3)))


class _Directions(_Coordinates):
    """The paper's dual-direction attention: convolutions as long as the map stand for its means."""

    def __init__(self) -> None:
        super().__init__(_WIDTH)
        self.Linear_h = ConvBn(_WIDTH, _WIDTH, (1, 7), groups=_WIDTH)
        self.Linear_w = ConvBn(_WIDTH, _WIDTH, (7, 1), groups=_WIDTH)
        self.Linear = ConvBn(_WIDTH, _WIDTH, 7, groups=_WIDTH)


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.CoordAtt = _Directions()

    def forward(self, x: Tensor) -> Tensor:
        attention = self.CoordAtt
        return attention(attention.Linear_h(x), attention.Linear_w(x))
