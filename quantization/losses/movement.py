"""Loss on blendshape coefficients, whose figure is a mean of correlations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .checks import require_same_shape
from .means import weighted_mean

__all__ = ["movement_loss"]

_LEAST = 0.01  # of a scatter: a coefficient that hardly ever moves is not worth more than this
_INSIDE = 1e-4  # of a mean: as near as it may come to 0 and 1


def movement_loss(logits: Tensor, taught: Tensor, mean: Tensor, scatter: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy above its least, each coefficient in units of its own variance.

    Near its mean m a coefficient's cross-entropy is e^2 / (2 m (1 - m)) of its error e; times m (1 - m) /
    variance that is the share of the variance which is not explained, halved: about 1 less the squared
    correlation. So rare and small movements count as much as common ones, as in the figure, and a logit that
    is far off still has a gradient, which the squared error of a logistic function would not give it.

    Args:
        logits: [N, C].
        taught: [N, C], in [0, 1].
        mean: of each coefficient over the training faces, [C].
        scatter: their standard deviation, [C].
        known: what each face's answer counts, [N]; 0 where nobody knows how it moves.
    """
    require_same_shape(logits=logits, taught=taught)
    mean = mean.to(logits).clamp(_INSIDE, 1 - _INSIDE)
    weight = mean * (1 - mean) / scatter.to(logits).clamp(min=_LEAST) ** 2
    crossed = functional.binary_cross_entropy_with_logits(logits, taught, reduction="none")
    least = torch.special.entr(taught) + torch.special.entr(1 - taught)
    return weighted_mean(((crossed - least) * weight).mean(1), known)
