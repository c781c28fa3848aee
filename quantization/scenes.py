"""Composed scenes for the detector: photos, mosaics of them, and cut-out heads at many scales and turns.

Every scene is made at the network's input size. Labels are the teacher's boxes and points, carried through
each transformation; a doubtful box, or a face mostly hidden by a later one, is marked to be ignored rather
than called background.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from . import augment, decoys
from .cutouts import FOLDERS, Cutout, Pyramid, bystanders, hardness, portraits, rendered, turned
from .datasets import lfpw
from .label import load_labels
from .splits import parts

__all__ = ["Mix", "Photo", "Scene", "SceneMaker", "Stock"]

Array = NDArray[np.float32]
_SURE = 0.6  # a teacher's score from which a face is taught
_LEAST = 20  # pixels, of a bystander's head that is cut out


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture, all faces in it [F, ...], and how sure of each its teacher was."""

    rgb: Pyramid
    boxes: Array
    scores: Array
    points: Array
    hard: Array


@dataclass(frozen=True, slots=True)
class Stock:
    """What scenes are made of: pictures with faces, pictures without, heads to be pasted.

    Five points that nobody knows are NaN.
    """

    photos: list[Photo]
    empty: list[Photo]
    heads: list[Cutout]


@dataclass(slots=True)
class Scene:
    """An image with its faces; ``sure`` is False for those to ignore."""

    image: NDArray[np.uint8]
    boxes: list[Array] = field(default_factory=list)
    points: list[Array] = field(default_factory=list)
    sure: list[bool] = field(default_factory=list)

    def add(self, box: Array, points: Array, sure: bool) -> None:
        """Adds a face whose middle lies in the picture; one cut off by more than a third is to be ignored."""
        height, width = self.image.shape[:2]
        low, high = np.maximum(box[:2], -0.5), np.minimum(box[:2] + box[2:], (width - 0.5, height - 0.5))
        shown = float(np.clip(high - low, 0, None).prod() / max(box[2:].prod(), 1e-6))
        if shown < 0.1:
            return
        self.boxes.append(box.astype(np.float32))
        self.points.append(points.astype(np.float32))
        self.sure.append(sure and shown > 0.66)

    def mirror(self) -> None:
        """Swaps left and right, of the eyes and the corners of the mouth, too."""
        self.image = np.ascontiguousarray(self.image[:, ::-1])
        last = self.image.shape[1] - 1
        self.boxes = [np.array([last - b[0] - b[2], b[1], b[2], b[3]], np.float32) for b in self.boxes]
        self.points = [
            np.stack([last - p[[1, 0, 2, 4, 3], 0], p[[1, 0, 2, 4, 3], 1]], axis=1) for p in self.points
        ]


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the kinds of scenes (what is left has no face), and how they are made."""

    photo: float = 0.30
    mosaic: float = 0.15
    pasted: float = 0.43
    natural: float = 0.0  # of the photos: all of it, about as the runtime would letterbox it
    bystander: float = 0.0  # of the other photos: scaled by any of its faces instead of its main one
    largest: float = 0.95  # side of that face, in heights of the scene
    smallest: float = 9.5  # side of a pasted face, pixels
    soft: float = 0.0  # of the pasted heads: out of focus
    strength: float = 1.0  # of the picture's degradation
    hard: float = 0.0  # how much more often than an easy face the hardest is drawn; bystanders' heads too
    rendered: int = 0  # heads in profile that the 3D model gives
    turned: int = 0  # heads of portraits, turned to profile on it
    squeezed: float = 0.0  # of the pasted heads: narrower, as one that looks aside is
    couples: float = 0.0  # of the pasted heads: close to the one before, cheek to cheek
    written: float = 0.0  # of the scenes: lines of text across, as on a poster
    decoys: float = 0.0  # of the scenes: with letters, buttons, dials and the like that are no faces
    beside: float = 0.0  # of the backgrounds: what lies beside the faces of the portraits


class SceneMaker:
    """Draws scenes ``width`` x ``height``; everything it needs is in memory after construction.

    ``own`` is a stock beside the built-in data's, out of which ``share`` of the photos and heads come; at 1
    nothing else is read.
    """

    def __init__(
        self,
        data: Path,
        labels: Path,
        width: int,
        height: int,
        mix: Mix | None = None,
        own: Stock | None = None,
        share: float = 1.0,
    ) -> None:
        self.width, self.height, self._mix = width, height, mix or Mix()
        self._photos: list[Photo] = []
        self._beside: list[Photo] = []
        self._cutouts: list[Cutout] = []
        self._weights = self._cutout_weights = np.zeros(0)
        if own is None or share < 1:
            self._load(data, labels)
        elif self._mix.rendered:
            self._cutouts = rendered(data, self._mix.rendered)
            self._cutout_weights = _shares(np.ones(len(self._cutouts)))
        if own is not None:
            self._add(own, share)

    def _load(self, data: Path, labels: Path) -> None:
        """The stock of the built-in data."""
        self._photos = self._load_photos(data, labels)
        # Photos with bystanders are few and have the hard faces.
        crowd = np.array([1.0 + 1.5 * (np.count_nonzero(p.scores > _SURE) > 1) for p in self._photos])
        crowd += [self._mix.hard / 4 * p.hard[p.scores > _SURE].max() for p in self._photos]
        self._weights = _shares(crowd if self._mix.bystander else np.ones(len(crowd)))
        self._beside = self._load_portraits(data, labels) if self._mix.beside else []
        self._cutouts = portraits(data, labels, every=1 if self._mix.hard else 3)
        if self._mix.rendered:
            self._cutouts += rendered(data, self._mix.rendered)
        if self._mix.turned:
            self._cutouts += turned(data, labels, self._mix.turned)
        for photo in self._photos if self._mix.hard else ():
            few = (photo.scores > _SURE) & (photo.boxes[:, 3] >= _LEAST)
            few &= (photo.hard > 0.2) | (np.arange(len(few)) != np.argmax(photo.boxes[:, 3]))
            self._cutouts += bystanders(
                photo.rgb.levels[0], photo.boxes[few], photo.points[few], photo.hard[few]
            )
        self._cutout_weights = _shares(1 + self._mix.hard * np.array([c.hard for c in self._cutouts]))

    @property
    def pointed(self) -> bool:
        """Whether the five points of any face are known."""
        known = (photo.points for photo in self._photos)
        heads = (head.points for head in self._cutouts)
        return any(np.isfinite(points).any() for points in (*known, *heads))

    def _add(self, own: Stock, share: float) -> None:
        # Beside a stock that is all there is, rendered heads in profile are a fifth: they are rare in photos.
        heads = 0.8 if share == 1 and self._cutouts else share
        self._weights = _joined(self._weights, len(own.photos), share)
        self._cutout_weights = _joined(self._cutout_weights, len(own.heads), heads)
        self._photos, self._cutouts = [*self._photos, *own.photos], [*self._cutouts, *own.heads]
        self._beside = [*self._beside, *own.empty]

    def draw(self, rng: np.random.Generator) -> Scene:
        """One scene."""
        kind, mix = rng.random(), self._mix
        if kind < mix.photo:
            scene = self._photo(rng)
        elif kind < mix.photo + mix.mosaic:
            scene = self._mosaic(rng)
        elif kind < mix.photo + mix.mosaic + mix.pasted:
            scene = self._pasted(rng, int(rng.choice([1, 2, 3, 5, 8], p=[0.3, 0.25, 0.2, 0.15, 0.1])))
        else:
            scene = Scene(self._background(rng))
            if rng.random() < 0.4:
                self._scramble(rng, scene)
        if mix.decoys and rng.random() < mix.decoys:
            decoys.scatter(scene.image, rng, self._background(rng), scene.boxes)
        for _ in range(int(rng.choice([0, 1, 2], p=[0.75, 0.17, 0.08]))):
            self._occlude(rng, scene)
        if self._mix.written and rng.random() < self._mix.written:
            augment.write(scene.image, rng)
        if rng.random() < 0.5:
            scene.mirror()
        scene.image = augment.degrade(scene.image, rng, mix.strength)
        return scene

    # where scenes come from

    def _photo(self, rng: np.random.Generator, width: int | None = None, height: int | None = None) -> Scene:
        """A photo, scaled by a side drawn log-uniformly for one of its faces, or as the runtime does it."""
        width, height = width or self.width, height or self.height
        photo = self._photos[rng.choice(len(self._photos), p=self._weights)]
        sure = photo.scores > _SURE
        if self._mix.natural and rng.random() < self._mix.natural:
            rows, columns = photo.rgb.levels[0].shape[:2]
            scale = min(width / columns, height / rows) * float(rng.uniform(0.8, 1.3))
            angle = float(rng.normal(0, 6)) if rng.random() < 0.3 else 0.0
            middle = np.array([columns / 2, rows / 2], np.float32)
            target = np.array([width / 2, height / 2]) + rng.normal(0, 0.08, 2) * (width, height)
        else:
            chosen = int(np.argmax(photo.boxes[:, 3] * sure))
            if self._mix.bystander and rng.random() < self._mix.bystander:
                weights = _shares(1 + self._mix.hard * photo.hard[sure])
                chosen = int(rng.choice(np.flatnonzero(sure), p=weights))
            side = float(np.exp(rng.uniform(np.log(11), np.log(self._mix.largest * height))))
            scale = side / float(photo.boxes[chosen, 3])
            angle = float(rng.normal(0, 12)) if rng.random() < 0.4 else 0.0
            target = rng.uniform((0.15 * width, 0.15 * height), (0.85 * width, 0.85 * height))
            middle = photo.boxes[chosen, :2] + photo.boxes[chosen, 2:] / 2
        matrix = _turn(scale, angle, middle, target)
        back = self._background(rng, width, height)
        if rng.random() < 0.4:
            back[:] = rng.integers(0, 256)
        image = photo.rgb.warp(matrix, (width, height), cv2.BORDER_TRANSPARENT, back)
        scene = Scene(image)
        for box, score, points in zip(photo.boxes, photo.scores, photo.points, strict=True):
            scene.add(
                _turn_box(box, matrix, scale, angle),
                points @ matrix[:, :2].T + matrix[:, 2],
                bool(score > _SURE),
            )
        return scene

    def _mosaic(self, rng: np.random.Generator) -> Scene:
        """Four photos in the quarters of a scene."""
        x = int(rng.uniform(0.3, 0.7) * self.width)
        y = int(rng.uniform(0.3, 0.7) * self.height)
        scene = Scene(np.zeros((self.height, self.width, 3), np.uint8))
        for x0, x1 in ((0, x), (x, self.width)):
            for y0, y1 in ((0, y), (y, self.height)):
                part = self._photo(rng, x1 - x0, y1 - y0)
                scene.image[y0:y1, x0:x1] = part.image
                offset = np.array([x0, y0], np.float32)
                scene.boxes += [np.concatenate([b[:2] + offset, b[2:]]) for b in part.boxes]
                scene.points += [p + offset for p in part.points]
                scene.sure += part.sure
        return scene

    def _pasted(self, rng: np.random.Generator, count: int) -> Scene:
        """Heads on a background (or on a photo that has faces already), the later in front of the earlier."""
        scene = Scene(self._background(rng)) if rng.random() < 0.8 else self._photo(rng)
        for _ in range(count):
            cutout = self._cutouts[rng.choice(len(self._cutouts), p=self._cutout_weights)]
            top = 0.95 if count == 1 else 0.5
            side = float(np.exp(rng.uniform(np.log(self._mix.smallest), np.log(top * self.height))))
            scale = side / float(cutout.box[3])
            angle = float(rng.uniform(-70, 70)) if rng.random() < 0.2 else float(rng.normal(0, 12))
            middle = cutout.box[:2] + cutout.box[2:] / 2
            target = rng.uniform((0, 0), (self.width, self.height))
            if self._mix.couples and scene.boxes and rng.random() < self._mix.couples:
                near = scene.boxes[-1]
                scale = float(near[3] / cutout.box[3] * rng.uniform(0.8, 1.25))
                aside = near[2] * float(rng.uniform(0.7, 1.15)) * (1 if rng.random() < 0.5 else -1)
                target = near[:2] + near[2:] / 2 + (aside, near[3] * float(rng.normal(0, 0.15)))
            box, matrix = cutout.box, _turn(scale, angle, middle, target)
            if self._mix.squeezed and rng.random() < self._mix.squeezed:
                share = float(rng.uniform(0.6, 0.95))
                matrix = _squeeze(matrix, share, float(middle[0]))
                box = np.array([middle[0] - box[2] * share / 2, box[1], box[2] * share, box[3]], np.float32)
            placed = _turn_box(box, matrix, scale, angle)
            self._paste(rng, scene, cutout, matrix)
            _hide(scene, placed)
            scene.add(placed, cutout.points @ matrix[:, :2].T + matrix[:, 2], True)
        return scene

    def _paste(
        self, rng: np.random.Generator, scene: Scene, cutout: Cutout, matrix: NDArray[np.float64]
    ) -> None:
        rows, columns = cutout.alpha.levels[0].shape
        corners = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]], np.float64)
        spread = corners @ matrix[:, :2].T + matrix[:, 2]
        x0, y0 = np.clip(np.floor(spread.min(0)) - 1, 0, (self.width, self.height)).astype(int)
        x1, y1 = np.clip(np.ceil(spread.max(0)) + 2, 0, (self.width, self.height)).astype(int)
        if x1 <= x0 or y1 <= y0:
            return
        local = matrix.copy()
        local[:, 2] -= (x0, y0)
        size = (int(x1 - x0), int(y1 - y0))
        head = cutout.rgb.warp(local, size, cv2.BORDER_REPLICATE)
        if self._mix.soft and rng.random() < self._mix.soft:  # a passer-by behind the plane of focus
            head = cv2.GaussianBlur(head, (0, 0), float(rng.uniform(0.01, 0.05)) * max(size) + 0.3)
        if rng.random() < 0.5:  # its own light
            head = cv2.convertScaleAbs(
                head, alpha=float(rng.uniform(0.55, 1.25)), beta=float(rng.uniform(-20, 20))
            )
        cover = cutout.alpha.warp(local, size).astype(np.uint16)[:, :, None]
        under = scene.image[y0:y1, x0:x1]
        scene.image[y0:y1, x0:x1] = ((head * cover + under * (255 - cover)) // 255).astype(np.uint8)

    def _background(
        self, rng: np.random.Generator, width: int | None = None, height: int | None = None
    ) -> NDArray[np.uint8]:
        """A piece of a photo that touches no face, however small; now and then a plain or noisy plane."""
        width, height = width or self.width, height or self.height
        if rng.random() < 0.08:
            return cv2.resize(
                rng.integers(0, 256, (int(rng.integers(1, 9)), int(rng.integers(1, 9)), 3), dtype=np.uint8),
                (width, height),
                interpolation=cv2.INTER_CUBIC,
            )
        photos = self._beside if self._beside and rng.random() < self._mix.beside else self._photos
        for _ in range(40):
            photo = photos[rng.integers(len(photos))]
            rows, columns = photo.rgb.levels[0].shape[:2]
            w = int(rng.uniform(0.15, 0.8) * columns)
            h = min(rows, max(16, int(w * height / width)))
            x, y = rng.integers(0, columns - w + 1), rng.integers(0, rows - h + 1)
            low = np.maximum(photo.boxes[:, :2], (x, y))
            high = np.minimum(photo.boxes[:, :2] + photo.boxes[:, 2:], (x + w, y + h))
            if (np.clip(high - low, 0, None).prod(1) <= 0.04 * photo.boxes[:, 2:].prod(1)).all():
                break
        else:
            return np.full((height, width, 3), rng.integers(0, 256), np.uint8)
        k = 1 if w > 1.5 * width else 0
        piece = photo.rgb.levels[k][y >> k : (y + h) >> k, x >> k : (x + w) >> k]
        if rng.random() < 0.3:
            piece = np.rot90(piece, int(rng.integers(1, 4)))
        return cv2.resize(np.ascontiguousarray(piece), (width, height), interpolation=cv2.INTER_LINEAR)

    # what happens to a scene

    def _scramble(self, rng: np.random.Generator, scene: Scene) -> None:
        """Hard negatives: a head's tiles in the wrong order, skin and hair without a face."""
        for _ in range(int(rng.integers(1, 4))):
            cutout = self._cutouts[rng.integers(len(self._cutouts))]
            n = int(rng.integers(3, 5))
            rgb = cutout.rgb.levels[0]
            side = min(rgb.shape[:2]) // n
            tiles = [
                rgb[i * side : (i + 1) * side, j * side : (j + 1) * side] for i in range(n) for j in range(n)
            ]
            order = rng.permutation(n * n)
            rows = [np.concatenate([tiles[k] for k in order[i * n : (i + 1) * n]], axis=1) for i in range(n)]
            size = int(np.exp(rng.uniform(np.log(16), np.log(0.7 * self.height))))
            block = cv2.resize(np.concatenate(rows, axis=0), (size, size), interpolation=cv2.INTER_AREA)
            x, y = rng.integers(0, self.width - size + 1), rng.integers(0, self.height - size + 1)
            scene.image[y : y + size, x : x + size] = block

    def _occlude(self, rng: np.random.Generator, scene: Scene) -> None:
        scene.image, mask = augment.occlude(scene.image, rng, self._background(rng), (0.02, 0.12))
        for i, box in enumerate(scene.boxes):
            x0, y0 = np.maximum(box[:2].astype(int), 0)
            x1, y1 = (box[:2] + box[2:]).astype(int) + 1
            part = mask[y0:y1, x0:x1]
            if part.size and part.mean() > 0.5 * 255:
                scene.sure[i] = False

    # what scenes are made of

    def _load_photos(self, data: Path, labels: Path) -> list[Photo]:
        with np.load(labels / "lfpw_faces.npz") as faces:
            names, boxes, scores, points = (faces[k] for k in ("names", "boxes", "scores", "keypoints"))
        root = data / "landmarks/lfpw/trainset"
        photos = []
        for name in parts("lfpw", "train"):
            mine = names == name
            if mine.any() and scores[mine].max() > _SURE:
                photos.append(
                    Photo(
                        Pyramid.of(lfpw.load_photo(root, name)),
                        boxes[mine],
                        scores[mine],
                        points[mine],
                        hardness(points[mine], scores[mine]),
                    )
                )
        return photos

    def _load_portraits(self, data: Path, labels: Path) -> list[Photo]:
        """Photos with room beside the face: hair, shoulders, hands, and what was behind them."""
        photos = []
        for split in ("celebamask", "celeba_hq"):
            found = load_labels(labels, split)
            for i in np.flatnonzero(found.parts == "train"):
                rgb = Pyramid.of(lfpw.load_photo(data / FOLDERS[split], str(found.names[i])))
                one = slice(i, i + 1)
                boxes, scores, points = found.boxes[one], found.scores[one], found.keypoints[one]
                photos.append(Photo(rgb, boxes, scores, points, hardness(points, scores)))
        return photos


