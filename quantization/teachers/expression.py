"""The expression teacher: the student's net, wider and deeper, trained here on FER+'s votes.

It is asked about the very crops that a student learns from, as they were turned, blurred and covered, so that
its doubt is about the picture that the student sees. A teacher that learned from a picture is too sure of it:
those that left out a fold of the images (:mod:`.folds`) answer for that fold alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeface.labels import FER8

from ..datasets import ferplus
from ..students.expression import ExpressionNet
from ..terms import weights_terms
from ..training import load_weights

__all__ = ["TERMS", "answers", "load_teacher"]

# Trained here, from nothing, on FER+ alone.
TERMS = weights_terms(ferplus.LAYOUT.terms).inherited(
    "EdgeFace's expression teacher (trained here)", "derived from the terms of what it learned from"
)


def load_teacher(recipe: Mapping[str, Any], weights: Path) -> nn.Module:
    """A trained teacher in evaluation mode: grey crops [N, 1, 48, 48] in [-1, 1] to logits [N, 8, 1, 1].

    Raises:
        ValueError: the weights are of another network than the recipe's.
    """
    return load_weights(ExpressionNet.of(recipe["student"]), weights).to(memory_format=torch.channels_last)


@torch.no_grad()
def answers(
    teachers: Sequence[nn.Module], images: Tensor, mirror: bool = False, may: Tensor | None = None
) -> Tensor:
    """The logarithm of the teachers' mean shares [N, 8], float32, of a batch of crops.

    ``mirror``: each is asked about the mirror images, too. ``may``: who is asked about which crop, bool
    [N, T] with somebody in every row; None: everybody about all.
    """
    if may is None:
        may = torch.ones(len(images), len(teachers), dtype=torch.bool)
    may = may.to(images.device)
    views = (images, images.flip(3)) if mirror else (images,)
    said = []
    for view in views:
        for teacher, rows in zip(teachers, may.unbind(1), strict=True):
            said.append(_shares(teacher, view, rows))
    return torch.stack(said).logsumexp(0) - (may.sum(1, keepdim=True) * len(views)).log()


def _shares(teacher: nn.Module, view: Tensor, rows: Tensor) -> Tensor:
    """The logarithm of one teacher's shares [N, 8] of its ``rows`` [N] of crops; else -inf."""
    found = view.new_full((len(view), len(FER8)), -torch.inf, dtype=torch.float32)
    if rows.any():
        teacher.to(view.device)
        with torch.autocast(view.device.type, torch.bfloat16):
            logits: Tensor = teacher(view[rows].to(memory_format=torch.channels_last))[0]
        found[rows] = logits.float().flatten(1).log_softmax(1)
    return found
