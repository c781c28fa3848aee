"""The expression student, and its teacher: a plain residual net over one grey 48 x 48 crop."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import ConvBnRelu, residual, stage

__all__ = ["ExpressionNet"]


class ExpressionNet(nn.Module):
    """Grey crop [N, 1, 48, 48] in [-1, 1] to logits [N, 8, 1, 1] over FER+'s classes."""

    outputs = ("logits",)

    def __init__(
        self,
        widths: Sequence[int] = (16, 48, 96, 160),
        classes: int = 8,
        blocks: Sequence[int] | None = None,
        expand: Sequence[int] | None = None,
    ) -> None:
        """``blocks`` are the residual ones of each stage after the first convolution; None: one each.

        ``expand`` of each of these stages: 0 of plain blocks, else how wide inverted ones are; None: 0.
        """
        super().__init__()
        first, *rest = widths
        blocks, expand = blocks or [1] * len(rest), expand or [0] * len(rest)
        layers: list[nn.Module] = [ConvBnRelu(1, first)]
        for before, after, count, wide in zip(widths, rest, blocks, expand, strict=False):
            layers.append(stage(before, after, count, wide))
        self.backbone = nn.Sequential(*layers, residual(widths[-1], expand[-1]))
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Conv2d(widths[-1], classes, 1)

    @classmethod
    def of(cls, student: Mapping[str, Any]) -> ExpressionNet:
        """The untrained network of a recipe's ``student``."""
        return cls(student["widths"], blocks=student.get("blocks"), expand=student.get("expand"))

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
