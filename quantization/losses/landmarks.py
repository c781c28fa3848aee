"""Losses on landmark coordinates: the wing loss, and KD-Loss with its tough and its tolerant teacher."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import require_same_shape
from .means import weighted_mean

__all__ = ["KdConstants", "KdTerms", "assistive", "kd_loss", "wing"]


def wing(distance: Tensor, width: float = 0.08, curve: float = 0.02) -> Tensor:
    """Wing loss of every distance, same shape: w ln(1 + d / c) below w, d - w + w ln(1 + w / c) above.

    Feng et al., "Wing Loss for Robust Facial Landmark Localisation with CNNs", 2018, who take it of each
    coordinate; here it may be of a point's distance. ``width`` and ``curve`` are in the distance's unit; the
    defaults suit crops of side 1.
    """
    return torch.where(
        distance < width,
        width * torch.log1p(distance / curve),
        distance - width + width * math.log1p(width / curve),
    )


@dataclass(frozen=True, slots=True)
class KdConstants:
    """The constants of KD-Loss, as published."""

    tough_beyond: float = 1.9
    tough_before: float = -0.45
    tolerant_beyond: float = 1.8
    tolerant_before: float = -0.40
    dead_zone: float = 0.15  # of the teacher's error, around the truth
    slope: float = 3.0  # of the main loss, up to the tolerant teacher's error
    main_weight: float = 2.0
    tough_weight: float = 1.0
    tolerant_weight: float = 1.0


_PUBLISHED = KdConstants()


@dataclass(frozen=True, slots=True)
class KdTerms:
    """What :func:`kd_loss` found, scalars; ``total`` is the sum of the others, each with its weight."""

    total: Tensor
    main: Tensor
    tough: Tensor
    tolerant: Tensor


def assistive(
    student: Tensor, teacher: Tensor, truth: Tensor, beyond: float, before: float, dead_zone: float
) -> Tensor:
    """ALoss of every coordinate, same shape: a teacher that pulls from afar and pushes when passed.

    The teacher is reflected to the student's side of the truth, so only the sizes of the two errors count:
    with s = abs(student - truth) and t = abs(teacher - truth), the loss is phi * abs(t - s), where phi is
    ``beyond`` if s > t, ``before`` (negative: away from the teacher, on to the truth) if s is between
    ``dead_zone`` * t and t, and 0 nearer to the truth. It jumps at the dead zone's edge, as published.

    Fard and Mahoor, "Facial Landmark Points Detection Using Knowledge Distillation-Based Neural Networks",
    2021; written from the formula.
    """
    own, theirs = (student - truth).abs(), (teacher - truth).abs()
    apart = (theirs - own).abs()
    inside = torch.where(own >= dead_zone * theirs, before * apart, 0 * apart)
    return torch.where(own > theirs, beyond * apart, inside)


def kd_loss(
    student: Tensor,
    tough: Tensor,
    tolerant: Tensor,
    truth: Tensor,
    weight: Tensor | None = None,
    constants: KdConstants = _PUBLISHED,
) -> KdTerms:
    """KD-Loss: 2 * main + ALoss of the tough + ALoss of the tolerant teacher (Fard and Mahoor, 2021).

    The tough teacher learnt the truth, the tolerant one smoothed shapes (:class:`.shapes.ShapeModel`). With
    e = student - truth and m = abs(tolerant - truth), main is 3 abs(e) where abs(e) <= m and
    e^2 + 3 m - m^2 elsewhere; each term is the mean over all coordinates.

    Args:
        student: points [N, 2 K] or [N, K, 2] in units of the crop's side, which the constants are meant for.
        tough: that teacher's points, the same shape; like the next two it gets no gradient.
        tolerant: that teacher's points.
        truth: the annotated points.
        weight: per sample [N], or per point [N, K] of [N, K, 2].
        constants: others than the published ones.

    Raises:
        ValueError: the shapes differ.
    """
    require_same_shape(student=student, tough=tough, tolerant=tolerant, truth=truth)
    tough, tolerant, truth = tough.detach(), tolerant.detach(), truth.detach()
    error, margin = (student - truth).abs(), (tolerant - truth).abs()
    near, far = constants.slope * error, error.square() + constants.slope * margin - margin.square()
    main = constants.main_weight * weighted_mean(torch.where(error <= margin, near, far), weight)
    by_tough, by_tolerant = (
        share * weighted_mean(assistive(student, teacher, truth, beyond, before, constants.dead_zone), weight)
        for share, teacher, beyond, before in (
            (constants.tough_weight, tough, constants.tough_beyond, constants.tough_before),
            (constants.tolerant_weight, tolerant, constants.tolerant_beyond, constants.tolerant_before),
        )
    )
    return KdTerms(main + by_tough + by_tolerant, main, by_tough, by_tolerant)
