"""Parsing's long tail: cross-entropy with per-class Dice, and weights for what is rare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .checks import require_labels
from .means import weighted_mean

__all__ = ["class_weights", "cross_and_dice", "draw_weights"]

Array = NDArray[np.float64]


def cross_and_dice(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, ignore: int = 255
) -> tuple[Tensor, Tensor]:
    """Cross-entropy (a scalar) and soft Dice loss of every class [C], over the pixels of the whole batch.

    Cross-entropy is the mean of -log p(true class) by the true class's weight. Dice of a class is
    1 - (2 sum(p over its pixels) + 1) / (sum(p) + its pixels + 1): 0 for a perfect map and for a class that
    is neither there nor guessed. Every class counts alike in its mean, however few pixels it has: with
    cross-entropy, that is all of SegFace's device against the long tail (Narayan et al., 2025). Soft Dice
    after Milletari et al., "V-Net", 2016, without its squares.

    Args:
        logits: [N, C, H, W].
        labels: int64 [N, H, W].
        weights: [C], of the classes in the cross-entropy; see :func:`class_weights`.
        ignore: the label of what does not count.

    Raises:
        ValueError: shapes differ, or a label is no class.
    """
    known = require_labels(logits, labels, ignore)
    index = torch.where(known, labels, 0)
    log_share = functional.log_softmax(logits, 1)
    own = log_share.gather(1, index[:, None])[:, 0]  # of each pixel's true class
    cross = weighted_mean(-own, known, None if weights is None else weights[index])
    true, classes = index[known], logits.shape[1]
    shared = logits.new_zeros(classes).index_add(0, true, own[known].exp())
    guessed = (log_share.exp() * known[:, None]).sum((0, 2, 3))
    dice = 1 - (2 * shared + 1) / (guessed + torch.bincount(true, minlength=classes) + 1)
    return cross, dice


def class_weights(pixels: NDArray[np.integer], power: float = 0.35) -> Array:
    """Weights float64 [C] of the classes from their pixels in each image [N, C]: the rarer, the heavier.

    (1 / (share + 0.001))^power, scaled so that the mean over all pixels is 1. Power 0 weighs all alike, 1
    gives every class the same sum.

    Raises:
        ValueError: there are no pixels.
    """
    total = int(pixels.sum())
    if not total:
        raise ValueError(f"pixel counts {list(pixels.shape)} without a pixel; count labelled masks")
    share = pixels.sum(0) / total
    weights = (1 / (share + 1e-3)) ** power
    return weights / (weights * share).sum()


def draw_weights(
    pixels: NDArray[np.integer],
    rare: Sequence[int],
    strength: float,
    least: int = 40,
    common: int = 8,
    ceiling: float = 6.0,
) -> Array:
    """Probabilities float64 [N] by which images are drawn, from each image's pixels of every class [N, C].

    An image weighs 1 + strength * the sum of the rarities of the ``rare`` classes it shows, in more than
    ``least`` pixels. A class that every ``common``-th image shows has rarity 1; one that half as many show
    has 2; none more than ``ceiling``, lest a few images be all that is seen.

    Raises:
        ValueError: there are no images, or ``rare`` names a class that is not counted.
    """
    if not len(pixels):
        raise ValueError("no pixel counts; give one row per image")
    if not all(0 <= c < pixels.shape[1] for c in rare):
        raise ValueError(f"rare classes {list(rare)} where pixels of {pixels.shape[1]} classes are counted")
    has = pixels[:, list(rare)] > least
    rarity = np.minimum(len(has) / (common * np.maximum(has.sum(0), 1)), ceiling)
    weights = 1 + strength * (has * rarity).sum(1)
    return weights / weights.sum()
