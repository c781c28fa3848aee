"""Heads with an alpha mask, to be pasted into scenes.

They come out of portraits, as they are or turned to profile, out of crowds, or are rendered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .datasets import celebamask, lfpw
from .label import SOURCES, load_labels
from .progress import progress
from .synthetic import FaceMaker, Head, Pose
from .synthetic.turned import HeadTurner

__all__ = ["FOLDERS", "Cutout", "Pyramid", "bystanders", "hardness", "portraits", "rendered", "turned"]

Array = NDArray[np.float32]
_LONGEST = 176  # side kept of a cut-out
_CANVAS, _SIDE = 176, 88.0  # of a rendered head's picture, and of its box
# A portrait is turned whose fit missed its points by less than this share of the eye corners' distance; it is
# taken if less of its face was guessed. Of others YuNet finds fewer where they are said to be.
_MISSED, _GUESSED = 0.06, 0.1
FOLDERS = {source.split: source.folder for source in SOURCES if source.split != "lfpw"}  # of portraits


@dataclass(frozen=True, slots=True)
class Pyramid:
    """An image at full, half, quarter and eighth size: shrinking it neither aliases nor costs much."""

    levels: tuple[NDArray[np.uint8], ...]

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> Pyramid:
        below, right = -image.shape[0] % 8, -image.shape[1] % 8  # so that every level halves exactly
        levels = [cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)]
        for _ in range(3):
            levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        return cls(tuple(levels))

    def warp(
        self,
        matrix: NDArray[np.float64],
        size: tuple[int, int],
        border: int = cv2.BORDER_CONSTANT,
        under: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """The image through ``matrix`` (of its full size), sampled from the level just large enough."""
        scale = float(np.hypot(matrix[0, 0], matrix[0, 1]))
        k = int(np.clip(np.floor(np.log2(1 / max(scale, 1e-6)) + 0.2), 0, 3))
        return cv2.warpAffine(
            self.levels[k], _after_resize(matrix, 2.0**k), size, dst=under, borderMode=border
        )


@dataclass(frozen=True, slots=True)
class Cutout:
    """A head with an alpha mask, its box (x, y, width, height), five points, and how hard it is to find."""

    rgb: Pyramid
    alpha: Pyramid
    box: Array
    points: Array
    hard: float


def hardness(points: Array, scores: Array) -> Array:
    """How hard faces are to find, float32 [N] in [0, 1]: by the teacher's doubt, by how far they look aside.

    ``points`` [N, 5, 2] are its eyes, nose and corners of the mouth. The look aside is where the nose lies
    along the line between the eyes, in units of their distance: 0 up to about 25 degrees of yaw, 1 in
    profile. Of the doubt: half of the faces on which both teachers agree have a score over 0.938, where it is
    0; one in twenty below 0.876; it is 1 from 0.73 down.
    """
    across = points[:, 1] - points[:, 0]
    apart = np.maximum((across**2).sum(1), 1e-3)
    aside = np.abs(((points[:, 2] - points[:, :2].mean(1)) * across).sum(1)) / apart
    doubt = np.clip((0.93 - scores) / 0.2, 0, 1)
    return np.maximum(np.clip((aside - 0.25) / 0.45, 0, 1), doubt).astype(np.float32)


def portraits(data: Path, labels: Path, every: int) -> list[Cutout]:
    """The heads of the training photos that show one: by CelebAMask's own masks, elsewhere by an oval.

    UTKFace and YouTube Faces have many of a kind: of them every ``every``-th is taken.
    """
    cutouts = []
    for split, folder in FOLDERS.items():
        found = load_labels(labels, split)
        rows = [i for i in range(len(found.names)) if found.parts[i] == "train" and found.scores[i] > 0.8]
        for i in rows[:: every if split in {"utkface", "youtube_faces"} else 1]:
            rgb = lfpw.load_photo(data / folder, str(found.names[i]))
            if split == "celebamask":
                alpha = _masked(data, str(found.names[i]), with_clothes=i % 2 == 0)
            else:
                alpha = _oval(rgb.shape[:2], found.boxes[i])
            hard = float(hardness(found.keypoints[i][None], found.scores[i][None])[0])
            cutouts.append(_shrink(rgb, alpha, found.boxes[i], found.keypoints[i], hard))
    return cutouts


def bystanders(rgb: NDArray[np.uint8], boxes: Array, points: Array, hard: Array) -> list[Cutout]:
    """Heads out of a photo RGB uint8 [H, W, 3] of several; ``boxes`` [N, 4], ``points`` [N, 5, 2]."""
    heads = []
    for box, five, difficulty in zip(boxes, points, hard, strict=True):
        low = np.maximum(box[:2] - 0.6 * box[2:], 0).astype(int)
        high = np.minimum(box[:2] + 1.6 * box[2:], rgb.shape[1::-1]).astype(int)
        piece = rgb[low[1] : high[1], low[0] : high[0]]
        local = np.concatenate([box[:2] - low, box[2:]]).astype(np.float32)
        heads.append(_shrink(piece, _oval(piece.shape[:2], local), local, five - low, float(difficulty)))
    return heads


def rendered(data: Path, count: int) -> list[Cutout]:
    """Heads of the 3D model that look aside by 45 to 95 degrees: photos of such are rare in every set."""
    maker = FaceMaker(data / "face3d/ict_face_model_light.npz")
    heads = []
    for i in progress("rendered heads", range(count)):
        rng = np.random.default_rng([68, i])
        yaw = float(rng.uniform(45, 95)) * (1 if rng.random() < 0.5 else -1)
        pose = Pose(yaw, float(np.clip(rng.normal(0, 14), -40, 40)), float(rng.normal(0, 10)))
        head = Head.draw(rng, maker.model.identities, (_CANVAS / 2, _CANVAS / 2), _SIDE, pose)
        face = maker.render(head, np.full((_CANVAS, _CANVAS, 3), 128, np.uint8))
        alpha = cv2.GaussianBlur((face.mask > 0).astype(np.uint8) * 255, (0, 0), 0.8)
        heads.append(_shrink(face.image, alpha, face.box, face.five, 1.0))
    return heads


def turned(data: Path, labels: Path, count: int) -> list[Cutout]:
    """Heads of CelebAMask's portraits, turned further aside, to 50 to 98 degrees; ``count`` or fewer."""
    turner = HeadTurner(data / "face3d/ict_face_model_light.npz")
    found = load_labels(labels, "celebamask")
    rows = np.flatnonzero((found.parts == "train") & (found.scores > 0.8))
    heads: list[Cutout] = []
    for i in progress("turned heads", range(2 * count)):
        rng = np.random.default_rng([69, i])
        row, yaw, pitch = rows[rng.integers(len(rows))], float(rng.uniform(50, 98)), float(rng.normal(0, 8))
        fit = turner.fit(found.points[row])
        if fit.error > _MISSED or abs(fit.pose.yaw) > yaw - 5:
            continue
        rgb = lfpw.load_photo(data / FOLDERS["celebamask"], str(found.names[row]))
        alpha = _masked(data, str(found.names[row]), with_clothes=i % 2 == 0)
        head = turner.turn(rgb, alpha, found.points[row], yaw, pitch)
        if head.guessed < _GUESSED:
            heads.append(_shrink(head.image, head.alpha, head.box, head.five, 1.0))
        if len(heads) == count:
            break
    return heads


