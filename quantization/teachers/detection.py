"""The detection teacher: the student's net, wider and deeper, trained here on the same composed scenes.

What YuNet said of a photo it says of every scene that is made of it, cell by cell: also of the faces that
YuNet doubted and of what only looks like one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets import folder, lfpw
from ..students.detection import DetectionNet
from ..terms import weights_terms
from ..training import load_weights
from . import yunet

__all__ = ["TERMS", "answers", "load_teacher"]

TERMS = weights_terms(lfpw.TERMS, *folder.TERMS.values(), yunet.TERMS).inherited(
    "EdgeFace's detection teacher (trained here)", "derived from the terms of what it learned from"
)


def load_teacher(recipe: Mapping[str, Any], weights: Path) -> nn.Module:
    """A trained teacher in evaluation mode; its maps are a student's, see :class:`DetectionNet`.

    Raises:
        ValueError: the weights are of another network than the recipe's.
    """
    return load_weights(DetectionNet.of(recipe["student"]), weights).to(memory_format=torch.channels_last)


@torch.no_grad()
def answers(teachers: Sequence[nn.Module], images: Tensor, mirror: bool = False) -> Tensor:
    """How sure the teachers are of a face, their mean [N, cells] in [0, 1].

    In a student's order of cells, stride by stride. ``mirror``: each is asked about the mirror images, too.
    """
    said = []
    for flipped in (False, True) if mirror else (False,):
        view = images.flip(3) if flipped else images
        for teacher in teachers:
            teacher.to(view.device)
            with torch.autocast(view.device.type, torch.bfloat16):
                maps = teacher(view.to(memory_format=torch.channels_last))
            scores = [score.flip(3) if flipped else score for score in maps[0::3]]
            said.append(torch.cat([score.float().flatten(1) for score in scores], 1).sigmoid())
    return torch.stack(said).mean(0)
