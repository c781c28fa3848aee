"""What SegFace and FaceXFormer (both Narayan et al., 2024) share: tokens that read a fused map.

Restated from the papers and, for the attention in both directions, from Segment Anything (Kirillov et al.,
2023); the modules are called as in ``Kartik-3004/SegFace`` and ``Kartik-3004/facexformer`` (MIT).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .convnets import ChannelNorm

__all__ = ["WIDTH", "Mlp", "TokenDecoder", "TokenNet"]

WIDTH = 256  # of tokens and fused map
_HEADS = 8


class TokenNet(nn.Module):
    """Four maps of a backbone, fused at the finest one's size, and a decoder's answer about them.

    Args:
        backbone: Gives four maps [N, C, h, w], the finest first; their ``widths`` are C.
        decoder: Takes the fused map [N, 256, h, w] and its positions [1, 256, h, w].
    """

    def __init__(self, backbone: nn.Module, decoder: TokenDecoder) -> None:
        super().__init__()
        self.backbone = backbone
        self.pe_layer = _Positions()
        self.face_decoder = decoder
        self.linear_c = nn.ModuleList(_Project(width) for width in backbone.widths)
        self.linear_fuse = nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = [project(x) for project, x in zip(self.linear_c, self.backbone(x), strict=True)]
        high, wide = maps[0].shape[2:]
        alike = [functional.interpolate(m, (high, wide), mode="bilinear") for m in maps]
        return self.face_decoder(self.linear_fuse(torch.cat(alike[::-1], 1)), self.pe_layer(high, wide))


class _Project(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Positions(nn.Module):
    """Sine and cosine of each place at frequencies that were drawn once and are stored."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, WIDTH // 2))

    def forward(self, high: int, wide: int) -> Tensor:
        y, x = ((torch.arange(side, dtype=torch.float32) + 0.5) / side for side in (high, wide))
        places = torch.stack((x.expand(high, wide), y[:, None].expand(high, wide)), -1)
        angles = 2 * math.pi * ((2 * places - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat((angles.sin(), angles.cos()), -1).permute(2, 0, 1)[None]


class Mlp(nn.Module):
    """Three layers."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            (nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        return last(torch.relu(second(torch.relu(first(x)))))


class TokenDecoder(nn.Module):
    """Tokens that look at the map, a map that looks at the tokens, and a class map per token.

    ``tokens``: name of each embedding and how many tokens it holds, in the order of the sequence.
    """

    def __init__(self, tokens: dict[str, int]) -> None:
        super().__init__()
        self._names = tuple(tokens)
        for name, count in tokens.items():
            setattr(self, name, nn.Embedding(count, WIDTH))
        self.transformer = _TwoWay()
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(WIDTH, WIDTH // 4, 2, 2),
            ChannelNorm(WIDTH // 4),
            nn.GELU(),
            nn.ConvTranspose2d(WIDTH // 4, WIDTH // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetwork_mlps = Mlp(WIDTH // 8)

    def read(self, fused: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens [N, T, 256] and the map [N, 256, h, w] after they looked at each other."""
        tokens = torch.cat([getattr(self, name).weight for name in self._names])
        tokens, pixels = self.transformer(
            tokens.expand(fused.shape[0], -1, -1),
            fused.flatten(2).transpose(1, 2),
            positions.flatten(2).transpose(1, 2),
        )
        return tokens, pixels.transpose(1, 2).reshape(fused.shape)

    def class_maps(self, tokens: Tensor, pixels: Tensor) -> Tensor:
        """Logits [N, T, 4 h, 4 w]."""
        fine = self.output_upscaling(pixels)
        logits = self.output_hypernetwork_mlps(tokens) @ fine.flatten(2)
        return logits.reshape(fine.shape[0], -1, *fine.shape[2:])


class _TwoWay(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList((_TwoWayBlock(first=True), _TwoWayBlock(first=False)))
        self.final_attn_token_to_image = _Attention(WIDTH // 2)
        self.norm_final_attn = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor, pixels: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        named = tokens  # a token's own position is what it was before anything was read
        for layer in self.layers:
            tokens, pixels = layer(tokens, pixels, named, places)
        tokens = tokens + self.final_attn_token_to_image(tokens + named, pixels + places, pixels)
        return self.norm_final_attn(tokens), pixels


class _TwoWayBlock(nn.Module):
    def __init__(self, first: bool) -> None:
        super().__init__()
        self._first = first
        self.self_attn = _Attention(WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.cross_attn_token_to_image = _Attention(WIDTH // 2)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = _Feed()
        self.norm3 = nn.LayerNorm(WIDTH)
        self.norm4 = nn.LayerNorm(WIDTH)
        self.cross_attn_image_to_token = _Attention(WIDTH // 2)

    def forward(self, tokens: Tensor, pixels: Tensor, named: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        if self._first:  # tokens and their positions are still the same
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            tokens = tokens + self.self_attn(tokens + named, tokens + named, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + named, pixels + places, pixels))
        tokens = self.norm3(tokens + self.mlp(tokens))
        pixels = pixels + self.cross_attn_image_to_token(pixels + places, tokens + named, tokens)
        return tokens, self.norm4(pixels)


class _Feed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(WIDTH, 2048)
        self.lin2 = nn.Linear(2048, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(torch.relu(self.lin1(x)))


class _Attention(nn.Module):
    """Eight heads that look at ``inner`` channels."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self._scale = math.sqrt(inner / _HEADS)
        self.q_proj = nn.Linear(WIDTH, inner)
        self.k_proj = nn.Linear(WIDTH, inner)
        self.v_proj = nn.Linear(WIDTH, inner)
        self.out_proj = nn.Linear(inner, WIDTH)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = _heads(self.q_proj(q)), _heads(self.k_proj(k)), _heads(self.v_proj(v))
        weights = (q @ k.transpose(-2, -1) / self._scale).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))


def _heads(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:2], _HEADS, -1).transpose(1, 2)
