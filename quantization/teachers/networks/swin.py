"""Swin-B (Liu et al., 2021) and Swin V2-B (Liu et al., 2022), backbones of FaceXFormer and SegFace.

Restated from the papers; the modules are called as in torchvision's ``swin_b`` and ``swin_v2_b``
(BSD-3-Clause) once their children stand in a ``Sequential``, which is how both nets keep them: ``0`` are the
stages, ``1`` is the last norm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SwinB", "SwinV2B"]

_APART = -100.0  # added to the attention between pixels that only the roll made neighbours


class SwinB(nn.Sequential):
    """RGB [N, 3, H, W], normalised as for ImageNet, to four maps [N, C, h, w] at strides 4, 8, 16 and 32.

    Attributes:
        widths: C of each map.
        depths: Blocks of each stage.
    """

    widths = (128, 256, 512, 1024)
    depths = (2, 2, 18, 2)

    def __init__(self) -> None:
        stages: list[nn.Module] = [_Patches(self.widths[0])]
        for k, depth in enumerate(self.depths):
            if k:
                stages.append(self._merging(self.widths[k - 1]))
            heads = self.widths[k] // 32
            stages.append(
                nn.Sequential(*(self._block(self.widths[k], heads, i % 2 == 1) for i in range(depth)))
            )
        # The last norm is stored, but both nets read the maps before it.
        super().__init__(nn.Sequential(*stages), nn.LayerNorm(self.widths[-1]))

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]  # maps, not one
        maps = []
        for k, stage in enumerate(self[0]):
            x = stage(x)
            if k % 2 == 1:
                maps.append(x.permute(0, 3, 1, 2))
        return maps

    def _merging(self, width: int) -> nn.Module:
        return _Merging(width, 4 * width)

    def _block(self, width: int, heads: int, shifted: bool) -> nn.Module:
        return _Block(width, _WindowAttention(width, heads, 7, shifted))


class SwinV2B(SwinB):
    """The second paper's: norms after the layers, cosine attention, a small net for the positions."""

    def _merging(self, width: int) -> nn.Module:
        return _MergingV2(width, 2 * width)

    def _block(self, width: int, heads: int, shifted: bool) -> nn.Module:
        return _BlockV2(width, _CosineAttention(width, heads, 8, shifted))


