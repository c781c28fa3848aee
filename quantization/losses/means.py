"""Means over a batch of which not everything counts: weights, masks, labels that some samples lack.

An empty mean is 0 and keeps its path to the network, so that a batch without a label is an ordinary batch
(and no rank of a distributed run waits for a gradient that another one does not send).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["labelled_mean", "weighted_mean"]


def weighted_mean(values: Tensor, *weights: Tensor | None) -> Tensor:
    """Mean of ``values`` [N, ...] by w, the product of the weights: sum(w v) / sum(w), and 0 where w is 0.

    Args:
        values: one loss per sample, pixel, point or coordinate; finite, also where w is 0.
        weights: at least 0; each a prefix of the values' shape, such as [N] for samples or [N, H, W] for
            pixels. A bool mask is 1 and 0. None weighs all alike.

    Raises:
        ValueError: a weight's shape is not a prefix of the values'.
    """
    product = torch.ones_like(values)
    for weight in weights:
        if weight is None:
            continue
        if weight.shape != values.shape[: weight.ndim]:
            raise ValueError(
                f"a weight is {list(weight.shape)} where the values are {list(values.shape)}; "
                "give one number per sample, or one per pixel or point"
            )
        product = product * weight.to(values.dtype).reshape(*weight.shape, *[1] * (values.ndim - weight.ndim))
    total = product.sum()
    return (values * product).sum() / torch.where(total > 0, total, torch.ones_like(total))


def labelled_mean(
    loss: Callable[..., Tensor], has: Tensor, outputs: Tensor, *others: Tensor | None
) -> Tensor:
    """``loss(outputs, *others)`` over the samples that have the label; 0 if none has.

    The others never reach ``loss``: whatever stands in place of a missing label, NaN included, costs nothing
    and teaches nothing.

    Args:
        loss: takes the tensors, shortened to the labelled samples, and returns their mean.
        has: bool [N].
        outputs: what the network said, [N, ...].
        others: targets, teacher's answers, weights, each [N, ...] or None.

    Raises:
        ValueError: ``has`` is not a bool [N].
    """
    if has.dtype != torch.bool or has.shape != outputs.shape[:1]:
        raise ValueError(
            f"'has' is {has.dtype} {list(has.shape)} for {len(outputs)} samples; give one bool per sample"
        )
    known = outputs[has]
    if not len(known):
        return known.sum()
    return loss(known, *(None if other is None else other[has] for other in others))
