"""What a student learns from a teacher's answers and from its features, with or without labels.

Logits are [N, C] or maps [N, C, H, W]. A teacher that answers in probabilities (an ensemble's mean, FER+'s
votes) gives their logarithms: they are logits of themselves, also where a share is 0. A teacher gets no
gradient.

``weight`` says how much each sample [N] or each pixel [N, H, W] counts: a mask of the known pixels, or how
far the teachers agree. A loss is the mean by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .checks import require_labels, require_same_shape
from .means import weighted_mean

__all__ = ["DeepFeatureLoss", "decoupled_kd", "soft_label_kd"]


def soft_label_kd(
    student: Tensor, teacher: Tensor, temperature: float = 4.0, weight: Tensor | None = None
) -> Tensor:
    """Soft-label distillation: T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean by ``weight``.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; T^2 keeps the gradient's size
    whatever the temperature.

    Raises:
        ValueError: the two differ in shape.
    """
    require_same_shape(student=student, teacher=teacher)
    own, theirs = _log_shares(student, temperature), _log_shares(_taught(teacher), temperature)
    return temperature**2 * weighted_mean(_divergence(own, theirs), weight)


def decoupled_kd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: float = 4.0,
    weight: Tensor | None = None,
    *,
    target_weight: float | Tensor = 1.0,
    other_weight: float | Tensor = 8.0,
    ignore: int = 255,
) -> Tensor:
    """Decoupled distillation: T^2 (alpha TCKD + beta NCKD), the mean by ``weight`` over the known labels.

    TCKD is the divergence of (target class, all others), NCKD that among the others alone. Soft-label
    distillation is the case alpha = 1, beta = 1 - the teacher's share of the target, and so neglects what a
    sure teacher knows of the other classes. Zhao et al., "Decoupled Knowledge Distillation", 2022; alpha 1,
    beta 8 and T 4 are theirs for CIFAR-100.

    Args:
        student: its logits.
        teacher: its logits, the same shape.
        labels: int64 [N] or [N, H, W].
        temperature: T.
        weight: [N], or as the labels.
        target_weight: alpha; one number, or one per label.
        other_weight: beta; one number, or one per label.
        ignore: the label of what does not count.

    Raises:
        ValueError: shapes differ, or a label is no class.
    """
    require_same_shape(student=student, teacher=teacher)
    known = require_labels(student, labels, ignore)
    target = torch.where(known, labels, 0)[:, None]
    # The indices of the other classes: 0, 1, ... without the target.
    first = torch.arange(student.shape[1] - 1, device=labels.device).view(-1, *[1] * (labels.ndim - 1))
    others = first + (first >= target)
    parts = []
    for logits in (student, _taught(teacher)):
        log_share = _log_shares(logits, temperature)
        rest = log_share.gather(1, others)
        outside = rest.logsumexp(1, keepdim=True)
        parts.append((torch.cat([log_share.gather(1, target), outside], 1), rest - outside))
    (own_pair, own_rest), (their_pair, their_rest) = parts
    tckd, nckd = _divergence(own_pair, their_pair), _divergence(own_rest, their_rest)
    return temperature**2 * weighted_mean(target_weight * tckd + other_weight * nckd, known, weight)


def _taught(teacher: Tensor) -> Tensor:
    # The logarithm of a share of 0 is -inf, and 0 * inf is not a number; exp(-10,000) is 0, too.
    return teacher.detach().clamp(min=-1e4)


def _log_shares(logits: Tensor, temperature: float) -> Tensor:
    return functional.log_softmax(logits / temperature, 1)


def _divergence(own: Tensor, theirs: Tensor) -> Tensor:
    """KL(theirs || own) of log-shares along axis 1."""
    return (theirs.exp() * (theirs - own)).sum(1)


class DeepFeatureLoss(nn.Module):
    """Sum over layers of the mean squared difference of projected student features and the teacher's.

    After Hou et al., "Deep Feature Consistent Variational Autoencoder", 2016, with a learnt 1x1 projection
    to the teacher's channels (as Romero et al., "FitNets", 2015). Optimise its parameters with the
    student's; nothing of it is deployed.

    Args:
        student: channels of the student's layers.
        teacher: channels of the teacher's layers, in the same order.
        layer_weights: how much each layer counts; all 1 by default.

    Raises:
        ValueError: the lists differ in length, or are empty.
    """

    def __init__(
        self, student: Sequence[int], teacher: Sequence[int], layer_weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self._layer_weights = tuple(layer_weights) if layer_weights is not None else (1.0,) * len(student)
        if not 0 < len(student) == len(teacher) == len(self._layer_weights):
            raise ValueError(
                f"{len(student)} layers of the student, {len(teacher)} of the teacher, "
                f"{len(self._layer_weights)} weights; give as many of each, and one at least"
            )
        self.projections = nn.ModuleList(nn.Conv2d(s, t, 1) for s, t in zip(student, teacher, strict=True))

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], weight: Tensor | None = None
    ) -> Tensor:
        """The loss of features [N, C, H, W], one per layer; the student's are resized to the teacher's.

        Bilinear, with half-pixel centres, averaging where they shrink; ``weight`` is per sample [N].

        Raises:
            ValueError: there are not as many features as layers, or channels, or samples.
        """
        if not len(student) == len(teacher) == len(self.projections):
            raise ValueError(
                f"{len(student)} features of the student, {len(teacher)} of the teacher; "
                f"this loss has {len(self.projections)} layers"
            )
        terms = []
        for layer, project in enumerate(self.projections):
            own, theirs = project(student[layer]), teacher[layer].detach()
            own = functional.interpolate(
                own, theirs.shape[2:], mode="bilinear", align_corners=False, antialias=True
            )
            require_same_shape(**{f"student feature {layer}": own, f"teacher feature {layer}": theirs})
            apart = functional.mse_loss(own, theirs, reduction="none").mean((1, 2, 3))
            terms.append(self._layer_weights[layer] * weighted_mean(apart, weight))
        return torch.stack(terms).sum()
