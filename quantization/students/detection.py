"""The detection student: one cell, one face, at strides 8, 16 and 32, with box, five points and a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from .blocks import ConvBnRelu, say_always, stage, upsample2

__all__ = ["STRIDES", "DetectionNet"]

STRIDES = (8, 16, 32)


class _LevelHead(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.shared = ConvBnRelu(channels, channels)
        self.score = nn.Conv2d(channels, 1, 1)
        self.box = nn.Conv2d(channels, 4, 1)
        self.points = nn.Conv2d(channels, 10, 1)
        nn.init.constant_(self.score.bias, -4.0)  # faces are rare: start from "no"
        nn.init.constant_(self.box.bias, 1.5 if stride == STRIDES[-1] else 1.0)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score, box and points of what ``shared`` made of its level."""
        return self.score(y), self.box(y), self.points(y)


class DetectionNet(nn.Module):
    """RGB frame [N, 3, 256, 320] to nine maps: score, box and points for each stride.

    A score is a logit; a box is left, top, right, bottom distances in strides; points are five x, y offsets
    in units of two strides.

    A feature pyramid (Lin et al., 2017) with bilinear upsampling; anchor-free, one prediction per cell as in
    FCOS.
    """

    outputs = tuple(f"{kind}_{s}" for s in STRIDES for kind in ("score", "box", "kps"))

    def __init__(
        self,
        widths: Sequence[int] = (8, 16, 32, 64, 96),
        blocks: Sequence[int] = (1, 2, 1),
        neck: int = 32,
        expand: Sequence[int] = (0, 0, 0),
    ):
        """``expand`` of each stage: 0 of plain blocks, else how wide inverted ones are."""
        super().__init__()
        stem, second, *levels = widths
        self.stem = nn.Sequential(ConvBnRelu(3, stem, stride=2), ConvBnRelu(stem, second, stride=2))
        self.stages = nn.ModuleList(
            stage(before, after, count, wide)
            for before, after, count, wide in zip([second, *levels], levels, blocks, expand, strict=False)
        )
        self.lateral = nn.ModuleList(ConvBnRelu(width, neck, kernel=1) for width in levels)
        self.heads = nn.ModuleList(_LevelHead(neck, s) for s in STRIDES)

    @classmethod
    def of(cls, student: Mapping[str, Any]) -> DetectionNet:
        """The untrained network of a recipe's ``student``."""
        shape = (student["blocks"], int(student["neck"]), student.get("expand", (0, 0, 0)))
        return cls(student["widths"], *shape)

    def fix_points(self, offsets: Sequence[float]) -> None:
        """Makes the five points, ``offsets`` [10] in units of two strides, the same in every cell."""
        for head in self.heads:
            say_always(head.points, offsets)

    def features(self, x: Tensor) -> list[Tensor]:
        """What the heads read, [N, neck, H, W] at each stride."""
        x = self.stem(x)
        maps = []
        for stage_ in self.stages:
            x = stage_(x)
            maps.append(x)
        c8, c16, c32 = (lateral(m) for lateral, m in zip(self.lateral, maps, strict=True))
        p16 = c16 + upsample2(c32)
        p8 = c8 + upsample2(p16)
        return [head.shared(p) for head, p in zip(self.heads, (p8, p16, c32), strict=True)]

    def predicted(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The nine maps of the features."""
        rows = [head(y) for head, y in zip(self.heads, features, strict=True)]
        return tuple(out for row in rows for out in row)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.predicted(self.features(x))
