"""FMAE (Ning et al., 2024): a ViT that was pretrained as a masked autoencoder, with a head for expressions.

Restated from the papers (Dosovitskiy et al., 2021; He et al., 2022); the parameters are called as in
``forever208/FMAE-IAT`` (CC BY-NC 4.0), ``models_vit.py`` at the commit of ``RAFDB_finetune.py``: the head of
the expressions bears the name of the action units, ``AU_head``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..adapter import Adapter, AdapterError
from ..checkpoint import State, fill
from .vit import Block

__all__ = ["Fmae", "network"]

_HEADS = {384: 6, 768: 12, 1024: 16}  # by width: ViT-S, -B and -L
_PATCH = 16


def network(adapter: Adapter, state: State) -> nn.Module:
    """The net, as wide and deep as the checkpoint's.

    Raises:
        AdapterError: The parameters are not those of a fine-tuned FMAE with as many classes as the adapter.
    """
    wide, high = adapter.input.size
    width = state["cls_token"].shape[-1] if "cls_token" in state else 0
    if width not in _HEADS:
        raise AdapterError(f"its cls_token is {width} wide, and a ViT's is {', '.join(map(str, _HEADS))}")
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    net = Fmae(len(adapter.output.channels), width, depth, (high // _PATCH) * (wide // _PATCH))
    # timm's own head of 1000 classes and the heads of the identities are stored beside, and never asked.
    return fill(net, state, spare=("head.", "ID_head."))


class Fmae(nn.Module):
    """RGB [N, 3, H, W], normalised as for ImageNet, to logits [N, classes]; sides: multiples of 16."""

    def __init__(self, classes: int, width: int = 1024, depth: int = 24, patches: int = 196) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, width))
        self.patch_embed = _Patches(width)
        self.blocks = nn.Sequential(*(Block(width, _HEADS[width]) for _ in range(depth)))
        self.fc_norm = nn.LayerNorm(width, eps=1e-6)
        self.AU_head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x)
        tokens = torch.cat((self.cls_token.expand(len(x), -1, -1), tokens), 1) + self.pos_embed
        return self.AU_head(self.fc_norm(self.blocks(tokens)[:, 1:].mean(1)))


class _Patches(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, _PATCH, _PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)