class _Patches(nn.Sequential):
    """4 x 4 pixels each, channels last from here on."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(3, width, 4, 4), nn.Identity(), nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # no further arguments
        return self[2](self[0](x).permute(0, 2, 3, 1))


class _Merging(nn.Module):
    """Four neighbours become one with twice the channels; ``normed``: how many channels the norm sees."""

    def __init__(self, width: int, normed: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(normed)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(_neighbours(x)))


class _MergingV2(_Merging):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.reduction(_neighbours(x)))


def _neighbours(x: Tensor) -> Tensor:
    """[N, H, W, C] to [N, H / 2, W / 2, 4 C]; an odd side is filled up."""
    x = functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    columns = torch.cat((x[:, 0::2], x[:, 1::2]), -1)
    return torch.cat((columns[:, :, 0::2], columns[:, :, 1::2]), -1)


class _Block(nn.Module):
    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _BlockV2(_Block):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


class _Windowed(nn.Module):
    """Attention within square windows; where ``shifted``, they lie half a window on, round the edges."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self._heads, self._window, self._shift = heads, window, window // 2 if shifted else 0
        self._scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.register_buffer("relative_position_index", _relative_positions(window))

    def forward(self, x: Tensor) -> Tensor:
        count, high, wide, width = x.shape
        window = self._window
        x = functional.pad(x, (0, 0, 0, -wide % window, 0, -high % window))
        rows, columns = x.shape[1], x.shape[2]
        # A single window needs no shift: there is nothing beyond its edge.
        shifts = tuple(self._shift if side > window else 0 for side in (rows, columns))
        windows = _windows(torch.roll(x, (-shifts[0], -shifts[1]), (1, 2)), window)
        per_head = (*windows.shape[:2], 3, self._heads, width // self._heads)
        q, k, v = self.project(windows).reshape(per_head).permute(2, 0, 3, 1, 4)
        scores = self.scores(q, k) + self.bias()
        if any(shifts):
            apart = _apart(rows, columns, shifts, window).to(scores)
            scores = (scores.reshape(count, -1, *scores.shape[1:]) + apart[None, :, None]).reshape(
                scores.shape
            )
        mixed = self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(windows.shape))
        grid = mixed.reshape(count, rows // window, columns // window, window, window, width)
        x = grid.permute(0, 1, 3, 2, 4, 5).reshape(count, rows, columns, width)
        return torch.roll(x, shifts, (1, 2))[:, :high, :wide]

    def by_position(self, table: Tensor) -> Tensor:
        """A table's row for every pair of a window's pixels, [1, heads, cells, cells]."""
        cells = self._window**2
        return table[self.relative_position_index].reshape(cells, cells, -1).permute(2, 0, 1)[None]


class _WindowAttention(_Windowed):
    def __init__(self, width: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__(width, heads, window, shifted)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def project(self, x: Tensor) -> Tensor:
        return self.qkv(x)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return (q * self._scale) @ k.transpose(-2, -1)

    def bias(self) -> Tensor:
        return self.by_position(self.relative_position_bias_table)


class _CosineAttention(_Windowed):
    relative_coords_table: Tensor

    def __init__(self, width: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__(width, heads, window, shifted)
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False))
        self.register_buffer("relative_coords_table", _log_steps(window))

    def project(self, x: Tensor) -> Tensor:
        queries, _, values = self.qkv.bias.chunk(3)  # keys have none, though one is stored
        return functional.linear(x, self.qkv.weight, torch.cat((queries, torch.zeros_like(queries), values)))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        cosine = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1)
        return cosine * self.logit_scale.clamp(max=math.log(100)).exp()

    def bias(self) -> Tensor:
        return 16 * torch.sigmoid(self.by_position(self.cpb_mlp(self.relative_coords_table).flatten(0, 2)))


def _windows(x: Tensor, window: int) -> Tensor:
    """[N, H, W, C] to [N * windows, cells, C]."""
    count, high, wide, width = x.shape
    x = x.reshape(count, high // window, window, wide // window, window, width)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window**2, width)


def _relative_positions(window: int) -> Tensor:
    """For every pair of a window's pixels the row of a table of their steps, int64 [cells * cells]."""
    side = torch.arange(window)
    places = torch.stack(torch.meshgrid(side, side, indexing="ij")).flatten(1)
    steps = places[:, :, None] - places[:, None, :] + window - 1
    return (steps[0] * (2 * window - 1) + steps[1]).flatten()


def _log_steps(window: int) -> Tensor:
    """Steps (down, right) between a window's pixels on a logarithmic scale, [1, steps, steps, 2]."""
    side = torch.arange(1 - window, window) * 8 / (window - 1)
    steps = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1)[None]
    return steps.sign() * torch.log2(steps.abs() + 1) / 3


def _apart(rows: int, columns: int, shifts: tuple[int, ...], window: int) -> Tensor:
    """What is added to the scores of a rolled map's windows, [windows, cells, cells]."""
    row, column = (_parts(side, shift, window) for side, shift in zip((rows, columns), shifts, strict=True))
    parts = _windows((3 * row[:, None] + column)[None, :, :, None], window)[..., 0]
    return torch.where(parts[:, :, None] == parts[:, None, :], 0.0, _APART)


def _parts(side: int, shift: int, window: int) -> Tensor:
    """0: windows that the roll left whole; 1 and 2: the two parts of the one that it put together."""
    place = torch.arange(side)
    return (place >= side - window).long() + (place >= side - shift).long() if shift else place * 0
