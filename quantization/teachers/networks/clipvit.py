"""The image encoder of CLIP, ViT-B/16 (Radford et al., 2021), as FaRL and Faceptor read it: all its patches.

Restated from the papers; the modules are called as in ``FacePerceiver/FaRL``, network/farl/model.py (MIT).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CLIP_MEAN", "CLIP_STD", "Attention", "ClipVit"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_DEPTH, _HEADS, _PATCH = 12, 12, 16


class ClipVit(nn.Module):
    """RGB [N, 3, S, S], normalised as for CLIP, to twelve maps [N, 768, S / 16, S / 16], one of each block.

    Args:
        stored: S that there are positions for.
        side: S of the pictures; another than ``stored`` gets its positions bicubically.
    """

    width = 768

    def __init__(self, stored: int, side: int) -> None:
        super().__init__()
        self._stored, self._cells = stored // _PATCH, side // _PATCH
        self.conv1 = nn.Conv2d(3, self.width, _PATCH, _PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(self.width) / self.width**0.5)
        self.positional_embedding = nn.Parameter(
            torch.randn(self._stored**2 + 1, self.width) / self.width**0.5
        )
        self.ln_pre = nn.LayerNorm(self.width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(_Block(self.width) for _ in range(_DEPTH))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.conv1(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat((first, x), 1) + self._positions())
        maps = []
        for block in self.transformer.resblocks:
            x = block(x)
            maps.append(x[:, 1:].transpose(1, 2).unflatten(2, (self._cells, self._cells)))
        return maps

    def _positions(self) -> Tensor:
        if self._cells == self._stored:
            return self.positional_embedding
        grid = self.positional_embedding[1:].T.reshape(1, self.width, self._stored, self._stored)
        resized = functional.interpolate(grid, (self._cells, self._cells), mode="bicubic")
        return torch.cat((self.positional_embedding[:1], resized[0].flatten(1).T))


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = Attention(width, _HEADS)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Module()
        self.mlp.c_fc = nn.Linear(width, 4 * width)
        self.mlp.c_proj = nn.Linear(4 * width, width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        look = self.ln_1(x)
        x = x + self.attn(look, look, look)
        wide = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(wide * torch.sigmoid(1.702 * wide))  # CLIP's quick GELU


class Attention(nn.Module):
    """Called as torch's ``MultiheadAttention``, whose fast path no ONNX file can hold."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads, self._scale = heads, (width // heads) ** -0.5
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) / width**0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(x, weight, bias).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((q, k, v), weights, biases, strict=True)
        )
        looks = (q * self._scale @ k.transpose(-2, -1)).softmax(-1)
        return self.out_proj((looks @ v).transpose(1, 2).flatten(2))
