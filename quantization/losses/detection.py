"""Losses on detections: quality focal loss of scores, overlap of boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .checks import require_same_shape

__all__ = ["overlap", "quality_focal"]


def quality_focal(logits: Tensor, quality: Tensor, power: float = 2.0) -> Tensor:
    """Quality focal loss of every score, same shape: abs(s - q)^power * cross-entropy(s, q), s = sigmoid.

    ``quality`` in [0, 1] is what the score should say: a guess's overlap with its face, 0 on background.
    Li et al., "Generalized Focal Loss", 2020; here the first factor gets no gradient, so that the slope is
    abs(s - q)^power * (s - q).

    Raises:
        ValueError: the shapes differ.
    """
    require_same_shape(logits=logits, quality=quality)
    focus = (torch.sigmoid(logits) - quality).abs().detach().pow(power)
    return functional.binary_cross_entropy_with_logits(logits, quality, reduction="none") * focus


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU, [N] each, of boxes given as corners [N, 4] (Rezatofighi et al., 2019).

    GIoU is IoU less the share of the common hull that neither box covers: it has a slope where boxes do not
    touch. Boxes turned inside out have no area.
    """
    area_a = (a[:, 2:] - a[:, :2]).clamp(min=0).prod(1)
    area_b = (b[:, 2:] - b[:, :2]).clamp(min=0).prod(1)
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = area_a + area_b - shared + 1e-6
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0).prod(1) + 1e-6
    iou = shared / union
    return iou, iou - (hull - union) / hull
