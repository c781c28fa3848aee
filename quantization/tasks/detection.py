"""Detection: composed scenes, YuNet's boxes and points, its features, and a teacher's scores.

``student.losses`` weighs, beside the labels, what a teacher says of every cell: ``scores``. Several are asked
for their mean, with ``mirror`` also about the mirror images. A teacher's recipe is one of this task with
``role = "teacher"``. ``yunet`` weighs how far a projection of the student's features is from what YuNet's
heads read of the same scene. Shards' boxes teach boxes and scores; five points that nobody knows have no part
in the loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import augment
from ..album import Album
from ..courses import COPIED
from ..datasets import lfpw
from ..losses import overlap, quality_focal
from ..provenance import digest
from ..recipe import RecipeError
from ..scenes import Mix, Scene, SceneMaker, Stock
from ..splits import parts
from ..students.detection import STRIDES, DetectionNet
from ..teachers.detection import answers, load_teacher
from ..teachers.yunet import YuNetFeatures
from .shards import stock

__all__ = ["DetectionTask"]

Array = NDArray[np.float32]
_ELSEWHERE = 0.05  # what a cell far from all faces counts beside one that YuNet is sure of
# Five points that nothing taught, x and y in units of two strides from a cell's middle: an upright face's.
_UPRIGHT = ((-0.3, -0.2), (0.3, -0.2), (0.0, 0.0), (-0.2, 0.3), (0.2, 0.3))
# A face's side (geometric mean of width and height) in input pixels decides its stride; neighbours overlap.
_RANGES = {8: (0.0, 38.0), 16: (28.0, 92.0), 32: (70.0, 1e9)}


class DetectionTask:
    """Quality focal loss (Li et al., 2020) on scores, GIoU on boxes, L1 on points."""

    def __init__(self, data: Path, labels: Path, recipe: Mapping[str, Any]) -> None:
        self._recipe = recipe
        self._photos = data / "landmarks/lfpw/trainset"
        self._width, self._height = int(recipe["width"]), int(recipe["height"])
        self._own: Stock | None = None
        own, mix, size = recipe.get("shards"), Mix(**recipe["scenes"]), (self._width, self._height)
        if own is None:
            self._scenes = self._graded = SceneMaker(data, labels, *size, mix)
        else:
            self._own, held = stock(own)
            self._scenes = SceneMaker(data, labels, *size, mix, self._own, own.share)
            self._graded = SceneMaker(data, labels, *size, replace(mix, rendered=0), held)
        self._names = [] if own is not None and own.share == 1 else parts("lfpw", "train")
        self._album = self._load_album(labels)
        self._asked = float(recipe.get("losses", {}).get("scores", 0.0))
        self._teachers = [load_teacher(*asked) for asked in recipe.get("asked", {}).values()]
        self._copied = float(recipe.get("losses", {}).get("yunet", 0.0))
        self._yunet = self._load_yunet() if self._copied else None
        self._centres = np.concatenate([self._grid(s) for s in STRIDES])
        self._strides = np.concatenate([np.full(len(self._grid(s)), s, np.float32) for s in STRIDES])

    def _load_album(self, labels: Path) -> Album | None:
        """None also for who only looks at the data: then no folder of teachers is given."""
        count, teachers = self._recipe.get("album"), self._recipe.get("teachers")
        if not count or not teachers:
            return None
        made_of = {key: self._recipe[key] for key in ("width", "height", "scenes")}
        made_of["faces"] = digest(labels / "lfpw_faces.npz")
        return Album.of(self._scenes, made_of, int(count), labels, teachers)

    def _load_yunet(self) -> YuNetFeatures | None:
        """And the usual size of its features, channel by channel."""
        if not self._recipe.get("teachers"):
            return None
        yunet = YuNetFeatures(self._recipe["teachers"] / COPIED)
        rng = np.random.default_rng(73)
        seen = [yunet.look(self._scenes.draw(rng).image) for _ in range(32)]
        self._usual = [
            np.sqrt(np.mean([np.square(s[k][0]).mean((1, 2)) for s in seen], axis=0))[:, None, None] + 1e-3
            for k in range(len(STRIDES))
        ]
        return yunet

    def network(self) -> nn.Module:
        kind = _Follower if self._copied else DetectionNet
        network = kind.of(self._recipe)
        if not self._scenes.pointed:
            network.fix_points([value for point in _UPRIGHT for value in point])
        return network

    def _grid(self, stride: int) -> Array:
        x = (np.arange(self._width // stride, dtype=np.float32) + 0.5) * stride - 0.5
        y = (np.arange(self._height // stride, dtype=np.float32) + 0.5) * stride - 0.5
        return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)

    def assign(self, scene: Scene) -> tuple[Array, Array, Array]:
        """State [cells] (1 face, 0 background, -1 ignored), boxes [cells, 4] as corners, points [cells, 10].

        A face's cells are those whose centre is near its middle: within 0.75 of a stride or a sixth of its
        side.
        """
        cells = len(self._centres)
        state, boxes, points = (
            np.zeros(cells, np.float32),
            np.zeros((cells, 4), np.float32),
            np.zeros((cells, 10), np.float32),
        )
        order = sorted(range(len(scene.boxes)), key=lambda i: -float(scene.boxes[i][2:].prod()))
        for i in order:
            box = scene.boxes[i]
            side = float(np.sqrt(box[2:].prod()))
            offset = np.abs(self._centres - (box[:2] + box[2:] / 2)).max(1)
            sure = scene.sure[i] and side >= float(self._recipe["smallest"])
            for stride, (low, high) in _RANGES.items():
                level = self._strides == stride
                if not sure or not low <= side < high:
                    if not sure:
                        state[level & (offset < max(stride, 0.4 * side)) & (state == 0)] = -1
                    continue
                mine = level & (offset < max(0.75 * stride, side / 6))
                state[mine] = 1
                boxes[mine] = np.concatenate([box[:2], box[:2] + box[2:]])
                points[mine] = scene.points[i].reshape(-1)
        return state, boxes, points

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        scenes = [self._draw(rng) for _ in range(size)]
        return self._tensors(scenes) | self._looked(scenes)

    def _looked(self, scenes: list[Scene]) -> dict[str, Tensor]:
        """Per stride YuNet's features over their usual size, and how much each cell counts."""
        if self._yunet is None:
            return {}
        seen = [self._yunet.look(scene.image) for scene in scenes]
        found = {}
        for k, stride in enumerate(STRIDES):
            found[f"yunet_{stride}"] = torch.from_numpy(np.stack([s[k][0] / self._usual[k] for s in seen]))
            # Cells about what it takes for a face, more or less, count most: there are few of them.
            near = [cv2.dilate(s[k][1], np.ones((3, 3), np.uint8)) for s in seen]
            found[f"counts_{stride}"] = torch.from_numpy(np.stack(near)) + _ELSEWHERE
        return found

    def _draw(self, rng: np.random.Generator) -> Scene:
        from_album = self._album and rng.random() < float(self._recipe["album_share"])
        scene = self._album.draw(rng) if from_album else self._scenes.draw(rng)
        scene.image = augment.damage(scene.image, rng, self._recipe.get("damage", {}))
        return scene

    def _tensors(self, scenes: list[Scene]) -> dict[str, Tensor]:
        rows = [self.assign(s) for s in scenes]
        image = torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2).float()
        state, boxes, points = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
        return {"image": (image - 128) / 128, "state": state, "boxes": boxes, "points": points}

    def calibration(self, count: int) -> Iterator[NDArray[np.float32]]:
        """Training photos as the runtime letterboxes them: float32 [H, W, 3] in [-1, 127/128].

        Composed scenes reach further than photos do, which costs the int8 file some of its steps.
        """
        for photo in self._calibrating(count):
            scale = min(self._width / photo.shape[1], self._height / photo.shape[0])
            size = [max(1, round(side * scale)) for side in (photo.shape[1], photo.shape[0])]
            frame = np.zeros((self._height, self._width, 3), np.uint8)
            frame[: size[1], : size[0]] = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
            yield (frame.astype(np.float32) - 128) / 128

    def _calibrating(self, count: int) -> Iterator[NDArray[np.uint8]]:
        """Photos that train, spread over all: the shards' own where nothing else is read."""
        if self._names or self._own is None:
            for name in self._names[:: max(1, len(self._names) // count)]:
                yield lfpw.load_photo(self._photos, name)
            return
        for photo in self._own.photos[:: max(1, len(self._own.photos) // count)]:
            yield photo.rgb.levels[0]

    def decode(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [N, cells], boxes as corners [N, cells, 4], points [N, cells, 10], in input pixels."""
        flat = [o.permute(0, 2, 3, 1).flatten(1, 2) for o in outputs]
        scores = torch.cat(flat[0::3], 1)[:, :, 0]
        centres, strides = torch.from_numpy(self._centres), torch.from_numpy(self._strides)[None, :, None]
        distance = torch.cat(flat[1::3], 1) * strides
        boxes = torch.cat([centres - distance[:, :, :2], centres + distance[:, :, 2:]], 2)
        points = torch.cat(flat[2::3], 1) * strides * 2 + centres.repeat(1, 5)
        return scores, boxes, points

    def loss(
        self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        scores, boxes, points = self.decode(outputs[:9])
        state = batch["state"]
        face = state > 0
        count = face.sum().clamp(min=1)
        guess, truth = boxes[face], batch["boxes"][face]
        side = (truth[:, 2:] - truth[:, :2]).clamp(min=1)
        iou, giou = overlap(guess, truth)
        quality = torch.zeros_like(scores)
        floor = float(self._recipe["quality_floor"])
        quality[face] = floor + (1 - floor) * iou.detach().clamp(0, 1)
        score_loss = (quality_focal(scores, quality) * (state >= 0)).sum() / count
        box_loss = (1 - giou).mean() if len(guess) else scores.sum() * 0
        placed = batch["points"][face].view(-1, 5, 2)
        apart = ((points[face].view(-1, 5, 2) - placed) / side[:, None])[torch.isfinite(placed)]
        point_loss = apart.abs().mean() if len(apart) else scores.sum() * 0
        total = 2 * score_loss + 2 * box_loss + 4 * point_loss
        terms = {
            "score": score_loss.item(),
            "box": box_loss.item(),
            "points": point_loss.item(),
            "iou": iou.mean().item() if len(guess) else 0.0,
        }
        if self._asked:
            told = quality_focal(scores, self._told(batch["image"])).sum() / count
            total = total + self._asked * told
            terms["told"] = told.item()
        if len(outputs) > 9:
            apart = scores.new_zeros(())
            for own, stride in zip(outputs[9:], STRIDES, strict=True):
                counts = batch[f"counts_{stride}"]
                squared = (own - batch[f"yunet_{stride}"]).square().mean(1)
                apart = apart + (squared * counts).sum() / counts.sum()
            total = total + self._copied * apart
            terms["yunet"] = apart.item()
        return total, terms

    def _told(self, images: Tensor) -> Tensor:
        """The teachers' mean score of every cell [N, cells]: also of those whose label is doubtful.

        Raises:
            RecipeError: there is none.
        """
        if not self._teachers:
            raise RecipeError("student.losses weighs a teacher's answers, and no teacher was given")
        return answers(self._teachers, images, bool(self._recipe["losses"].get("mirror")))

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """On 160 scenes that no batch repeats: share of faces' cells' best IoU, and scores on background."""
        network.eval()
        rng = np.random.default_rng(20_000_003)
        found = total = false = 0
        for _ in range(10):
            batch = self._tensors([self._graded.draw(rng) for _ in range(16)])
            scores, boxes, _ = self.decode(network(batch["image"]))
            hot = torch.sigmoid(scores) > 0.5
            false += int((hot & (batch["state"] == 0)).sum())
            for i in range(16):
                faces = torch.unique(batch["boxes"][i][batch["state"][i] > 0], dim=0)
                guesses = boxes[i][hot[i]]
                total += len(faces)
                if len(faces) and len(guesses):
                    pairs = overlap(
                        guesses[:, None].expand(-1, len(faces), 4).reshape(-1, 4),
                        faces[None].expand(len(guesses), -1, 4).reshape(-1, 4),
                    )[0]
                    found += int((pairs.view(len(guesses), len(faces)).amax(0) > 0.5).sum())
        return {"recall": found / max(total, 1), "false_cells": false / 160}


class _Follower(DetectionNet):
    """The student; while it trains, three more outputs are its features as YuNet would have them."""

    def __init__(
        self, widths: Sequence[int], blocks: Sequence[int], neck: int, expand: Sequence[int]
    ) -> None:
        super().__init__(widths, blocks, neck, expand)
        self.lessons = nn.ModuleList(nn.Conv2d(neck, YuNetFeatures.channels, 1) for _ in STRIDES)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.features(x)
        if not self.training:
            return self.predicted(features)
        copies = [lesson(y) for lesson, y in zip(self.lessons, features, strict=True)]
        return (*self.predicted(features), *copies)
