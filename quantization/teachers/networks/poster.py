"""POSTER++ (Mao et al., 2023): an image's features that ask a landmark network's, window by window.

Restated from the paper and those it builds on: IR-50 (Deng et al., 2019), MobileFaceNet (Chen et al., 2018),
global window attention (Hatamizadeh et al., 2023) and the ViT (Dosovitskiy et al., 2021). The parameters are
called as in ``Talented-Q/POSTER_V2`` (MIT), so that its checkpoints load as they are. What they store and
never use is named where it is built.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..adapter import Adapter
from ..checkpoint import State, fill
from .mobilefacenet import MobileFaceNet
from .vit import Block, Mlp

__all__ = ["Poster", "network"]

_SIDE = 112  # of what both backbones see
_WIDTH = 768  # of the tokens
_TOKENS = 148  # 7 x 7 of three scales, and the one that answers
_SCALES = ((28, 64, 2), (14, 128, 4), (7, 256, 8))  # side of the map, channels, attention heads


def network(adapter: Adapter, state: State) -> nn.Module:
    """The net with as many classes as the adapter.

    Raises:
        AdapterError: The parameters are not its.
    """
    return fill(Poster(len(adapter.output.channels)), state)


class Poster(nn.Module):
    """RGB [N, 3, 224, 224], normalised as for ImageNet, to logits [N, classes]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.face_landback = MobileFaceNet(136)
        self.last_face_conv = nn.Conv2d(512, 256, 3, padding=1)
        self.ir_back = _Ir50()
        for place, (side, width, heads) in enumerate(_SCALES, 1):
            self.add_module(f"conv{place}", nn.Conv2d(width, width, 3, 2, 1))
            self.add_module(f"window{place}", _Norm(width))
            self.add_module(f"attn{place}", _Attention(side, width, heads))
            self.add_module(f"ffn{place}", _FeedForward(width))
        self.embed_q = nn.Sequential(nn.Conv2d(64, _WIDTH, 3, 2, 1), nn.Conv2d(_WIDTH, _WIDTH, 3, 2, 1))
        self.embed_k = nn.Sequential(nn.Conv2d(128, _WIDTH, 3, 2, 1))
        self.embed_v = _Pointwise(256, _WIDTH)
        self.VIT = _Vit(classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.interpolate(x, size=(_SIDE, _SIDE))  # the nearest pixel, as the authors do
        fine, middle, coarse = self.face_landback(x)
        asked = (fine, middle, self.last_face_conv(coarse))
        embedders = (self.embed_q, self.embed_k, self.embed_v)
        tokens = []
        for place, (faces, image) in enumerate(zip(asked, self.ir_back(x), strict=True), 1):
            part = self.get_submodule
            maps = part(f"window{place}")(part(f"conv{place}")(image))
            maps = part(f"ffn{place}")(part(f"attn{place}")(maps, faces), maps)
            tokens.append(embedders[place - 1](maps.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2))
        return self.VIT(torch.cat(tokens, 1))


class _Norm(nn.Module):
    """Maps [N, C, H, W] to normed ones [N, H, W, C]: here a window is the whole map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1))


class _Attention(nn.Module):
    """Maps of the image [N, H, W, C] that the landmarks' [N, C, H, W] ask; with a bias for every offset."""

    def __init__(self, side: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        places = torch.stack((rows.flatten(), columns.flatten()))
        down, across = places[:, :, None] - places[:, None, :] + side - 1
        self.register_buffer("relative_position_index", down * (2 * side - 1) + across)
        self.qkv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, asked: Tensor) -> Tensor:
        batch, high, wide, width = x.shape
        shape = (batch, high * wide, self.heads, width // self.heads)
        key, value = self.qkv(x).reshape(batch, high * wide, 2, *shape[2:]).permute(2, 0, 3, 1, 4)
        query = asked.permute(0, 2, 3, 1).reshape(shape).transpose(1, 2) * (width // self.heads) ** -0.5
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        weights = torch.softmax(query @ key.transpose(-2, -1) + bias, -1)
        return self.proj((weights @ value).transpose(1, 2).reshape(x.shape))


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma1 = nn.Parameter(torch.ones(width))
        self.gamma2 = nn.Parameter(torch.ones(width))
        self.mlp = Mlp(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, attended: Tensor, x: Tensor) -> Tensor:
        x = x + self.gamma1 * attended
        return x + self.gamma2 * self.mlp(self.norm(x))


class _Pointwise(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class _Ir50(nn.Module):
    """RGB [N, 3, 112, 112] to maps [N, 64, 56, 56], [N, 128, 28, 28] and [N, 256, 14, 14]."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        # Stored and never used: the end of the face recogniser that it was.
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Identity(),
            nn.Identity(),
            nn.Linear(512 * 7 * 7, 512),
            nn.BatchNorm1d(512),
        )
        self.body1, self.body2, self.body3 = _body(64, 64, 3), _body(64, 128, 4), _body(128, 256, 14)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.body1(self.input_layer(x))
        middle = self.body2(fine)
        return fine, middle, self.body3(middle)


def _body(inputs: int, outputs: int, count: int) -> nn.Sequential:
    return nn.Sequential(
        _Residual(inputs, outputs, 2), *(_Residual(outputs, outputs, 1) for _ in range(count - 1))
    )


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class _Vit(nn.Module):
    """Tokens [N, 147, 768] to logits [N, classes]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, _TOKENS, _WIDTH))
        self.blocks = nn.Sequential(_MixedBlock(_WIDTH, 8), _MixedBlock(_WIDTH, 8))
        self.norm = nn.LayerNorm(_WIDTH, eps=1e-6)
        self.se_block = _Squeeze()
        self.head = _Linear(classes)
        # Stored and never used: what earlier designs of the authors needed.
        self.patch_embed = _Pointwise(256, _WIDTH)
        self.CON1 = nn.Conv2d(256, _WIDTH, 1, bias=False)
        self.IRLinear1 = nn.Linear(1024, _WIDTH)
        self.IRLinear2 = nn.Linear(_WIDTH, 512)
        self.eca_block = nn.ModuleDict({"conv": nn.Conv1d(1, 1, 5, padding=2, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.pos_embed
        return self.head(self.se_block(self.norm(self.blocks(x))[:, 0]))


class _MixedBlock(Block):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.conv = nn.Conv1d(_TOKENS, _TOKENS, 1)  # stored and never used


class _Squeeze(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.linear2(torch.relu(self.linear1(x))))


class _Linear(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(_WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)
