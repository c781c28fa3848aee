"""The expression teacher: the student's net, wider and deeper, trained here on FER+'s votes.

It is asked about the very crops that a student learns from, as they were turned, blurred and covered, so that
its doubt is about the picture that the student sees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
def answers(teachers: Sequence[nn.Module], images: Tensor, mirror: bool = False) -> Tensor:
    """The logarithm of the teachers' mean shares [N, 8], float32, of a batch of crops.

    ``mirror``: each is asked about the mirror images, too.
    """
    said = []
    for view in (images, images.flip(3)) if mirror else (images,):
        for teacher in teachers:
            teacher.to(view.device)
            with torch.autocast(view.device.type, torch.bfloat16):
                logits: Tensor = teacher(view.to(memory_format=torch.channels_last))[0]
            said.append(logits.float().flatten(1).log_softmax(1))
    return torch.stack(said).logsumexp(0) - math.log(len(said))
