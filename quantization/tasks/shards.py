"""What labelled shards give each task: from their samples to the faces, scenes, maps and crops that it holds.

A recipe names them, and so needs no other data::

    [data]
    shards = ["runs/labelled"]  # folders of .tar files, or files, of `label --shards` or `shard`
    validation = 0.1  # held out: this share of the samples, by the hash of their names
    share = 1.0  # of what is drawn; what is left comes from the built-in data sets
    lossy = true  # maps may be converted to the scheme of deploy.labels with loss
    agreement = (
        0.8  # what several teachers (`label --shards --teacher A --teacher B`) agree less about is left out
    )

A sample that was published as part of a test or validation set is held out too. One without the label of the
task is left out and counted; one with some of it serves what it has: a face without points teaches that a
face is there, a face whose visibility nobody knows teaches its points, a picture that tells of one face (and
not who else is there) gives that face to be pasted into others. What is missing is masked, never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface import EdgeFaceError
from edgeface.geometry import crop_similarity, warp
from edgeface.labels import BLENDSHAPES52, FER8, conversion, parsing_scheme

from ..cutouts import Cutout, Pyramid, bystanders
from ..datasets import DataSetError, Sample, open_dataset
from ..datasets.points import CONVERTIBLE, to_ibug68
from ..datasets.sample import AGREEMENT
from ..datasets.shards import held_out
from ..progress import progress
from ..recipe import shards_held_out, shards_of, shards_share
from ..scenes import Photo, Stock
from ..teachers.blendshapes import LIVE
from ..teachers.face3d import Face3D
from .faces import Face, prepare

__all__ = ["Shards", "box_of", "expressions", "faces", "five_points", "maps", "stock"]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Map = tuple[Image, Image, Array]  # picture, label map, face box
_T = TypeVar("_T")

_LIFT = 0.36  # of 68 points' height: how far YuNet's box reaches above them (median of 804 photos of LFPW)
_LONGEST = 640  # side kept of a picture with all its faces
_REACH, _FACE = 1.5, 200  # of a picture with a map: what is kept around the face, in its sides; its side
_LEAST = 20  # pixels, of a head that is cut out
_SURE, _DOUBTFUL = 1.0, 0.3  # scores of a box that was given, and of one that the data set calls invalid
_FEATURES = frozenset(
    ("skin", "nose", "l_brow", "r_brow", "l_eye", "r_eye", "mouth", "u_lip", "l_lip", "lips", "teeth")
)


@dataclass(slots=True)
class Shards:
    """The shards of a recipe, and what was found when they were last read.

    Attributes:
        roots: Folders of shards, or shards.
        validation: Share of the samples that is held out.
        share: How much of what is drawn comes from here.
        lossy: Whether maps may lose something when they are converted.
        agreement: Least agreement of several teachers about a sample that trains.
        told: What was read, left out and broken, a line each.
    """

    roots: tuple[Path, ...]
    validation: float
    share: float = 1.0
    lossy: bool = False
    agreement: float = 0.0
    told: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> Shards | None:
        """Those that a recipe names; None where it names none."""
        roots = shards_of(recipe)
        if not roots:
            return None
        data = recipe["data"]
        rules = bool(data.get("lossy", False)), float(data.get("agreement", 0.0))
        return cls(roots, shards_held_out(recipe), shards_share(recipe), *rules)

    def _doubted(self, sample: Sample, task: str) -> bool:
        """Whether its teachers agree too little; a person's label, or one teacher's, nobody contradicts."""
        agreement = sample.attributes.get(f"{AGREEMENT}{task}", 1.0)
        return isinstance(agreement, float) and agreement < self.agreement

    def read(self, task: str, make: Callable[[Sample, Image], _T | str]) -> tuple[list[_T], list[_T]]:
        """What trains and what is held out; ``make`` says what a sample gives, or in words what it lacks.

        Raises:
            DataSetError: There are no shards, too much of them is broken, or nothing is left for a part.
        """
        parts: tuple[list[_T], list[_T]] = ([], [])
        lacking, broken = Counter[str](), list[str]()
        for root in self.roots:
            data = open_dataset("webdataset", root)
            for sample, rgb in progress(f"{task}: {root}", data.decoded(), data.count()):
                grades = held_out(sample, self.validation)
                doubted = not grades and self._doubted(sample, task)
                found = f"its teachers agree less than {self.agreement:g}" if doubted else make(sample, rgb)
                if isinstance(found, str):
                    lacking[found] += 1
                else:
                    parts[grades].append(found)
            broken += [str(fault) for fault in data.faults]
        reasons = [f"{count} left out: {lack}" for lack, count in sorted(lacking.items())]
        counts = f"{task}: {len(parts[0])} samples train, {len(parts[1])} are held out"
        self.told = [counts, *reasons, *(f"broken: {fault}" for fault in broken)]
        if not all(parts):
            named = ", ".join(map(str, self.roots))
            raise DataSetError(
                f"{named}: too little to learn {task} from ({'; '.join([counts, *reasons])}): label more "
                "pictures, by a teacher of this task, or write another data.validation"
            )
        return parts


# -- the face of a sample --------------------------------------------------------------------------------


def box_of(sample: Sample) -> Array | None:
    """The box float32 [4] of the face that the sample's labels are of; None where it does not say.

    It is the one that `label --shards` noted, the only one, or the one that holds the points; else it is read
    off the points or the map: where YuNet's box would be around them.
    """
    noted = sample.attributes.get("face")
    if isinstance(noted, tuple) and len(noted) == 4:
        return np.array(noted, np.float32)
    boxes = _valid(sample)[0]
    if len(boxes) == 1:
        return boxes[0]
    if sample.points is not None and sample.points_scheme in CONVERTIBLE:
        points = to_ibug68(sample.points, sample.points_scheme)
        middle = points.mean(0)
        around = (boxes[:, :2] < middle) & (middle < boxes[:, :2] + boxes[:, 2:])
        return boxes[around.all(1)][0] if around.all(1).any() else _around(points)
    return None if sample.mask is None else _around_map(sample.mask, sample.mask_scheme)


def five_points(sample: Sample) -> Array:
    """Eyes, nose and corners of the mouth [5, 2], as seen in the picture; NaN where nobody says."""
    if sample.points is None or sample.points_scheme not in CONVERTIBLE:
        return np.full((5, 2), np.nan, np.float32)
    points = to_ibug68(sample.points, sample.points_scheme)
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    return np.stack([*eyes, points[30], points[48], points[54]]).astype(np.float32)


def _valid(sample: Sample) -> tuple[Array, Array]:
    """The boxes [F, 4] that have an area, and their scores [F]."""
    boxes = np.zeros((0, 4), np.float32) if sample.boxes is None else sample.boxes
    scores = np.full(len(boxes), _SURE, np.float32)
    invalid = sample.attributes.get("invalid")
    if isinstance(invalid, tuple) and len(invalid) == len(boxes):
        scores[np.array(invalid, np.bool_)] = _DOUBTFUL
    solid = (boxes[:, 2:] > 0).all(1)
    return boxes[solid], scores[solid]


def _around(points: Array) -> Array | None:
    low, size = points.min(0), np.ptp(points, 0)
    lift = _LIFT * size[1]
    return None if size.min() < 1 else np.array([low[0], low[1] - lift, size[0], size[1] + lift], np.float32)


def _around_map(mask: Image, scheme: str) -> Array | None:
    names = parsing_scheme(scheme).names
    wanted = [i for i, name in enumerate(names) if name in _FEATURES] or list(range(1, len(names)))
    rows, columns = np.nonzero(np.isin(mask, wanted))
    if not len(rows) or np.ptp(rows) < 1 or np.ptp(columns) < 1:
        return None
    return np.array([columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1], np.float32)


# -- a task's lessons ------------------------------------------------------------------------------------


def faces(shards: Shards, head: Face3D | None) -> tuple[list[Face], list[Face]]:
    """Of landmarks: the faces that train and those held out; ``head`` says what it hides of their points.

    Raises:
        DataSetError: As `Shards.read`; or no face of a part has points.
    """

    def make(sample: Sample, rgb: Image) -> Face | str:
        box = box_of(sample)
        if box is None:
            return "it does not say where the face is"
        if not _touches(box, rgb):
            return "the face is outside of the picture"
        return replace(_placed(sample, rgb, box, head), movement=_movement(sample))

    parts = shards.read("landmarks", make)
    bare = [sum(not face.pointed for face in part) for part in parts]
    if any(count == len(part) for count, part in zip(bare, parts, strict=True)):
        raise DataSetError(
            f"{', '.join(map(str, shards.roots))}: no face that {'trains' if bare[0] else 'is held out'} has "
            f"points of {' or '.join(CONVERTIBLE)}: label them by a teacher of landmarks"
        )
    if any(bare):
        shards.told.append(f"{sum(bare)} of them have a face and no points: they teach that it is there")
    if unsaid := sum(not face.told for part in parts for face in part if face.pointed):
        shards.told.append(f"{unsaid} of them do not say which points are hidden: they teach points alone")
    return parts


def _placed(sample: Sample, rgb: Image, box: Array, head: Face3D | None) -> Face:
    """The face with what is said of its points; ``head`` says what it hides of them, where nobody does."""
    human, nothing = "teacher" not in sample.attributes, np.zeros(68, np.bool_)
    if sample.points is None or sample.points_scheme not in CONVERTIBLE:
        return prepare(rgb, box, np.zeros((68, 2), np.float32), nothing, False).without_points()
    points = to_ibug68(sample.points, sample.points_scheme)
    if sample.visible is not None:
        visible = to_ibug68(sample.visible.astype(np.float32), sample.points_scheme) > 0
    elif head is not None:
        visible = head.visible(*head.pose(points)[:2])
    else:
        return prepare(rgb, box, points, nothing, human).without_visibility()
    return prepare(rgb, box, points, visible, human)


def _movement(sample: Sample) -> Array | None:
    """The live blendshapes of the picture and of its mirror image [2, 43]; None where one is not known."""
    told, known = sample.blendshapes, sample.blendshapes_known
    if told is None or (known is not None and not known[LIVE].all()):
        return None
    return np.stack([told[LIVE], told[list(BLENDSHAPES52.flip)][LIVE]]).astype(np.float32)


def maps(shards: Shards, scheme: str) -> tuple[list[Map], list[Map]]:
    """Of parsing: what trains and what is held out, with maps of ``scheme`` (255: unknown).

    Raises:
        DataSetError: As `Shards.read`.
    """

    def make(sample: Sample, rgb: Image) -> Map | str:
        if sample.mask is None:
            return "no map"
        try:
            rule = conversion(sample.mask_scheme, scheme)
        except EdgeFaceError:
            return f"a map of {sample.mask_scheme}, of which none of {scheme} can be made"
        if not rule.lossless and not shards.lossy:
            return f"a map of {sample.mask_scheme} loses something as {scheme} (write data.lossy = true)"
        box = box_of(sample)
        if box is None or not _touches(box, rgb):
            return "it does not say where the face is"
        table = np.full(256, 255, np.uint8)
        table[: len(rule.table())] = rule.table()
        return _piece(rgb, table[sample.mask], box)

    return shards.read("parsing", make)


def expressions(shards: Shards, crop: Mapping[str, Any]) -> Iterator[tuple[Image, Array]]:
    """Of expression, first what trains, then what is held out: crops uint8 [N, 48, 48], targets [N, 8].

    The targets are taggers' or a teacher's votes, in shares; of a class alone all of it.

    Raises:
        DataSetError: As `Shards.read`.
    """

    def make(sample: Sample, rgb: Image) -> tuple[Image, Array] | str:
        target = _votes(sample)
        if target is None:
            return "no clear expression"
        box = box_of(sample)
        if box is None and sample.boxes is not None and len(sample.boxes):
            return "several faces, and it does not say whose expression it is"
        if box is None:
            box = np.array([-0.5, -0.5, rgb.shape[1], rgb.shape[0]], np.float32)
        if not _touches(box, rgb):
            return "the face is outside of the picture"
        side = float(max(box[2:]))
        middle = box[:2] + box[2:] / 2 + np.array(crop["shift"]) * side
        view = crop_similarity(middle.tolist(), float(crop["scale"]) * side, 0.0, 48, 48)
        return cv2.cvtColor(warp(rgb, view, (48, 48)), cv2.COLOR_RGB2GRAY), target

    for part in shards.read("expression", make):
        yield np.stack([image for image, _ in part]), np.stack([target for _, target in part])


def _votes(sample: Sample) -> Array | None:
    """Shares of the eight classes [8]; None where most say "unknown" or "not a face", or nobody anything."""
    if sample.votes is None:
        return None if sample.expression is None else np.eye(len(FER8), dtype=np.float32)[sample.expression]
    votes = sample.votes
    if not votes.sum() > 0 or int(votes.argmax()) >= len(FER8):
        return None
    return votes[: len(FER8)] / votes[: len(FER8)].sum()


def stock(shards: Shards) -> tuple[Stock, Stock]:
    """Of detection: what the scenes that train and those that are held out are made of.

    Raises:
        DataSetError: As `Shards.read`; or no picture of a part tells of all its faces.
    """

    def make(sample: Sample, rgb: Image) -> tuple[Photo | None, list[Cutout]] | str:
        if sample.boxes is None:
            return "no boxes"
        boxes, scores = _valid(sample)
        points = np.full((len(boxes), 5, 2), np.nan, np.float32)
        if len(boxes) == 1:
            points[0] = five_points(sample)
        scale = min(1.0, _LONGEST / max(rgb.shape[:2]))
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
        boxes = np.concatenate([(boxes[:, :2] + 0.5) * scale - 0.5, boxes[:, 2:] * scale], 1)
        points = (points + 0.5) * scale - 0.5
        inside = np.array([_touches(box, small) for box in boxes], np.bool_)
        heads = inside & (scores >= _SURE) & (boxes[:, 3] >= _LEAST)
        easy = np.zeros(len(boxes), np.float32)
        cutouts = bystanders(small, boxes[heads], points[heads], easy[heads])
        if not _tells_of_all(sample):
            return (None, cutouts) if cutouts else "one face, too small to be cut out"
        return Photo(Pyramid.of(small), boxes, scores, points, easy), cutouts

    found = []
    for part in shards.read("detection", make):
        photos = [photo for photo, _ in part if photo is not None]
        with_faces = [photo for photo in photos if (photo.scores >= _SURE).any()]
        heads = [cutout for _, cutouts in part for cutout in cutouts]
        if not with_faces or not heads:
            raise DataSetError(
                f"{', '.join(map(str, shards.roots))}: {len(with_faces)} pictures tell of all their faces "
                f"and {len(heads)} faces are {_LEAST} pixels high, in a part of {len(part)}: label more by a "
                "detector"
            )
        empty = [photo for photo in photos if not (photo.scores >= _SURE).any()]
        found.append(Stock(with_faces, empty, heads))
    return found[0], found[1]


def _tells_of_all(sample: Sample) -> bool:
    """Whether the boxes are those of everybody in the picture, and not of the face with another label."""
    if "faces" in sample.attributes:
        return sample.attributes["faces"] == "all"
    return all(v is None for v in (sample.points, sample.mask, sample.expression, sample.votes))


def _touches(box: Array, rgb: Image) -> bool:
    """Whether the box's middle lies in the picture, and it has a few pixels."""
    middle = box[:2] + box[2:] / 2
    return bool((middle > -0.5).all() and (middle < (rgb.shape[1], rgb.shape[0])).all() and box[2:].min() > 2)


def _piece(rgb: Image, mask: Image, box: Array) -> Map:
    """The face with what a crop reaches around it, no larger than needed."""
    side, middle = float(max(box[2:])), box[:2] + box[2:] / 2
    low = np.maximum(np.floor(middle - _REACH * side), 0).astype(int)
    high = np.minimum(np.ceil(middle + _REACH * side), rgb.shape[1::-1]).astype(int)
    rows, columns = slice(low[1], high[1]), slice(low[0], high[0])
    scale = min(1.0, _FACE / side)
    size = (max(1, round((high[0] - low[0]) * scale)), max(1, round((high[1] - low[1]) * scale)))
    small = cv2.resize(rgb[rows, columns], size, interpolation=cv2.INTER_AREA)
    classes = cv2.resize(mask[rows, columns], size, interpolation=cv2.INTER_NEAREST)
    corner = (box[:2] - low + 0.5) * scale - 0.5
    return small, classes, np.concatenate([corner, box[2:] * scale]).astype(np.float32)