def _masked(data: Path, name: str, with_clothes: bool) -> NDArray[np.uint8]:
    mask = celebamask.load_mask(data / "parsing/celebamask_hq", name)
    alpha = ((mask > 0) & ((mask != 18) | with_clothes)).astype(np.uint8) * 255
    return cv2.GaussianBlur(alpha, (0, 0), 1.5)


def _oval(shape: tuple[int, int], box: Array) -> NDArray[np.uint8]:
    alpha = np.zeros(shape, np.uint8)
    centre = box[:2] + box[2:] / 2
    axes = (float(box[2]) * 0.75, float(box[3]) * 0.68)
    cv2.ellipse(
        alpha,
        (round(float(centre[0])), round(float(centre[1]))),
        (round(axes[0]), round(axes[1])),
        0,
        0,
        360,
        255,
        -1,
    )
    alpha[:, :3] = alpha[:, -3:] = 0
    alpha[:3], alpha[-3:] = 0, 0
    return cv2.GaussianBlur(alpha, (0, 0), 0.03 * float(box[3]))


def _shrink(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], box: Array, points: Array, hard: float
) -> Cutout:
    scale = min(1.0, _LONGEST / max(rgb.shape[:2]))
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    low = (box[:2] + 0.5) * scale - 0.5
    return Cutout(
        Pyramid.of(rgb),
        Pyramid.of(alpha),
        np.concatenate([low, box[2:] * scale]).astype(np.float32),
        ((points + 0.5) * scale - 0.5).astype(np.float32),
        hard,
    )


def _after_resize(matrix: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """The matrix for an image shrunk by ``factor``: its pixel x is factor * (x + 0.5) - 0.5 of before."""
    out = matrix.copy()
    out[:, 2] += matrix[:, :2] @ np.full(2, 0.5 * factor - 0.5)
    out[:, :2] *= factor
    return out
