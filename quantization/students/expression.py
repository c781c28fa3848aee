"""The expression student, and its teacher: a plain residual net over one grey 48 x 48 crop."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .blocks import ConvBnRelu, Residual, stage

__all__ = ["ExpressionNet"]


class ExpressionNet(nn.Module):
    """Grey crop [N, 1, 48, 48] in [-1, 1] to logits [N, 8, 1, 1] over FER+'s classes."""

    outputs = ("logits",)

    def __init__(
        self,
        widths: Sequence[int] = (16, 48, 96, 160),
        classes: int = 8,
        blocks: Sequence[int] | None = None,
    ) -> None:
        """``blocks`` are the residual ones of each stage after the first convolution; None: one each."""
        super().__init__()
        first, *rest = widths
        layers: list[nn.Module] = [ConvBnRelu(1, first)]
        for before, after, count in zip(widths, rest, blocks or [1] * len(rest), strict=False):
            layers.append(stage(before, after, count))
        self.backbone = nn.Sequential(*layers, Residual(widths[-1]))
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Conv2d(widths[-1], classes, 1)

    def deployed(self) -> nn.Module:
        """The same net over RGB: a camera's picture is grey by ITU-R BT.601 inside the first convolution.

        Exact, because both are linear and the weights of the colours sum to one.
        """
        net = copy.deepcopy(self).eval()
        first = net.backbone[0][0]
        luma = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]
        first.weight = nn.Parameter(first.weight.detach() * luma)
        first.in_channels = 3
        return net

    def forward(self, x: Tensor) -> tuple[Tensor]:
        pooled = self.backbone(x).mean((2, 3), keepdim=True)
        return (self.head(self.dropout(pooled)),)
