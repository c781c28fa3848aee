"""Landmarks, visibility, presence: human points where there are any, the fitted face mesh's elsewhere.

``student.losses`` with a weight for ``kd`` asks two teachers about every crop: KD-Loss then stands in for the
wing loss on faces whose points a person or the renderer placed, and on the others the mean of both teachers'
answers for the mesh's points; ``visibility`` is the weight of what is hidden. ``student.rendered`` heads of
the 3D model make up ``rendered_share`` of the faces. A teacher's recipe has an ``encoder``; one with
``softened`` learns the shapes as a few modes see them.
``student.refined`` is the part that an earlier student, its teacher, has in the points that no person placed;
the mesh has the rest. Together they lie nearer to a person's points than either alone; on tuning images the
mesh's stay as they are.
``student.blendshapes`` adds what MediaPipe says of how a face moves (`quantization.coefficients`), of the
built-in data sets' faces; a mirrored crop is taught the answer to the mirror image, and a covered one all the
same: leaving out faces of which half is hidden changed nothing on tuning photos.
With shards alone, the 3D model says which points hide where ``student.face3d`` asks it; else nobody does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
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
from ..coefficients import load_blendshapes
from ..datasets import lfpw
from ..label import SOURCES, load_labels
from ..losses import ShapeModel, kd_loss, movement_loss, wing
from ..metrics import correlations
from ..mistaken import load_mistaken
from ..recipe import RecipeError
from ..students.blocks import say_always, say_first
from ..students.landmarks import COEFFICIENTS, LandmarkNet, MovementNet
from ..teachers.face3d import Face3D
from ..teachers.landmarks import LandmarkTeacher, ask, both_views, load_pair, load_student
from .faces import Face, piece, prepare, rendered
from .shards import Shards, faces

__all__ = ["LandmarkTask", "LandmarkTeacherTask"]

Array = NDArray[np.float32]
_FLIP = list(IBUG68.flip)
_TURNED_TO = 32.0  # degrees, of a crop that is turned, where student.turned_to does not say
_TOLD = 0.3  # weight of the visibility where student.losses does not say
_MOVED = 3.0  # weight of the blendshapes where student.losses does not say
_COVER = (0.06, 0.26)  # radius of what is pasted before a face, in sides of the crop
_CALIBRATION = 3  # seed
_VISIBLE = 2.0  # logit of a visibility that nothing taught: every point is said to be seen
_LEAST_BACKGROUND = 32  # pixels, of the shorter side of what is around a face
_OFFSET_OF = 500  # faces of shards that an offset is the mean of
_BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)
_SIDE = 0.8  # of a rendered head's box, in crops: a crop then has a pixel for each of its own


class LandmarkTask:
    """Crops as the runtime will make them, jittered; the 3D face and occluders say which points hide."""

    def __init__(self, data: Path, labels: Path, recipe: Mapping[str, Any]) -> None:
        self._recipe = recipe
        self._size = int(recipe["size"])
        self._train: list[Face] = []
        self._validation: list[Face] = []
        self._humans: list[Face] = []
        self._movement = float(recipe.get("losses", {}).get("blendshapes", _MOVED))
        self._movement *= bool(recipe.get("blendshapes"))
        self._head = data / "face3d" / "ict_face_model_light.npz"
        own: Shards | None = recipe.get("shards")
        self._backgrounds: list[tuple[NDArray[np.uint8], Array]] = []
        self._mistaken: list[tuple[NDArray[np.uint8], Array]] = []
        self._weights, shapes = np.zeros(0), np.zeros((0, 68, 2), np.float32)
        if own is None or own.share < 1:
            self._weights = self._load(data, labels, Face3D(self._head))
            shapes = self._human_shapes(labels)
            self._backgrounds = self._find_backgrounds(data, labels)
        if own is not None:
            shapes = np.concatenate([shapes, self._add(own)])
        self._mean = np.mean(shapes, axis=0).astype(np.float32)
        if recipe.get("softened"):
            self._soften(shapes, float(recipe["softened"]))
        self._kd = float(recipe.get("losses", {}).get("kd", 0.0))
        self._visibility = float(recipe.get("losses", {}).get("visibility", _TOLD))
        asked = recipe.get("asked") or {}
        self._usual = self._usual_movement() if self._movement else ()
        self._pair = load_pair(asked, recipe["crop"]) if self._kd and asked else None
        if asked and (part := float(recipe.get("refined", 0.0))):
            self._refine(load_student(asked, self._size, recipe["crop"]), part)

    def _load(self, data: Path, labels: Path, face3d: Face3D) -> NDArray[np.float64]:
        """Fills the lists of faces; returns how often each training face is drawn, of sum 1."""
        recipe, weights = self._recipe, []  # type: Mapping[str, Any], list[float]
        for source in SOURCES:
            found = load_labels(labels, source.split)
            share = float(recipe["share"].get(source.split, 0.0))
            moves = self._movements(labels, source.split) if share or source.split == "lfpw" else {}
            rows = [
                i
                for i in range(len(found.names))
                if found.trust[i] > 0.9 and (share or source.split == "lfpw")
            ]
            drawn: list[float] = []
            for i in rows:
                if found.parts[i] == "validation" and source.split not in recipe.get("also_validation", ()):
                    continue  # grades, this task or another, and nothing else
                rgb = lfpw.load_photo(data / source.folder, str(found.names[i]))
                yaw, pitch, _ = face3d.pose(found.points[i])
                human = source.split == "lfpw"
                face = prepare(rgb, found.boxes[i], found.points[i], face3d.visible(yaw, pitch), known=human)
                if human:
                    self._humans.append(face)
                    # The annotation, minus one, lies half a pixel right of what its mirror image says: it
                    # counts from pixels' edges. Taught as it is, the mirrored faces would contradict it.
                    shifted = found.points[i] - np.array([0.5, 0.0], np.float32)
                    face = prepare(rgb, found.boxes[i], shifted, face.visible, known=True)
                face = replace(face, movement=moves.get(i))
                if found.parts[i] == "tuning":
                    self._validation.append(face)
                elif share:
                    self._train.append(face)
                    drawn.append(1 + abs(yaw) / 20)  # turned heads are rare and hard: drawn more often
            weights += [share * w / sum(drawn) for w in drawn]
        return np.array(weights) / sum(weights)

    def _movements(self, labels: Path, split: str) -> dict[int, Array]:
        """Row of the labels -> blendshapes float32 [2, 43]; empty where the student does not learn them."""
        if not self._movement:
            return {}
        said = load_blendshapes(labels, split)
        return {int(i): values for i, values in enumerate(said.labels()) if said.known[i]}

    def _human_shapes(self, labels: Path) -> Array:
        """LFPW's points of the training part, [N, 68, 2] in crops."""
        humans = load_labels(labels, "lfpw")
        return np.stack(
            [
                self._canonical(humans.points[i], humans.boxes[i])
                for i in range(len(humans.names))
                if humans.parts[i] == "train"
            ]
        )

    def _add(self, own: Shards) -> Array:
        """Takes the faces of shards in, and what lies around them; returns the shapes that train."""
        asked = own.share < 1 or self._recipe.get("face3d")
        train, held = faces(own, Face3D(self._head) if asked else None)
        self._weights = np.concatenate(
            [self._weights * (1 - own.share), np.full(len(train), own.share / len(train))]
        )
        self._train, self._validation = [*self._train, *train], [*self._validation, *held]
        self._backgrounds += [
            (f.image, f.box[None]) for f in train if min(f.image.shape[:2]) > _LEAST_BACKGROUND
        ]
        pointed = [face for face in train if face.pointed]
        if own.share == 1:
            self._humans = pointed[:: 1 + len(pointed) // _OFFSET_OF]
        return np.stack([self._canonical(face.points, face.box) for face in pointed])

    def _usual_movement(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each coefficient over the faces as they are drawn, float32 [43].

        Raises:
            RecipeError: The teacher knows of no face that trains how it moves.
        """
        rows = [i for i, face in enumerate(self._train) if face.movement is not None]
        if not rows:
            raise RecipeError("student.blendshapes: no face that trains has any; leave it out")
        values = np.stack([self._train[i].movement for i in rows])  # type: ignore[misc]  # none is None
        weights = np.repeat(self._weights[rows], 2)
        both = values.reshape(-1, COEFFICIENTS).astype(np.float64)
        mean = np.average(both, axis=0, weights=weights)
        scatter = np.sqrt(np.average((both - mean) ** 2, axis=0, weights=weights))
        return torch.from_numpy(mean).float(), torch.from_numpy(scatter).float()

    def _soften(self, shapes: Array, explained: float) -> None:
        """Puts the training faces' points where the modes that explain so much of ``shapes`` see them."""
        mirrored = shapes[:, _FLIP] * (-1, 1) + (1, 0)
        modes = ShapeModel.fit(np.concatenate([shapes, mirrored]), explained=explained)
        self._train = [
            replace(face, points=modes.soften(face.points[None])[0].astype(np.float32))
            if face.pointed
            else face
            for face in self._train
        ]

    def _refine(self, teacher: LandmarkNet, part: float) -> None:
        """Moves the points that no person placed by ``part`` of the way to the teacher's."""
        for i, face in enumerate(self._train):
            if face.known or not face.pointed:
                continue
            crop, matrix = self._upright(face)
            found = both_views(teacher, crop[None], self._mean)[0] * self._size - 0.5
            found = (found - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
            points = face.points + part * (found - face.points)
            self._train[i] = replace(face, points=points.astype(np.float32))

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
            crop, matrix = self._upright(face)
            image = (torch.from_numpy(crop).permute(2, 0, 1)[None].float() - 128) / 128
            truth = (face.points @ matrix[:, :2].T + matrix[:, 2] + 0.5) / self._size
            apart.append(truth - self._mean - network(image)[0].view(68, 2).numpy())
        return np.mean(apart, axis=0).astype(np.float32)

    def network(self) -> nn.Module:
        network = LandmarkNet.of(self._recipe)
        if isinstance(network, MovementNet) and self._usual:
            say_first(network.blendshapes, torch.logit(self._usual[0], 1e-4).tolist())
        return self._untaught(network)

    def _untaught(self, network: LandmarkNet | LandmarkTeacher) -> nn.Module:
        """The network; where no face says what is hidden, its visibility is the same for every face."""
        if not any(face.told for face in self._train) and not self._recipe.get("rendered"):
            say_always(network.visibility, [_VISIBLE] * 68)
        return network

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

    def _upright(self, face: Face) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """The crop RGB uint8 [S, S, 3] as the runtime makes it, and the matrix [2, 3] into it."""
        matrix = self._matrix(*self._crop(face.box), 0.0)
        return cv2.warpAffine(face.image, matrix, (self._size, self._size)), matrix

    def _find_backgrounds(self, data: Path, labels: Path) -> list[tuple[NDArray[np.uint8], Array]]:
        """LFPW training photos with every box a face might be in."""
        root = data / "landmarks/lfpw/trainset"
        human = load_labels(labels, "lfpw")
        with np.load(labels / "lfpw_faces.npz") as faces:
            names, boxes = faces["names"], faces["boxes"]
        train = sorted({str(n) for n, p in zip(human.names, human.parts, strict=True) if p == "train"})
        if self._recipe.get("mistaken"):
            found = load_mistaken()
            self._mistaken = [(lfpw.load_photo(root, n), found[n]) for n in train if n in found]
        return [(lfpw.load_photo(root, n), boxes[names == n]) for n in train[::2]]

    @cached_property
    def _rendered(self) -> list[Face]:
        """Made when the first is drawn: a minute for a thousand, which packing and grading need not wait."""
        photos = [photo for photo, _ in self._backgrounds]
        return rendered(self._head, photos, int(self._recipe["rendered"]), round(_SIDE * self._size))

    def _draw(self, rng: np.random.Generator) -> Face:
        if self._recipe.get("rendered") and rng.random() < float(self._recipe["rendered_share"]):
            return self._rendered[rng.integers(len(self._rendered))]
        return self._train[rng.choice(len(self._train), p=self._weights)]

    def _face_sample(
        self, rng: np.random.Generator, face: Face
    ) -> tuple[NDArray[np.uint8], Array, Array, Array | None]:
        """A crop, its points in crops [68, 2], which are seen, 1 or 0 [68], and its blendshapes [43]."""
        centre, side = self._crop(face.box)
        centre = centre + np.clip(rng.normal(0, 0.05, 2), -0.14, 0.14) * side
        side *= float(np.exp(np.clip(rng.normal(0, 0.1), -0.25, 0.25)))
        most = float(self._recipe.get("turned_to", _TURNED_TO))
        angle = (
            float(rng.uniform(-most, most))
            if rng.random() < float(self._recipe["turned"])
            else float(rng.normal(0, 8))
        )
        matrix = self._matrix(centre, side, angle)
        border = _BORDERS[rng.integers(3)]
        crop = cv2.warpAffine(
            face.image, matrix, (self._size, self._size), flags=cv2.INTER_LINEAR, borderMode=border
        )
        points = face.points @ matrix[:, :2].T + matrix[:, 2]
        visible, movement = face.visible, face.movement
        shown = None if movement is None else movement[0]
        if rng.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
            points, visible = points[_FLIP], visible[_FLIP]
            points[:, 0] = self._size - 1 - points[:, 0]
            shown = None if movement is None else movement[1]
        seen = visible.astype(np.float32)
        covered = float(self._recipe["covered"])
        for _ in range(int(rng.choice([0, 1, 2], p=[1 - covered, 0.7 * covered, 0.3 * covered]))):
            crop, mask = augment.occlude(crop, rng, self._filler(rng), _COVER)
            at = np.clip(points.round().astype(int), 0, self._size - 1)
            seen[mask[at[:, 1], at[:, 0]] > 127] = 0
        inside = ((points > -0.5) & (points < self._size - 0.5)).all(1)
        seen[~inside] = 0
        return crop, ((points + 0.5) / self._size).astype(np.float32), seen, shown

    def calibration(self, count: int) -> Iterator[NDArray[np.float32]]:
        """Training crops as the runtime makes them: float32 [S, S, 3] in [-1, 127/128].

        Each once more behind something, where the student learns from such: ranges of open faces alone cut
        off what a network says of hidden points (shipped student: visibility of what is covered, AUC 0.84
        instead of 0.89 on training photos).
        """
        for number, face in enumerate(self._train[:: max(1, len(self._train) // count)]):
            crop, _ = self._upright(face)
            yield (crop.astype(np.float32) - 128) / 128
            if self._recipe["covered"]:
                rng = np.random.default_rng([_CALIBRATION, number])
                covered, _ = augment.occlude(crop, rng, self._filler(rng), _COVER)
                yield (covered.astype(np.float32) - 128) / 128

    def _filler(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        return piece(self._backgrounds[rng.integers(len(self._backgrounds))][0], rng, self._size)

    def _no_face(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A background, what a detector took for a face, or one so far off that tracking must let it go."""
        if self._mistaken and rng.random() < float(self._recipe["mistaken"]):
            photo, boxes = self._mistaken[rng.integers(len(self._mistaken))]
            centre, side = self._crop(boxes[rng.integers(len(boxes))])
            centre = (centre + rng.normal(0, 0.05, 2) * side).astype(np.float32)
            matrix = self._matrix(centre, side * float(np.exp(rng.normal(0, 0.1))), float(rng.normal(0, 8)))
            border, size = _BORDERS[rng.integers(3)], (self._size, self._size)
            crop = cv2.warpAffine(photo, matrix, size, borderMode=border)
            return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop
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
        known = np.zeros(size, np.bool_)
        pointed, told = np.ones(size, np.float32), np.ones(size, np.float32)
        movement, moved = np.zeros((size, COEFFICIENTS), np.float32), np.zeros(size, np.float32)
        for i in range(size):
            if rng.random() < float(self._recipe["negatives"]):
                crop, present[i] = self._no_face(rng), 0
            else:
                face = self._draw(rng)
                crop, points[i], seen[i], shown = self._face_sample(rng, face)
                if shown is not None:
                    movement[i], moved[i] = shown, 1
                known[i], pointed[i], told[i] = face.known, face.pointed, face.told
            crop = augment.degrade(crop, rng, float(self._recipe["strength"]))
            images[i] = augment.damage(crop, rng, self._recipe.get("damage", {}))
        batch = {
            "image": (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 128) / 128,
            "points": torch.from_numpy(points - self._mean),
            "seen": torch.from_numpy(seen),
            "present": torch.from_numpy(present),
            "pointed": torch.from_numpy(pointed),
            "told": torch.from_numpy(told),
        }
        if self._movement:
            batch |= {"movement": torch.from_numpy(movement), "moved": torch.from_numpy(moved)}
        if not self._kd:
            return batch
        if self._pair is None:
            raise RecipeError("student.losses.kd asks two teachers, and none was given")
        # Here and not in the loss: batches are made ahead, beside the training.
        return ask(self._pair, batch, torch.from_numpy(known))

    def loss(
        self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Wing loss (Feng et al., 2018) on points in crops, cross-entropy on visibility and presence.

        With teachers KD-Loss instead of the wing loss, on the faces whose points are known. What nobody said
        of a face has no part in it.
        """
        points, seen, present, *movement = (o.flatten(1) for o in outputs)
        points, face = points.view(-1, 68, 2), batch["present"]
        error = (points - batch["points"]).norm(dim=2)
        hidden = 1 - 0.5 * (1 - batch["seen"])  # a hidden point is taught, with less insistence
        known = face * batch["known"] if self._kd else torch.zeros_like(face)
        # With teachers, their answers are the points of a face that has none.
        pointed = face if self._kd else face * batch["pointed"]
        count = pointed.sum().clamp(min=1)
        shape = ((wing(error) * hidden).mean(1) * (pointed - known)).sum() / count
        terms = {}
        if self._kd:
            found = kd_loss(
                points, batch["tough"], batch["tolerant"], batch["points"], hidden * known[:, None]
            )
            shape = shape + self._kd * found.total * known.sum() / count
            terms = {"kd": found.total.item()}
        visibility = functional.binary_cross_entropy_with_logits(seen, batch["seen"], reduction="none")
        told = face * batch["told"]
        visibility = (visibility.mean(1) * told).sum() / told.sum().clamp(min=1)
        presence = functional.binary_cross_entropy_with_logits(present[:, 0], face)
        total = 20 * shape + self._visibility * visibility + 0.3 * presence
        terms |= {"shape": shape.item(), "visibility": visibility.item(), "presence": presence.item()}
        if self._movement:
            moved = movement_loss(movement[0], batch["movement"], *self._usual, batch["moved"])
            total = total + self._movement * moved
            terms["blendshapes"] = moved.item()
        return total, terms

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """NME by the outer eye corners on the tuning images, against the teacher's points.

        With blendshapes also how well they go with the teacher's: Pearson's correlation over the faces, the
        mean of the coefficients.
        """
        network.eval()
        errors, moves = [], []
        for face in (face for face in self._validation if face.pointed):
            crop, matrix = self._upright(face)
            image = (torch.from_numpy(crop).permute(2, 0, 1)[None].float() - 128) / 128
            said = network(image)
            guess = (said[0].view(68, 2).numpy() + self._mean) * self._size - 0.5
            truth = face.points @ matrix[:, :2].T + matrix[:, 2]
            errors.append(
                np.linalg.norm(guess - truth, axis=1).mean() / np.linalg.norm(truth[36] - truth[45])
            )
            if face.movement is not None:
                moves.append((torch.sigmoid(said[3]).flatten().numpy(), face.movement[0]))
        figures = {"nme": float(np.mean(errors))}
        if moves:
            guessed, taught = (np.stack(column) for column in zip(*moves, strict=True))
            figures["blendshapes"] = float(np.nanmean(correlations(guessed, taught)))
        return figures


class LandmarkTeacherTask(LandmarkTask):
    """The same lessons for a teacher; ``encoder`` names the ImageNet classifier it starts from."""

    def network(self) -> nn.Module:
        imagenet = self._recipe["teachers"] / self._recipe["encoder"]
        network = LandmarkTeacher(self._size, self._recipe["widths"], int(self._recipe["code"]), imagenet)
        return self._untaught(network)
