"""The detection teacher: the student's net, wider and deeper, trained here on the same composed scenes.

What YuNet said of a photo it says of every scene that is made of it, cell by cell: also of the faces that
YuNet doubted and of what only looks like one.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    student = recipe["student"]
    network = DetectionNet(student["widths"], student["blocks"], int(student["neck"]))
    return load_weights(network, weights).to(memory_format=torch.channels_last)


@torch.no_grad()
def answers(teacher: nn.Module, images: Tensor) -> Tensor:
    """How sure it is of a face, [N, cells] in [0, 1], in a student's order of cells: stride by stride."""
    teacher.to(images.device)
    with torch.autocast(images.device.type, torch.bfloat16):
        maps = teacher(images.to(memory_format=torch.channels_last))
    return torch.cat([score.float().flatten(1) for score in maps[0::3]], 1).sigmoid()
