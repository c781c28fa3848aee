"""The landmark teachers: an ImageNet backbone whose maps are read at strides 8, 16 and 32.

Two of them teach a student by KD-Loss (Fard and Mahoor, 2021): the tough one learnt the annotated points,
the tolerant one the same shapes as a few modes see them (:class:`..losses.shapes.ShapeModel`).

A student's earlier course teaches, too: what it says of a face and of its mirror image corrects the face mesh
(``student.refined``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgeface.labels import IBUG68

from ..datasets import celebamask, folder, lfpw
from ..recipe import RecipeError, is_teacher
from ..students.blocks import ConvBnRelu, Residual
from ..students.landmarks import FacePoints, LandmarkNet
from ..terms import weights_terms
from ..training import load_weights
from . import face3d, facemesh, mobilenet, yunet
from .mobilenet import MobileNetV2

__all__ = ["TERMS", "LandmarkTeacher", "answers", "ask", "both_views", "load_pair", "load_student"]

_FLIP = list(IBUG68.flip)

# Trained here, in crops around YuNet's boxes, from an ImageNet backbone: human points on LFPW, the mesh's
# on the other sets. They inherit the terms of all.
TERMS = weights_terms(
    *(lfpw.TERMS, celebamask.LAYOUT.terms, *folder.TERMS.values()),
    *(mobilenet.TERMS, yunet.TERMS, facemesh.TERMS, face3d.TERMS),
).inherited("EdgeFace's landmark teachers (trained here)", "derived from the terms of what they learned from")


class LandmarkTeacher(FacePoints):
    """RGB crop [N, 3, S, S] in [-1, 1] to what the student answers; S is ``size``, a multiple of 32.

    Points [N, 136, 1, 1] are residuals to the mean shape in units of the crop, visibility [N, 68, 1, 1] and
    presence [N, 1, 1, 1] logits.
    """

    outputs = ("points", "visibility", "presence")

    def __init__(
        self,
        size: int = 160,
        widths: Sequence[int] = (64, 128, 128),
        code: int = 512,
        imagenet: Path | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        if size % 32:
            raise ValueError(f"the teacher's crop is {size} pixels wide; give a multiple of 32")
        self.encoder = MobileNetV2.pretrained(imagenet) if imagenet else MobileNetV2()
        # Edges are edges: strides two and four stay as ImageNet left them, which saves a third of a step.
        for part in (self.encoder.stem, *self.encoder.blocks[:3]):
            part.requires_grad_(False)
        eighth, sixteenth, deepest = MobileNetV2.channels[2:]
        fine, middle, coarse = widths
        self.fine = ConvBnRelu(eighth, fine, stride=2)
        self.middle = ConvBnRelu(fine + sixteenth, middle, stride=2)
        self.coarse = ConvBnRelu(deepest, coarse, 1)
        self.mix = Residual(middle + coarse)
        self.code = ConvBnRelu(middle + coarse, code, kernel=size // 32, padding=0)
        self.end_in_points(code)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        *_, eighth, sixteenth, deepest = self.encoder(x)
        middle = self.middle(torch.cat([self.fine(eighth), sixteenth], dim=1))
        return self.answers(self.code(self.mix(torch.cat([middle, self.coarse(deepest)], dim=1))))


def load_pair(
    asked: Mapping[str, tuple[Mapping[str, Any], Path]], crop: Mapping[str, Any]
) -> tuple[LandmarkTeacher, LandmarkTeacher]:
    """The trained tough and tolerant teacher, in evaluation mode, from recipes and weights by name.

    They must look at the student's crop: all three then answer from the same mean shape.

    Raises:
        RecipeError: there are not these two, or one of them looks at another ``crop`` than its student.
        ValueError: the weights are of another network than the recipe's.
    """
    soft = [is_teacher(recipe) and bool(recipe["student"].get("softened")) for recipe, _ in asked.values()]
    if soft != [False, True] or not all(is_teacher(recipe) for recipe, _ in asked.values()):
        raise RecipeError(
            f"teacher is {list(asked)}; student.losses.kd asks two: a tough one, whose recipe has no "
            "student.softened, then a tolerant one, whose recipe has it"
        )
    pair = []
    for name, (recipe, weights) in asked.items():
        _check_crop(name, recipe, crop)
        student = recipe["student"]
        network = LandmarkTeacher(int(student["size"]), student["widths"], int(student["code"]))
        load_weights(network, weights)
        pair.append(network.to(memory_format=torch.channels_last))
    tough, tolerant = pair
    return tough, tolerant


def load_student(
    asked: Mapping[str, tuple[Mapping[str, Any], Path]], size: int, crop: Mapping[str, Any]
) -> LandmarkNet:
    """The trained student that corrects the mesh's points, in evaluation mode, from its recipe and weights.

    It must look at crops of ``size`` pixels and at the ``crop`` of the student that it teaches.

    Raises:
        RecipeError: there is not one, or it looks at something else.
        ValueError: the weights are of another network than the recipe's.
    """
    if len(asked) != 1 or any(is_teacher(recipe) for recipe, _ in asked.values()):
        raise RecipeError(
            f"teacher is {list(asked)}; student.refined asks one: an earlier student of landmarks"
        )
    ((name, (recipe, weights)),) = asked.items()
    _check_crop(name, recipe, crop)
    if recipe["student"]["size"] != size:
        raise RecipeError(
            f"teacher {name}: student.size is {recipe['student']['size']}; write the student's, {size}"
        )
    network = LandmarkNet.of(recipe["student"])
    load_weights(network, weights)
    return network.eval()


def _check_crop(name: str, recipe: Mapping[str, Any], crop: Mapping[str, Any]) -> None:
    own = recipe["deploy"]["crop"]
    if any(own[key] != crop[key] for key in ("scale", "shift")):
        raise RecipeError(f"teacher {name}: deploy.crop is {own}; write the student's, {dict(crop)}")


@torch.no_grad()
def both_views(
    network: LandmarkNet, crops: NDArray[np.uint8], mean_shape: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Points float32 [N, 68, 2] in crops (0 is an edge, 1 the other) of crops RGB uint8 [N, S, S, 3].

    The mean of what the network says of each and of its mirror image.
    """
    images = (torch.from_numpy(crops).permute(0, 3, 1, 2).float() - 128) / 128
    seen, other = [network(x)[0].view(-1, 68, 2).numpy() + mean_shape for x in (images, images.flip(3))]
    return np.asarray((seen + other[:, _FLIP] * (-1, 1) + (1, 0)) / 2, np.float32)