def _joined(before: NDArray[np.float64], count: int, share: float) -> NDArray[np.float64]:
    """The shares of all after ``count`` more, alike among themselves, took ``share`` of the whole."""
    return _shares(np.concatenate([before * (1 - share), np.full(count, share / count)]))


def _shares(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(weights, np.float64) / np.sum(weights, dtype=np.float64)


def _turn(scale: float, angle: float, middle: Array, target: NDArray[np.float64]) -> NDArray[np.float64]:
    radians = np.radians(angle)
    cos, sin = np.cos(radians) * scale, np.sin(radians) * scale
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    matrix[:, 2] = target - matrix[:, :2] @ middle
    return matrix


def _squeeze(matrix: NDArray[np.float64], share: float, x: float) -> NDArray[np.float64]:
    """The matrix after all is drawn towards the column ``x`` of the picture, to a ``share`` of its width."""
    out = matrix.copy()
    out[:, 2] += matrix[:, 0] * (1 - share) * x
    out[:, 0] *= share
    return out


def _turn_box(box: Array, matrix: NDArray[np.float64], scale: float, angle: float) -> Array:
    """The box around the turned ellipse in the box: what a detector gives for a tilted head."""
    centre = matrix[:, :2] @ (box[:2] + box[2:] / 2) + matrix[:, 2]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    half = box[2:] / 2 * scale
    reach = np.sqrt(
        np.array([(half[0] * cos) ** 2 + (half[1] * sin) ** 2, (half[0] * sin) ** 2 + (half[1] * cos) ** 2])
    )
    return np.concatenate([centre - reach, 2 * reach]).astype(np.float32)


def _hide(scene: Scene, box: Array) -> None:
    """Faces that a new head covers by over a third are to be ignored, by over 0.7 no longer there."""
    for i in reversed(range(len(scene.boxes))):
        other = scene.boxes[i]
        low, high = np.maximum(box[:2], other[:2]), np.minimum(box[:2] + box[2:], other[:2] + other[2:])
        covered = float(np.clip(high - low, 0, None).prod() / max(other[2:].prod(), 1e-6))
        if covered > 0.7:
            del scene.boxes[i], scene.points[i], scene.sure[i]
        elif covered > 0.33:
            scene.sure[i] = False
