"""Faceptor (Qin et al., 2024), first stage: FaRL's encoder, and a decoder whose queries are those of a task.

Restated from the paper and those it builds on, DETR (Carion et al., 2020) and Mask2Former (Cheng et al.,
2022); the modules are called as in ``lxq1000/Faceptor`` (MIT), so that its
``checkpoint_rank0_iter_50000.pth.tar`` of Faceptor-Base and Faceptor-Full loads as it is. Its ``geometry.py``
was not found: heatmaps become points as by FaRL's file of this name, whose functions it calls.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..adapter import Adapter, Landmarks
from ..checkpoint import State, fill
from .clipvit import Attention, ClipVit
from .convnets import ChannelNorm

__all__ = ["FaceptorMaps", "FaceptorPoints", "FaceptorScores", "network"]

_WIDTH, _HEADS, _LAYERS = 256, 8, 9
_TRAINED = 512  # side of the pictures that the encoder's positions are stored for
_UNREAD = (
    *("losses_module.", "heads_module.decoder.query_", "heads_module.interpreters."),  # of other tasks
    *("backbone_module.visual.ln_post.", "backbone_module.visual.proj"),  # CLIP's way to words
)


def network(adapter: Adapter, state: State) -> nn.Module:
    """The net with the queries of the adapter's task: 300-W, CelebAMask-HQ or AffectNet.

    Raises:
        AdapterError: The parameters are not its.
    """
    rule, side = adapter.output, adapter.input.size[0]
    if isinstance(rule, Landmarks):
        return fill(FaceptorPoints(rule.count, side), state, _UNREAD)
    make = FaceptorMaps if adapter.task == "parsing" else FaceptorScores
    return fill(make(len(rule.channels), side), state, _UNREAD)


class _Faceptor(nn.Module):
    """RGB [N, 3, S, S]; ``side`` is S, a multiple of 16."""

    def __init__(self, task: str, queries: int, side: int, interpreter: dict[str, nn.Module]) -> None:
        super().__init__()
        self.backbone_module = nn.Module()
        self.backbone_module.visual = ClipVit(_TRAINED, side)
        self.heads_module = nn.Module()
        self.heads_module.decoder = _Decoder(task, queries, side // 16)
        self.heads_module.interpreters = nn.ModuleDict(interpreter)

    def read(self, x: Tensor) -> Tensor:
        """What the task's interpreter makes of the queries: [N, queries] or [N, queries, S / 4, S / 4]."""
        (interpret,) = self.heads_module.interpreters.values()
        return interpret(*self.heads_module.decoder(self.backbone_module.visual(x)[-1]))


class FaceptorScores(_Faceptor):
    """To logits [N, classes]."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__("affect_affectnet", classes, side, {"value": _Values()})

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x)


class FaceptorMaps(_Faceptor):
    """To logits [N, 512, 512, classes], whatever the input's size."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__("parsing_celebam", classes, side, {"map_v2": _Maps()})

    def forward(self, x: Tensor) -> Tensor:
        maps = functional.interpolate(self.read(x), (_TRAINED, _TRAINED), mode="bilinear")
        return maps.permute(0, 2, 3, 1)


class FaceptorPoints(_Faceptor):
    """To points [N, points, 2]: x, y, 0 to 1 between the input's edges."""

    def __init__(self, points: int, side: int) -> None:
        super().__init__("align_300w", points, side, {"map_v2": _Maps()})

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.sigmoid(self.read(x))
        high, wide = maps.shape[2:]
        mass = maps.sum((2, 3)).clamp(min=1e-6)
        column = (maps.sum(2) * torch.arange(wide, dtype=torch.float32)).sum(2) / mass
        row = (maps.sum(3) * torch.arange(high, dtype=torch.float32)).sum(2) / mass
        return torch.stack(((column + 0.5) / wide, (row + 0.5) / high), -1)


class _Decoder(nn.Module):
    """To the queries [N, Q, 256] after they looked at the map, and the map they looked at."""

    def __init__(self, task: str, queries: int, cells: int) -> None:
        super().__init__()
        self._task = task
        self.query_feat = nn.ModuleDict({task: nn.Embedding(queries, _WIDTH)})
        self.query_embed = nn.ModuleDict({task: nn.Embedding(queries, _WIDTH)})
        self.level_embed = nn.Embedding(1, _WIDTH)
        self.input_proj = nn.ModuleList((nn.Conv2d(ClipVit.width, _WIDTH, 1),))
        self.transformer_self_attention_layers = nn.ModuleList(_SelfAttention() for _ in range(_LAYERS))
        self.transformer_cross_attention_layers = nn.ModuleList(_CrossAttention() for _ in range(_LAYERS))
        self.transformer_ffn_layers = nn.ModuleList(_Feed() for _ in range(_LAYERS))
        self.adapt_pos2d = nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH))
        self.register_buffer("waves", _waves(cells), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.input_proj[0](x)
        pixels = x.flatten(2).transpose(1, 2)
        places = self.adapt_pos2d(self.waves) + self.level_embed.weight
        named = self.query_embed[self._task].weight
        queries = self.query_feat[self._task].weight.expand(x.shape[0], -1, -1)
        for cross, own, feed in zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        ):
            queries = feed(own(cross(queries, named, pixels, places), named))
        return queries, x


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention(_WIDTH, _HEADS)
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, queries: Tensor, named: Tensor) -> Tensor:
        return self.norm(queries + self.self_attn(queries + named, queries + named, queries))


class _CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.multihead_attn = Attention(_WIDTH, _HEADS)
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, queries: Tensor, named: Tensor, pixels: Tensor, places: Tensor) -> Tensor:
        return self.norm(queries + self.multihead_attn(queries + named, pixels + places, pixels))


class _Feed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(_WIDTH, 2048)
        self.linear2 = nn.Linear(2048, _WIDTH)
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.linear2(torch.relu(self.linear1(x))))


class _Values(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(_WIDTH, 1)

    def forward(self, queries: Tensor, _: Tensor) -> Tensor:
        return self.fc(queries).flatten(1)


class _Maps(nn.Module):
    """How alike each query and each place of the map, drawn four times as fine, are."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_map = nn.Sequential(
            nn.ConvTranspose2d(_WIDTH, _WIDTH, 2, 2),
            ChannelNorm(_WIDTH),
            nn.GELU(),
            nn.ConvTranspose2d(_WIDTH, _WIDTH, 2, 2),
        )
        self.mask_embed = nn.Module()
        self.mask_embed.layers = nn.ModuleList(nn.Linear(_WIDTH, _WIDTH) for _ in range(3))

    def forward(self, queries: Tensor, x: Tensor) -> Tensor:
        first, second, last = self.mask_embed.layers
        queries = last(torch.relu(second(torch.relu(first(queries)))))
        fine = self.mask_map(x)
        return (queries @ fine.flatten(2)).unflatten(2, fine.shape[2:])


def _waves(cells: int) -> Tensor:
    """Sines and cosines of every place of a square map at 64 wavelengths, y first: [cells^2, 256]."""
    place = (torch.arange(cells) + 0.5) / cells * 2 * math.pi
    angles = place[:, None] / 10000 ** (torch.arange(0, _WIDTH // 2, 2) / (_WIDTH // 2))
    wave = torch.stack((angles.sin(), angles.cos()), -1).flatten(1)
    down, right = wave[:, None].expand(-1, cells, -1), wave[None].expand(cells, -1, -1)
    return torch.cat((down, right), -1).flatten(0, 1)
