"""Loss on blendshape coefficients, whose figure is a mean of correlations."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import require_same_shape
from .means import weighted_mean

__all__ = ["movement_loss"]

_LEAST = 0.01  # of a scatter: what hardly ever moves is not worth more than this


def movement_loss(logits: Tensor, taught: Tensor, scatter: Tensor, known: Tensor) -> Tensor:
    """Squared error of the coefficients, each in units of its own scatter.

    What is left of a coefficient's variance in its own unit is about one minus its squared correlation: rare
    and small movements count as much as common ones.

    Args:
        logits: [N, C].
        taught: [N, C], in [0, 1].
        scatter: the standard deviation of each coefficient over the training faces, [C].
        known: what each face's answer counts, [N]; 0 where nobody knows how it moves.
    """
    require_same_shape(logits=logits, taught=taught)
    error = (torch.sigmoid(logits) - taught) / scatter.to(logits).clamp(min=_LEAST)
    return weighted_mean((error**2).mean(1), known)
