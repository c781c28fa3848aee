"""Landmarks, visibility, presence: human points where there are any, the fitted face mesh's elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgeface.labels import IBUG68

from .. import augment
from ..datasets import lfpw
from ..label import SOURCES, load_labels
from ..losses import wing
from ..students.landmarks import LandmarkNet
from ..teachers.face3d import Face3D

__all__ = ["LandmarkTask"]

Array = NDArray[np.float32]
_FLIP = list(IBUG68.flip)
_LONG_SIDE = 320  # photos are kept in memory no larger than this around a face


@dataclass(frozen=True, slots=True)
class _Face:
    image: NDArray[np.uint8]
    box: Array
    points: Array
    visible: NDArray[np.bool_]
    outer_eyes: float


class LandmarkTask:
    """Crops as the runtime will make them, jittered; the 3D face and occluders say which points hide."""

    def __init__(self, data: Path, labels: Path, recipe: Mapping[str, Any]) -> None:
        self._recipe = recipe
        self._size = int(recipe["size"])
        face3d = Face3D(data / "face3d" / "ict_face_model_light.npz")
        self._train: list[_Face] = []
        self._validation: list[_Face] = []
        self._humans: list[_Face] = []
        weights: list[float] = []
        for source in SOURCES:
            found = load_labels(labels, source.split)
            share = float(recipe["share"].get(source.split, 0.0))
            rows = [
                i
                for i in range(len(found.names))
                if found.trust[i] > 0.9 and (share or source.split == "lfpw")
            ]
            drawn: list[float] = []
            for i in rows:
                rgb = lfpw.load_photo(data / source.folder, str(found.names[i]))
                yaw, pitch, _ = face3d.pose(found.points[i])
                face = _prepare(rgb, found.boxes[i], found.points[i], face3d.visible(yaw, pitch))
                if source.split == "lfpw":
                    if found.parts[i] == "validation":
                        continue  # grades, and nothing else
                    self._humans.append(face)
                    # The annotation, minus one, lies half a pixel right of what its mirror image says: it
                    # counts from pixels' edges. Taught as it is, the mirrored faces would contradict it.
                    shifted = found.points[i] - np.array([0.5, 0.0], np.float32)
                    face = _prepare(rgb, found.boxes[i], shifted, face.visible)
                if found.parts[i] == "tuning":
                    self._validation.append(face)
                elif share:
                    self._train.append(face)
                    drawn.append(1 + abs(yaw) / 20)  # turned heads are rare and hard: drawn more often
            weights += [share * w / sum(drawn) for w in drawn]
        self._weights = np.array(weights) / sum(weights)
        humans = load_labels(labels, "lfpw")
        self._mean = np.mean(
            [
                self._canonical(humans.points[i], humans.boxes[i])
                for i in range(len(humans.names))
                if humans.parts[i] == "train"
            ],
            axis=0,
        ).astype(np.float32)
        self._backgrounds = self._find_backgrounds(data, labels)

    @property
    def mean_shape(self) -> Array:
        """float32 [68, 2] in crops: 0 is the crop's left or upper edge, 1 its right or lower."""
        return self._mean

    @torch.no_grad()
    def annotation_offset(self, network: nn.Module) -> Array:
        """How far the human points of the training part lie from the network's: float32 [68, 2], in crops.

        The deployed mean shape takes it in, so that answers follow the annotation.
        """
        apart = []
        for face in self._humans:
            matrix = self._matrix(*self._crop(face.box), 0.0)
            crop = cv2.warpAffine(face.image, matrix, (self._size, self._size))
            image = (torch.from_numpy(crop).permute(2, 0, 1)[None].float() - 128) / 128
            truth = (face.points @ matrix[:, :2].T + matrix[:, 2] + 0.5) / self._size
            apart.append(truth - self._mean - network(image)[0].view(68, 2).numpy())
        return np.mean(apart, axis=0).astype(np.float32)

    def network(self) -> nn.Module:
        return LandmarkNet(self._recipe["widths"], int(self._recipe["code"]))

    def _crop(self, box: Array) -> tuple[Array, float]:
        side = float(max(box[2:]))
        shift = np.array(self._recipe["crop"]["shift"]) * side
        return (box[:2] + box[2:] / 2 + shift).astype(np.float32), side * float(self._recipe["crop"]["scale"])

    def _canonical(self, points: Array, box: Array) -> Array:
        centre, side = self._crop(box)
        return (points - centre) / side + 0.5

    def _matrix(self, centre: Array, side: float, angle: float) -> NDArray[np.float64]:
        scale, radians = self._size / side, np.radians(angle)
        cos, sin = np.cos(radians) * scale, np.sin(radians) * scale
        matrix = np.array([[cos, sin, 0], [-sin, cos, 0]])
        matrix[:, 2] = (self._size - 1) / 2 - matrix[:, :2] @ centre
        return matrix

    def _find_backgrounds(self, data: Path, labels: Path) -> list[tuple[NDArray[np.uint8], Array]]:
        """LFPW training photos with every box a face might be in."""
        root = data / "landmarks/lfpw/trainset"
        human = load_labels(labels, "lfpw")
        with np.load(labels / "lfpw_faces.npz") as faces:
            names, boxes = faces["names"], faces["boxes"]
        train = sorted({str(n) for n, p in zip(human.names, human.parts, strict=True) if p == "train"})
        return [(lfpw.load_photo(root, n), boxes[names == n]) for n in train[::2]]

    def _face_sample(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Array, Array]:
        face = self._train[rng.choice(len(self._train), p=self._weights)]
        centre, side = self._crop(face.box)
        centre = centre + np.clip(rng.normal(0, 0.05, 2), -0.14, 0.14) * side
        side *= float(np.exp(np.clip(rng.normal(0, 0.1), -0.25, 0.25)))
        angle = (
            float(rng.uniform(-32, 32))
            if rng.random() < float(self._recipe["turned"])
            else float(rng.normal(0, 8))
        )
        matrix = self._matrix(centre, side, angle)
        border = [cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101][rng.integers(3)]
        crop = cv2.warpAffine(
            face.image, matrix, (self._size, self._size), flags=cv2.INTER_LINEAR, borderMode=border
        )
        points = face.points @ matrix[:, :2].T + matrix[:, 2]
        visible = face.visible
        if rng.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
            points, visible = points[_FLIP], visible[_FLIP]
            points[:, 0] = self._size - 1 - points[:, 0]
        seen = visible.astype(np.float32)
        covered = float(self._recipe["covered"])
        for _ in range(int(rng.choice([0, 1, 2], p=[1 - covered, 0.7 * covered, 0.3 * covered]))):
            filler = self._filler(rng)
            crop, mask = augment.occlude(crop, rng, filler, (0.06, 0.26))
            at = np.clip(points.round().astype(int), 0, self._size - 1)
            seen[mask[at[:, 1], at[:, 0]] > 127] = 0
        inside = ((points > -0.5) & (points < self._size - 0.5)).all(1)
        seen[~inside] = 0
        return crop, ((points + 0.5) / self._size).astype(np.float32), seen

    def calibration(self, count: int) -> Iterator[NDArray[np.float32]]:
        """Training crops as the runtime makes them: float32 [S, S, 3] in [-1, 127/128]."""
        for face in self._train[:: max(1, len(self._train) // count)]:
            crop = cv2.warpAffine(
                face.image, self._matrix(*self._crop(face.box), 0.0), (self._size, self._size)
            )
            yield (crop.astype(np.float32) - 128) / 128

    def _filler(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        photo, _ = self._backgrounds[rng.integers(len(self._backgrounds))]
        side = int(rng.integers(24, min(photo.shape[:2])))
        y, x = rng.integers(0, photo.shape[0] - side + 1), rng.integers(0, photo.shape[1] - side + 1)
        return cv2.resize(
            photo[y : y + side, x : x + side], (self._size, self._size), interpolation=cv2.INTER_AREA
        )

    def _no_face(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A background, or a face so far off the crop's middle that tracking must let it go."""
        for _ in range(20):
            photo, boxes = self._backgrounds[rng.integers(len(self._backgrounds))]
            side = float(rng.uniform(20, 0.7 * min(photo.shape[:2])))
            centre = rng.uniform((0, 0), (photo.shape[1], photo.shape[0]))
            box = np.array([*(centre - side / 2), side, side])
            low = np.maximum(boxes[:, :2], box[:2])
            high = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + side)
            shared = np.clip(high - low, 0, None).prod(1) / boxes[:, 2:].prod(1)
            if not len(boxes) or shared.max() < 0.25:
                break
        matrix = self._matrix(centre.astype(np.float32), side, float(rng.uniform(-30, 30)))
        return cv2.warpAffine(photo, matrix, (self._size, self._size), borderMode=cv2.BORDER_REPLICATE)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        images = np.empty((size, self._size, self._size, 3), np.uint8)
        points = np.zeros((size, 68, 2), np.float32)
        seen = np.zeros((size, 68), np.float32)
        present = np.ones(size, np.float32)
        for i in range(size):
            if rng.random() < float(self._recipe["negatives"]):
                crop, present[i] = self._no_face(rng), 0
            else:
                crop, points[i], seen[i] = self._face_sample(rng)
            images[i] = augment.degrade(crop, rng, float(self._recipe["strength"]))
        image = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 128) / 128
        return {
            "image": image,
            "points": torch.from_numpy(points - self._mean),
            "seen": torch.from_numpy(seen),
            "present": torch.from_numpy(present),
        }

    def loss(
        self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Wing loss (Feng et al., 2018) on points in crops, cross-entropy on visibility and presence."""
        points, seen, present = (o.flatten(1) for o in outputs)
        face = batch["present"]
        error = (points.view(-1, 68, 2) - batch["points"]).norm(dim=2)
        hidden = 1 - 0.5 * (1 - batch["seen"])  # a hidden point is taught, with less insistence
        count = face.sum().clamp(min=1)
        shape = ((wing(error) * hidden).mean(1) * face).sum() / count
        visibility = functional.binary_cross_entropy_with_logits(seen, batch["seen"], reduction="none")
        visibility = (visibility.mean(1) * face).sum() / count
        presence = functional.binary_cross_entropy_with_logits(present[:, 0], face)
        total = 20 * shape + 0.3 * visibility + 0.3 * presence
        return total, {"shape": shape.item(), "visibility": visibility.item(), "presence": presence.item()}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """NME by the outer eye corners on the tuning images, against the teacher's points."""
        network.eval()
        errors = []
        for face in self._validation:
            matrix = self._matrix(*self._crop(face.box), 0.0)
            crop = cv2.warpAffine(face.image, matrix, (self._size, self._size))
            image = (torch.from_numpy(crop).permute(2, 0, 1)[None].float() - 128) / 128
            guess = (network(image)[0].view(68, 2).numpy() + self._mean) * self._size - 0.5
            truth = face.points @ matrix[:, :2].T + matrix[:, 2]
            errors.append(
                np.linalg.norm(guess - truth, axis=1).mean() / np.linalg.norm(truth[36] - truth[45])
            )
        return {"nme": float(np.mean(errors))}


def _prepare(rgb: NDArray[np.uint8], box: Array, points: Array, visible: NDArray[np.bool_]) -> _Face:
    """Cuts the surroundings of the face out, scaled down, so that all fit in memory and warp quickly."""
    side = float(max(box[2:]))
    middle = box[:2] + box[2:] / 2
    low = np.maximum(np.floor(middle - 1.3 * side), 0).astype(int)
    high = np.minimum(np.ceil(middle + 1.3 * side), rgb.shape[1::-1]).astype(int)
    cut = rgb[low[1] : high[1], low[0] : high[0]]
    scale = min(1.0, _LONG_SIDE / (2.6 * side))
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    cut = cv2.resize(cut, size, interpolation=cv2.INTER_AREA) if scale < 1 else np.ascontiguousarray(cut)
    points = (points - low + 0.5) * scale - 0.5
    box = np.concatenate([(box[:2] - low + 0.5) * scale - 0.5, box[2:] * scale])
    return _Face(
        cut,
        box.astype(np.float32),
        points.astype(np.float32),
        visible,
        float(np.linalg.norm(points[36] - points[45])),
    )
