"""The parsing teacher: an ImageNet backbone under a wide decoder, trained here on CelebAMask-HQ.

It is asked about photos that nobody annotated, each several times: at three scales of the crop, as seen and
mirrored. Where the mean of its answers is unsure, the pixel stays unknown.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeface.labels import flip_labels

from ..datasets import celebamask
from ..students.blocks import ConvBnRelu, Residual, upsample2
from ..terms import weights_terms
from ..training import load_weights
from . import mobilenet, yunet
from .mobilenet import MobileNetV2

__all__ = ["TERMS", "Drawer", "ParsingTeacher", "label_photo", "labeller"]

# Trained here, in crops around YuNet's boxes, from an ImageNet backbone: it inherits the terms of all three.
TERMS = weights_terms(celebamask.LAYOUT.terms, mobilenet.TERMS, yunet.TERMS).inherited(
    "EdgeFace's parsing teacher (trained here)", "derived from the terms of what it learned from"
)

_UNKNOWN = 255
_CLASSES = 19


class ParsingTeacher(nn.Module):
    """RGB crop [N, 3, S, S] in [-1, 1], S a multiple of 32, to logits [N, 19, S, S]."""

    outputs = ("logits",)

    def __init__(self, decoder: Sequence[int] = (128, 96, 64, 32), imagenet: Path | None = None) -> None:
        super().__init__()
        self.encoder = MobileNetV2.pretrained(imagenet) if imagenet else MobileNetV2()
        # Edges are edges: strides two and four stay as ImageNet left them, which saves a third of a step.
        for part in (self.encoder.stem, *self.encoder.blocks[:3]):
            part.requires_grad_(False)
        self.top = ConvBnRelu(MobileNetV2.channels[-1], decoder[0], 1)
        self.channels = tuple(decoder)  # of its maps
        below = MobileNetV2.channels[-2::-1]
        self.sides = nn.ModuleList(ConvBnRelu(c, d, 1) for c, d in zip(below, decoder, strict=True))
        self.narrow = nn.ModuleList(ConvBnRelu(a, b, 1) for a, b in itertools.pairwise(decoder))
        self.mixes = nn.ModuleList(Residual(d) if k < 2 else ConvBnRelu(d, d) for k, d in enumerate(decoder))
        self.dropout = nn.Dropout2d(0.1)
        self.head = nn.Conv2d(decoder[-1], _CLASSES, 1)

    def maps(self, x: Tensor) -> list[Tensor]:
        """The decoder's features at strides 16, 8, 4 and 2, of ``channels`` channels."""
        *below, deepest = self.encoder(x)
        y = self.top(deepest)
        found: list[Tensor] = []
        for k, (side, mix, seen) in enumerate(zip(self.sides, self.mixes, below[::-1], strict=True)):
            y = mix(upsample2(y if k == 0 else self.narrow[k - 1](y)) + side(seen))
            found.append(y)
        return found

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (upsample2(self.head(self.dropout(self.maps(x)[-1]))),)


@dataclass(frozen=True, slots=True)
class Drawer:
    """A trained teacher, the side of its crop in pixels, and where its crop lies, as its recipe says."""

    network: nn.Module
    size: int
    shift: tuple[float, float]

    @classmethod
    def of(cls, recipe: Mapping[str, Any], weights: Path) -> Drawer:
        """Loads the weights of a recipe.

        Raises:
            ValueError: the weights are of another network than the recipe's.
        """
        student, crop = recipe["student"], recipe["deploy"]["crop"]
        teacher = load_weights(ParsingTeacher(student["decoder"]), weights)
        return cls(teacher, int(student["size"]), tuple(crop["shift"]))


def labeller(
    drawers: Sequence[Drawer],
) -> Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]:
    """Trained teachers as a function from a photo and a face's box to its label map."""
    return partial(label_photo, drawers)


@torch.no_grad()
def label_photo(
    drawers: Sequence[Drawer],
    rgb: NDArray[np.uint8],
    box: NDArray[np.float32],
    scales: Sequence[float] = (1.3, 1.6, 2.0),
    least: float = 0.6,
) -> NDArray[np.uint8]:
    """Label map uint8 [H, W] of a photo's face in ``box`` (x, y, width, height), by all teachers together.

    255 where the mean probability of the best class is below ``least`` and where no crop reached.
    """
    height, width = rgb.shape[:2]
    votes = np.zeros((height, width, _CLASSES), np.float32)
    reached = np.zeros((height, width), np.float32)
    # The ids as one row of pixels, mirrored twice: left and right names stay exchanged.
    flip = flip_labels(np.arange(_CLASSES, dtype=np.uint8)[None], "celebamask19")[0, ::-1].tolist()
    for drawer, scale in itertools.product(drawers, scales):
        side, size = float(max(box[2:])) * scale, drawer.size
        centre = box[:2] + box[2:] / 2 + np.array(drawer.shift) * float(max(box[2:]))
        matrix = np.array([[size / side, 0, 0], [0, size / side, 0]])
        matrix[:, 2] = (size - 1) / 2 - matrix[:, :2] @ centre
        crop = cv2.warpAffine(rgb, matrix, (size, size))
        image = (torch.from_numpy(crop).permute(2, 0, 1)[None].float() - 128) / 128
        pair = drawer.network(torch.cat([image, image.flip(3)]))[0].float().softmax(1)
        mean = (pair[0] + pair[1].flip(2)[flip]) / 2
        maps = mean.permute(1, 2, 0).contiguous().numpy()
        inverse = cv2.invertAffineTransform(matrix)
        for k in range(0, _CLASSES, 4):  # OpenCV warps at most four channels at once
            part = np.ascontiguousarray(maps[:, :, k : k + 4])
            warped = cv2.warpAffine(part, inverse, (width, height))
            votes[:, :, k : k + 4] += warped.reshape(height, width, -1)
        reached += cv2.warpAffine(np.ones((size, size), np.float32), inverse, (width, height))
    share = votes.max(2) / np.maximum(reached, 1e-6)
    labels = votes.argmax(2).astype(np.uint8)
    labels[(share < least) | (reached < 0.5)] = _UNKNOWN
    return labels
