"""Parsing: the classes of a scheme, CelebAMask-HQ's 19 unless shards say, in crops around the face's box.

The teacher learns from the annotated photos alone, the student from the teacher's maps of other photos too,
and, where ``student.losses`` weighs ``features``, from what the teacher's decoder makes of every crop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgeface.labels import flip_labels, lay_over, parsing_scheme

from .. import augment
from ..datasets import celebamask
from ..datasets.lfpw import load_photo
from ..label import SOURCES, load_labels, load_parsing
from ..losses import DeepFeatureLoss, class_weights, cross_and_dice, draw_weights
from ..recipe import RecipeError
from ..students.parsing import ParsingNet
from ..synthetic.necklaces import hang
from ..teachers.parsing import ParsingTeacher
from ..training import load_weights
from .shards import maps

__all__ = ["ParsingTask", "ParsingTeacherTask"]

_SCHEME = "celebamask19"
_RARE = ("eyeglasses", "glasses", "hat", "earring", "necklace")
_UNKNOWN = 255
_TURNED_TO = 35.0  # degrees, of a crop that is turned, where student.turned_to does not say
_Sample = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]  # photo, label map, face box


class ParsingTask:
    """Cross-entropy and per-class Dice (as SegFace, 2025); photos with rare classes are drawn more often."""

    def __init__(self, data: Path, labels: Path, recipe: Mapping[str, Any]) -> None:
        self._recipe = recipe
        self._size = int(recipe["size"])
        # Learning at several sizes teaches what a part looks like, not how many pixels it has.
        self._sizes = [int(size) for size in recipe.get("sizes", [self._size])]
        # Pixels of a map to one of the crop, on a side: a frame's borders run between the crop's pixels.
        self._fine = 2 if recipe.get("fine") else 1
        self._scheme = parsing_scheme(str(recipe.get("labels") or _SCHEME))
        if recipe.get("necklaces") and self._scheme.key != _SCHEME:
            raise RecipeError(
                f"deploy.labels is {self._scheme.key!r}, but student.necklaces are drawn into {_SCHEME}"
            )
        self._rare = [i for i, name in enumerate(self._scheme.names) if name in _RARE]
        self._train: list[_Sample] = []
        self._tuning: list[_Sample] = []
        self._weights = np.zeros(0)
        own = recipe.get("shards")
        if own is None or own.share < 1:
            self._load(data, labels)
        if own is not None:
            train, held = maps(own, self._scheme.key)
            self._weights = np.concatenate([self._weights * (1 - own.share), self._drawn(train) * own.share])
            self._train, self._tuning = [*self._train, *train], [*self._tuning, *held]
        self._class_weights = torch.from_numpy(class_weights(self._pixels(self._train))).float()
        self._teachers = [_load_teacher(*asked) for asked in recipe.get("asked", {}).values()]
        self._taught = [s for split in recipe.get("taught", ()) for s in _taught(data, labels, str(split))]

    def _load(self, data: Path, labels: Path) -> None:
        """CelebAMask-HQ's photos.

        Raises:
            RecipeError: The student's classes are others.
        """
        if self._scheme.key != _SCHEME:
            raise RecipeError(
                f"deploy.labels is {self._scheme.key!r}, but CelebAMask-HQ's maps are {_SCHEME}: learn from "
                "data.shards alone (data.share = 1)"
            )
        root = data / "parsing/celebamask_hq"
        found = load_labels(labels, "celebamask")
        for name, part, box in zip(found.names, found.parts, found.boxes, strict=True):
            if part == "validation":
                continue
            sample = (
                celebamask.load_photo(root / "images", str(name)),
                celebamask.load_mask(root, str(name)),
                box,
            )
            if part == "tuning":
                self._tuning.append(sample)
                continue
            self._train.append(sample)
        self._weights = self._drawn(self._train)

    def _pixels(self, samples: Sequence[_Sample]) -> NDArray[np.int64]:
        """How many each photo has of each class [N, C]; what is unknown does not count."""
        classes = len(self._scheme)
        return np.array([np.bincount(mask.ravel(), minlength=256)[:classes] for _, mask, _ in samples])

    def _drawn(self, samples: Sequence[_Sample]) -> NDArray[np.float64]:
        """How often each photo is drawn, of sum 1.

        The more often the rarer what it shows, within bounds: 19 photos of CelebAMask-HQ have a necklace.
        """
        return draw_weights(self._pixels(samples), self._rare, float(self._recipe.get("rare", 0.0)))

    def network(self) -> nn.Module:
        if not self._recipe.get("losses", {}).get("features"):
            return ParsingNet.of(self._recipe, len(self._scheme))
        if len(self._teachers) != 1:
            raise RecipeError("student.losses.features is of one teacher's features; name one under teacher")
        return _Follower(self._recipe, *self._teachers)

    def _matrix(
        self, box: NDArray[np.float32], jitter: tuple[float, float, float, float], size: int | None = None
    ) -> NDArray[np.float64]:
        """Frame to crop of ``size``; ``jitter`` is x, y (of the side), log scale, degrees."""
        size = size or self._size
        side = float(max(box[2:]))
        centre = box[:2] + box[2:] / 2 + np.array(self._recipe["crop"]["shift"]) * side
        side *= float(self._recipe["crop"]["scale"])
        centre = centre + np.array(jitter[:2]) * side
        scale, radians = size / side * np.exp(jitter[2]), np.radians(jitter[3])
        cos, sin = np.cos(radians) * scale, np.sin(radians) * scale
        matrix = np.array([[cos, sin, 0], [-sin, cos, 0]])
        matrix[:, 2] = (size - 1) / 2 - matrix[:, :2] @ centre
        return matrix

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        side = int(rng.choice(self._sizes))
        images = np.empty((size, side, side, 3), np.uint8)
        masks = np.empty((size, side * self._fine, side * self._fine), np.uint8)
        necklaces = float(self._recipe.get("necklaces", 0.0))
        turned, most = float(self._recipe["turned"]), float(self._recipe.get("turned_to", _TURNED_TO))
        for i in range(size):
            if self._taught and rng.random() < float(self._recipe["taught_share"]):
                rgb, mask, box = self._taught[rng.integers(len(self._taught))]
            else:
                rgb, mask, box = self._train[rng.choice(len(self._train), p=self._weights)]
            if necklaces and rng.random() < necklaces:
                rgb, mask = hang(rgb, mask, rng)
            angle = float(rng.uniform(-most, most)) if rng.random() < turned else float(rng.normal(0, 8))
            jitter = (
                *np.clip(rng.normal(0, 0.04, 2), -0.12, 0.12),
                float(np.clip(rng.normal(0, 0.12), -0.3, 0.35)),
                angle,
            )
            matrix = self._matrix(box, jitter, side)
            images[i], masks[i] = self._warp(rgb, mask, matrix, int(rng.integers(3)), side, self._fine)
            if rng.random() < 0.5:
                images[i] = images[i, :, ::-1]
                masks[i] = _flip(masks[i], self._scheme.key)
            images[i] = augment.degrade(images[i], rng, float(self._recipe["strength"]))
            images[i] = augment.damage(images[i], rng, self._recipe.get("damage", {}))
            if rng.random() < 0.2:
                other = self._train[rng.integers(len(self._train))][0]
                filler = cv2.resize(other[:200], (side, side), interpolation=cv2.INTER_AREA)
                images[i], hidden = augment.occlude(images[i], rng, filler, (0.05, 0.18))
                hidden = hidden.repeat(self._fine, axis=0).repeat(self._fine, axis=1)
                masks[i][hidden > 127] = _UNKNOWN  # what lies there is not annotated
        image = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 128) / 128
        phase = torch.from_numpy(rng.integers(0, 2 * self._fine, 2))
        return {"image": image, "mask": torch.from_numpy(masks).long(), "phase": phase}

    def calibration(self, count: int) -> Iterator[NDArray[np.float32]]:
        """Training crops as the runtime makes them: float32 [S, S, 3] in [-1, 127/128]."""
        for rgb, mask, box in self._train[:: max(1, len(self._train) // count)]:
            crop, _ = self._warp(rgb, mask, self._matrix(box, (0, 0, 0, 0)), 0)
            yield (crop.astype(np.float32) - 128) / 128

    def _warp(
        self,
        rgb: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        matrix: NDArray[np.float64],
        border: int,
        side: int | None = None,
        fine: int = 1,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The crop of ``side``, and its label map of ``side * fine``."""
        scale = float(np.hypot(matrix[0, 0], matrix[0, 1]))
        if scale < 0.5:
            half = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            local = matrix.copy()
            local[:, 2] += matrix[:, :2] @ np.full(2, 0.5)
            local[:, :2] *= 2
        else:
            half, local = rgb, matrix
        size = (side or self._size, side or self._size)
        if border == 0:  # outside is black, as at run time, and annotated as background
            image = cv2.warpAffine(half, local, size, borderValue=(0, 0, 0))
            value = 0
        else:
            image = cv2.warpAffine(half, local, size, borderMode=cv2.BORDER_REPLICATE)
            value = _UNKNOWN
        finer = matrix * fine
        finer[:, 2] += (fine - 1) / 2  # pixel centres
        size = (size[0] * fine, size[1] * fine)
        labels = cv2.warpAffine(mask, finer, size, flags=cv2.INTER_NEAREST, borderValue=value)
        return image, labels

    def loss(
        self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        # One pixel of the map for every 2 x 2 of the crop, another each step: the same gradient on average at
        # a quarter of the cost, and the loss over 19 full maps would cost more than the network.
        y, x = batch["phase"].tolist()
        step = 2 * self._fine
        mask = batch["mask"][:, y::step, x::step]
        logits = outputs[0][:, :, y::2, x::2].contiguous() if self._fine == 1 else _between(outputs[0], y, x)
        cross, dice = cross_and_dice(logits, mask, self._class_weights)
        total = cross + float(self._recipe["dice"]) * dice.mean()
        terms = {"cross": cross.item(), "dice": dice.mean().item()}
        for features in outputs[1:]:
            total = total + float(self._recipe["losses"]["features"]) * features.mean()
            terms["features"] = features.mean().item()
        return total, terms

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Mean F1 over the parts on the tuning photos, in their pixels, as `ParsingMap.to_frame` has them."""
        network.eval()
        classes = len(self._scheme)
        shared, guessed, true = np.zeros(classes), np.zeros(classes), np.zeros(classes)
        for rgb, mask, box in self._tuning:
            matrix = self._matrix(box, (0, 0, 0, 0))
            crop, _ = self._warp(rgb, mask, matrix, 0)
            image = (torch.from_numpy(crop).permute(2, 0, 1)[None].float() - 128) / 128
            logits = network(image)[0][0].permute(1, 2, 0).numpy()
            side = self._size / matrix[0, 0]
            left, top = (-0.5 - matrix[:, 2]) / matrix[0, 0]
            labels = logits.argmax(axis=2).astype(np.uint8)
            photo = lay_over(labels, (left, top, side, side), mask.shape, logits)
            known = mask != _UNKNOWN
            for c in range(classes):
                shared[c] += np.sum((photo == c) & (mask == c))
                guessed[c] += np.sum((photo == c) & known)
                true[c] += np.sum(mask == c)
        f1 = 2 * shared / np.maximum(guessed + true, 1)
        return {"f1": float(f1[1:].mean()), **{f"f1_{c}": float(f1[c]) for c in self._rare}}


class _Follower(ParsingNet):
    """The student beside its teacher: while it trains, a second output [1] is their deep-feature loss.

    Of the decoders' maps at strides 16, 8 and 4; at stride 2 the copying would cost more than the network.
    The loss's projections are parameters of their own, after the student's, which begins as it would alone.
    """

    def __init__(self, student: Mapping[str, Any], teacher: ParsingTeacher) -> None:
        super().__init__(student["widths"], student["decoder"], expand=student.get("expand", (0, 0, 0, 0)))
        self.lessons = DeepFeatureLoss(student["decoder"][:3], teacher.channels[:3])
        self._teacher = (
            teacher,
        )  # in a tuple it is no part of this network: nothing of it is saved or learns

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if not self.training:
            return super().forward(x)
        maps = self.maps(x)
        with torch.no_grad():
            told = self._teacher[0].to(x.device).maps(x)
        with torch.autocast(x.device.type, enabled=False):
            apart = self.lessons([m.float() for m in maps[:3]], [m.float() for m in told[:3]])
        return self.classified(maps[-1]), apart[None]


class ParsingTeacherTask(ParsingTask):
    """The same lessons for the teacher; ``encoder`` names the ImageNet classifier it starts from."""

    def network(self) -> nn.Module:
        return ParsingTeacher(self._recipe["decoder"], self._recipe["teachers"] / self._recipe["encoder"])


def _between(logits: Tensor, y: int, x: int) -> Tensor:
    """Logits [N, C, H, W] between their cells: [N, C, H / 2, W / 2].

    Of a grid twice as fine, pixel (y, x) of every 4 x 4. Such a pixel lies a quarter of a cell before (even)
    or behind (odd) the centre of its cell, so it has three quarters of that cell's logits and a quarter of
    the next one's; beyond the rim all is as at the rim.
    """
    height, width = logits.shape[2:]
    padded = functional.pad(logits, (1, 1, 1, 1), mode="replicate")
    own, near = (padded[:, :, start : start + height : 2] for start in _cells(y))
    rows = 0.75 * own + 0.25 * near
    own, near = (rows[..., start : start + width : 2] for start in _cells(x))
    return 0.75 * own + 0.25 * near


def _cells(place: int) -> tuple[int, int]:
    """Of a grid padded by one: the cell in which a fine pixel lies, and the one it lies nearest to."""
    own = 1 + place // 2
    return own, own + (1 if place % 2 else -1)


def _load_teacher(recipe: Mapping[str, Any], weights: Path) -> ParsingTeacher:
    teacher = ParsingTeacher(recipe["student"]["decoder"])
    load_weights(teacher, weights)
    return teacher.to(memory_format=torch.channels_last)


def _taught(data: Path, labels: Path, split: str) -> Iterator[_Sample]:
    """The training photos of a data set without annotation, with the teacher's maps."""
    folder = data / next(s.folder for s in SOURCES if s.split == split)
    found = load_labels(labels, split)
    for name, part, box in zip(found.names, found.parts, found.boxes, strict=True):
        if part == "train":
            yield load_photo(folder, str(name)), load_parsing(labels, split, str(name)), box


def _flip(mask: NDArray[np.uint8], scheme: str = _SCHEME) -> NDArray[np.uint8]:
    """Mirrored, left and right names exchanged; 255 stays."""
    unknown = mask[:, ::-1] == _UNKNOWN
    flipped = flip_labels(np.where(mask == _UNKNOWN, 0, mask).astype(np.uint8), scheme)
    return np.where(unknown, _UNKNOWN, flipped).astype(np.uint8)
