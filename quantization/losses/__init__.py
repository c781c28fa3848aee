"""What a student pays for: every term that a task may put together, each one formula with its source.

``landmarks``     wing loss; KD-Loss with a tough and a tolerant teacher
``shapes``        the smoothed shapes that the tolerant teacher learns
``distillation``  soft-label and decoupled distillation, deep features
``parsing``       cross-entropy and per-class Dice; weights for rare classes and the images that show them
``movement``      cross-entropy of blendshapes, each in units of its variance
``detection``     quality focal loss, overlap of boxes
``means``         weighted means, and tasks whose labels some samples lack

Terms are tensors of their inputs' type (float64 for checks), means over what counts, and 0 with a gradient
where nothing does.
"""

from __future__ import annotations

from .detection import overlap, quality_focal
from .distillation import DeepFeatureLoss, decoupled_kd, soft_label_kd
from .landmarks import KdConstants, KdTerms, assistive, kd_loss, wing
from .means import labelled_mean, weighted_mean
from .movement import movement_loss
from .parsing import class_weights, cross_and_dice, draw_weights
from .shapes import ShapeModel

__all__ = [
    "DeepFeatureLoss",
    "KdConstants",
    "KdTerms",
    "ShapeModel",
    "assistive",
    "class_weights",
    "cross_and_dice",
    "decoupled_kd",
    "draw_weights",
    "kd_loss",
    "labelled_mean",
    "movement_loss",
    "overlap",
    "quality_focal",
    "soft_label_kd",
    "weighted_mean",
    "wing",
]