def ask(
    pair: tuple[LandmarkTeacher, LandmarkTeacher], batch: Mapping[str, Tensor], known: Tensor
) -> dict[str, Tensor]:
    """The batch with what both teachers say of its faces, ``tough`` and ``tolerant`` [N, 68, 2].

    Where nobody knows the points better (``known``, bool [N]), the mean of both is the truth.
    """
    face = batch["present"] > 0
    said = []
    for teacher in pair:
        points = torch.zeros_like(batch["points"])
        if face.any():
            points[face] = answers(teacher, batch["image"][face])
        said.append(points)
    tough, tolerant = said
    truth = torch.where(known[:, None, None], batch["points"], (tough + tolerant) / 2)
    return dict(batch) | {"points": truth, "known": known, "tough": tough, "tolerant": tolerant}


@torch.no_grad()
def answers(teacher: LandmarkTeacher, images: Tensor) -> Tensor:
    """Points float32 [N, 68, 2], residuals to the mean shape in crops, of crops [N, 3, S, S] of any size."""
    if images.shape[-1] != teacher.size:
        smaller = images.shape[-1] > teacher.size
        images = functional.interpolate(
            images, (teacher.size, teacher.size), mode="bilinear", align_corners=False, antialias=smaller
        )
    with torch.autocast("cpu", torch.bfloat16):
        points = teacher(images.to(memory_format=torch.channels_last))[0]
    return points.float().view(-1, 68, 2)
