"""FaRL (Zheng et al., 2022) for parsing and landmarks: CLIP's ViT-B/16, a pyramid of blocks, UPerNet's head.

Restated from the paper; the modules are called as in ``FacePerceiver/FaRL`` (MIT), which ``facer`` uses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..adapter import Adapter, Landmarks
from ..checkpoint import State, fill
from .clipvit import CLIP_MEAN, CLIP_STD, ClipVit
from .upernet import UPerHead

__all__ = ["FarlHeatmaps", "FarlParsing", "network"]

_BLOCKS = (3, 5, 7, 11)  # that the pyramid is made of, from 0
_PARSED = 512  # side of the parsing net's answer, whatever the input's
_UNREAD = ("backbone.visual.ln_post.", "backbone.visual.proj")  # CLIP's way to words


def network(adapter: Adapter, state: State) -> nn.Module:
    """The net of the adapter's task, with as many maps as it has points or channels.

    Raises:
        AdapterError: The parameters are not its.
    """
    rule, side = adapter.output, adapter.input.size[0]
    if isinstance(rule, Landmarks):
        return fill(FarlHeatmaps(rule.count, side), state, _UNREAD)
    return fill(FarlParsing(len(rule.channels), side), state, _UNREAD)


class FarlParsing(nn.Module):
    """RGB [N, 3, S, S], 0 to 1, to logits [N, classes, 512, 512]; ``side`` is S, a multiple of 32."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        self.backbone = _Backbone(side)
        self.head = _Head(classes, side)

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.head(self.backbone(x)), (_PARSED, _PARSED), mode="bilinear")


class FarlHeatmaps(nn.Module):
    """RGB [N, 3, S, S], 0 to 1, to heatmaps [N, points, S / 4, S / 4], 0 to 1; ``side`` is S, as above."""

    def __init__(self, points: int, side: int) -> None:
        super().__init__()
        self.backbone = _Backbone(side)
        self.heatmap_head = _Head(points, side)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.heatmap_head(self.backbone(x)))


class _Backbone(nn.Module):
    """Four maps at strides 4, 8, 16 and 32."""

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.visual = ClipVit(side, side)
        width = self.visual.width
        self.register_buffer("image_mean", torch.tensor(CLIP_MEAN)[None, :, None, None])
        self.register_buffer("image_std", torch.tensor(CLIP_STD)[None, :, None, None])
        self.fpns = nn.ModuleList(
            (
                nn.Sequential(_twice(width), nn.BatchNorm2d(width), nn.GELU(), _twice(width)),
                _twice(width),
                nn.Identity(),
                nn.MaxPool2d(2, 2),
            )
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.visual((x - self.image_mean) / self.image_std)
        return [scale(maps[block]) for scale, block in zip(self.fpns, _BLOCKS, strict=True)]


def _twice(width: int) -> nn.Module:
    return nn.ConvTranspose2d(width, width, 2, 2)


class _Head(nn.Module):
    def __init__(self, maps: int, side: int) -> None:
        super().__init__()
        self.head = UPerHead(ClipVit.width, maps, side // 32)

    def forward(self, maps: list[Tensor]) -> Tensor:
        return self.head(maps)
