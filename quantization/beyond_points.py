"""What the landmark student says beyond its points, held against what is known: visibility, presence, pose.

- visibility under things pasted before the photos' faces: hands, masks, dark glasses and torn pieces of the
  other photos, of shapes and textures that no training draws (`augment.occlude` pastes blobs, bars and boxes,
  filled from training photos). Covered points against open ones, as the area under the ROC curve. Photos that
  look aside are left out: their heads hide points of their own, and nobody labelled which;
- visibility on rendered heads, where the renderer knows which points the head hides;
- presence of the photos' faces against that of boxes drawn into pictures without a face, and against that of
  what the detector, down to a low score, takes for a face there;
- pose of rendered heads that look at most 45 degrees aside and up and lean no farther: mean absolute error of
  yaw, pitch and roll, from the points found and from the true ones.

Faces of photos and backgrounds are given by their boxes; rendered heads are found by the detector, because
how far they lean is its to say. Seeds are fixed, and no training draws from them. Of a model that says the
same of everything, nothing is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface import BBox, Landmarks
from edgeface.pose import head_pose

from .graded import Metrics
from .metrics import area_under_roc
from .progress import progress
from .synthetic import FaceMaker, Head, SyntheticFace, box_of

if TYPE_CHECKING:
    from .evaluate import Analyzer

__all__ = ["COVERS", "Photo", "cover", "grade", "presence", "rendered_heads", "turned_heads", "visibility"]

Rgb = NDArray[np.uint8]
Mask = NDArray[np.uint8]
COVERS = ("hand", "mask", "glasses", "piece")
"""What is pasted before a face."""

_SEED = 977  # `tasks.faces` and `cutouts` draw from 68 and 69, `pose_points` from 0 and 1
_ASIDE = 20.0  # degrees of yaw up to which a head hides none of its points
_BOXES = 4  # drawn into each picture without a face
_MISTAKEN = 0.12  # least score of what the detector took for a face, as in `mistaken`
_HEADS = 120
_FRAME, _SIDE = (320, 240), 130.0  # of a rendered picture, width and height, and of the head's box in it
_SAME = 0.3  # IoU from which a found box is the head's: profiles are boxed by other rules
_WITHIN = 45.0  # degrees that the pose is judged up to
_ANGLES = ("yaw", "pitch", "roll")


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photo, RGB uint8 [H, W, 3], and a face's human points in it, float32 [68, 2]."""

    rgb: Rgb
    points: NDArray[np.float32]

    @property
    def box(self) -> BBox:
        """Where a detector would see the face."""
        return _bbox(box_of(self.points))


def grade(
    analyzer: Analyzer, detector: Analyzer, photos: Sequence[Photo], windows: Iterable[Rgb], model: Path
) -> Metrics:
    """All figures, as far as there are ``windows``, pictures without a face, and the 3D face ``model``."""
    figures = visibility(analyzer, photos) | presence(analyzer, detector, photos, windows)
    return figures | (turned_heads(analyzer, rendered_heads(model)) if model.exists() else {})


def visibility(analyzer: Analyzer, photos: Sequence[Photo]) -> Metrics:
    """AUC over the points of covered faces, of all covers and of each."""
    covered: dict[str, list[float]] = {kind: [] for kind in COVERS}
    open_: dict[str, list[float]] = {kind: [] for kind in COVERS}
    for i, photo in enumerate(progress("covered faces", photos)):
        pose = head_pose(_all_seen(photo.points))
        if pose is None or abs(pose.yaw) > _ASIDE:
            continue
        for k, kind in enumerate(COVERS):
            rng = np.random.default_rng([_SEED, 1, i, k])
            other = photos[rng.integers(len(photos))].rgb
            rgb, mask = cover(photo, rng, kind, other)
            said = _landmarks(analyzer, rgb, photo.box)
            if said is not None:
                hidden = _under(mask, photo.points)
                covered[kind] += said.visibility[hidden].tolist()
                open_[kind] += said.visibility[~hidden].tolist()
    everything = [list(chain(*told.values())) for told in (open_, covered)]
    figures = {f"visibility_auc_{kind}": _told_apart(open_[kind], covered[kind]) for kind in COVERS}
    return {
        "visibility_auc_covered": _told_apart(*everything),
        **figures,
        "points_covered": float(len(everything[1])),
    }


def presence(
    analyzer: Analyzer, detector: Analyzer, photos: Sequence[Photo], windows: Iterable[Rgb]
) -> Metrics:
    """AUC of faces against boxes drawn into ``windows``, and against what ``detector`` finds in them."""
    faces = [_presence(analyzer, photo.rgb, photo.box) for photo in photos]
    drawn, mistaken = list[float](), list[float]()
    for i, window in enumerate(progress("backgrounds", windows)):
        rng = np.random.default_rng([_SEED, 2, i])
        drawn += [_presence(analyzer, window, _any_box(rng, window)) for _ in range(_BOXES)]
        said = [face.bbox for face in detector.analyze(window).faces]
        mistaken += [_presence(analyzer, window, box) for box in said if box.score >= _MISTAKEN]
    return {
        "presence_auc": _told_apart(faces, drawn),
        "presence_auc_mistaken": _told_apart(faces, mistaken),
        "backgrounds": float(len(drawn)),
        "backgrounds_mistaken": float(len(mistaken)),
    }


@lru_cache(maxsize=1)  # int8 and float networks are shown the same
def rendered_heads(model: Path, count: int = _HEADS) -> tuple[SyntheticFace, ...]:
    """Heads of anybody in any pose before a coarse background; head i depends on i alone."""
    maker = FaceMaker(model)
    heads = []
    for i in progress("rendered heads", range(count)):
        rng = np.random.default_rng([_SEED, 3, i])
        colours = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        middle = np.array(_FRAME) / 2 + rng.uniform(-20, 20, 2)
        head = Head.draw(rng, maker.model.identities, (float(middle[0]), float(middle[1])), _SIDE)
        heads.append(maker.render(head, cv2.resize(colours, _FRAME, interpolation=cv2.INTER_CUBIC)))
    return tuple(heads)


def turned_heads(analyzer: Analyzer, heads: Sequence[SyntheticFace]) -> Metrics:
    """AUC of visibility over the heads that the detector finds, and the errors of the pose within 45 degrees.

    ``heads_found`` counts the former, ``heads_posed`` the latter.
    """
    seen, hidden, found = list[float](), list[float](), 0
    errors, at_best = list[list[float]](), list[list[float]]()
    for head in progress("turned heads", heads):
        said = _found(analyzer, head)
        if said is not None:
            found += 1
            seen += said.visibility[head.visible].tolist()
            hidden += said.visibility[~head.visible].tolist()
        truth = np.array([getattr(head.pose, name) for name in _ANGLES])
        if np.abs(truth).max() <= _WITHIN:
            at_best.append(_apart(_all_seen(head.annotated), truth))
            errors += [] if said is None else [_apart(said, truth)]
    figures = {
        "visibility_auc_turned": _told_apart(seen, hidden),
        "heads": float(len(heads)),
        "heads_found": float(found),
        "heads_posed": float(len(errors)),
    }
    for name, rows in (("pose_error", errors), ("pose_error_of_true_points", at_best)):
        if rows:
            means = np.mean(rows, axis=0)
            figures |= {name: float(means.mean())}
            figures |= {f"{name}_{angle}": float(v) for angle, v in zip(_ANGLES, means, strict=True)}
    return figures


def cover(photo: Photo, rng: np.random.Generator, kind: str, filler: Rgb) -> tuple[Rgb, Mask]:
    """The photo with one of `COVERS` before the face, and what it hides, uint8 [H, W] of 0 and 255."""
    height, width = photo.rgb.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    _SHAPES[kind](mask, rng, photo.points, photo.box.side)
    if kind == "piece":
        thing = cv2.resize(filler, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    else:
        least, most = _COLOURS[kind]
        colour = np.array(least) + (np.array(most) - least) * rng.uniform(0, 1, 1 if kind == "hand" else 3)
        thing = np.broadcast_to(colour.astype(np.float32), photo.rgb.shape)
    # Lit from one side, so that it is not of one colour.
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    down, across = rng.uniform(-0.3, 0.3, 2).astype(np.float32)
    thing = thing * (1 + down * y + across * x)[:, :, None]
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, photo.box.side / 150)).astype(np.float32)[:, :, None] / 255
    return np.clip(photo.rgb * (1 - soft) + thing * soft, 0, 255).astype(np.uint8), mask


def _hand(mask: Mask, rng: np.random.Generator, points: NDArray[np.float32], side: float) -> None:
    """A palm and four fingers."""
    palm = points[rng.integers(68)] + rng.normal(0, 0.05 * side, 2)
    reach, turn = side * rng.uniform(0.12, 0.22), rng.uniform(0, 2 * np.pi)
    cv2.circle(mask, _pixel(palm), round(reach), 255, -1)
    for finger in np.linspace(-0.6, 0.6, 4) + turn:
        tip = palm + 2.6 * reach * np.array([np.cos(finger), np.sin(finger)])
        cv2.line(mask, _pixel(palm), _pixel(tip), 255, max(1, round(0.45 * reach)), cv2.LINE_AA)


def _mask(mask: Mask, rng: np.random.Generator, points: NDArray[np.float32], side: float) -> None:
    """From jaw to jaw, up to the bridge of the nose or only to its tip."""
    top = points[28 + rng.integers(3)]
    outline = np.concatenate([points[2:15], top[None]])
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 255)
    cv2.dilate(mask, np.ones((3, 3), np.uint8), dst=mask, iterations=max(1, round(0.015 * side)))


def _glasses(mask: Mask, rng: np.random.Generator, points: NDArray[np.float32], side: float) -> None:
    """Two lenses and what joins them."""
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    apart = float(np.linalg.norm(eyes[1] - eyes[0]))
    angle = float(np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1])))
    size = apart * rng.uniform(0.55, 0.85), apart * rng.uniform(0.4, 0.6)
    for eye in eyes:
        cv2.ellipse(mask, ((float(eye[0]), float(eye[1])), size, angle), 255, -1)
    cv2.line(mask, _pixel(eyes[0]), _pixel(eyes[1]), 255, max(1, round(0.03 * side)))


def _torn(mask: Mask, rng: np.random.Generator, points: NDArray[np.float32], side: float) -> None:
    """A star of uneven rays."""
    middle = points[rng.integers(68)]
    turn = np.linspace(0, 2 * np.pi, 15)[:-1]
    reach = side * rng.uniform(0.12, 0.3) * np.where(np.arange(14) % 2, rng.uniform(0.3, 0.7, 14), 1.0)
    corners = middle + np.stack([np.cos(turn), np.sin(turn)], axis=1) * reach[:, None]
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255)


_SHAPES = dict(zip(COVERS, (_hand, _mask, _glasses, _torn), strict=True))
_COLOURS = {  # RGB from and to; of skin all three together
    "hand": ((70, 55, 45), (235, 185, 155)),
    "mask": ((60, 60, 60), (255, 255, 255)),
    "glasses": ((0, 0, 0), (70, 70, 70)),
}


def _pixel(place: NDArray[np.floating]) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def _under(mask: Mask, points: NDArray[np.float32]) -> NDArray[np.bool_]:
    at = np.clip(np.rint(points).astype(int), 0, np.array(mask.shape[::-1]) - 1)
    return mask[at[:, 1], at[:, 0]] > 127


def _any_box(rng: np.random.Generator, window: Rgb) -> BBox:
    """A square of 24 pixels up to the picture's height, somewhere in it."""
    height, width = window.shape[:2]
    side = float(np.exp(rng.uniform(np.log(24), np.log(height))))
    x, y = rng.uniform((0, 0), (width - side, height - side))
    return BBox(float(x), float(y), side, side)


def _told_apart(higher: Sequence[float], lower: Sequence[float]) -> float:
    """The area under the ROC curve; NaN where all the scores are one."""
    return area_under_roc(higher, lower) if len({*higher, *lower}) > 1 else float("nan")


def _all_seen(points: NDArray[np.float32]) -> Landmarks:
    return Landmarks(points, np.ones(68, np.float32), 1.0)


def _presence(analyzer: Analyzer, rgb: Rgb, box: BBox) -> float:
    said = _landmarks(analyzer, rgb, box)
    return 0.0 if said is None else said.presence


def _landmarks(analyzer: Analyzer, rgb: Rgb, box: BBox) -> Landmarks | None:
    faces = analyzer.analyze(rgb, boxes=[box]).faces
    return faces[0].landmarks if faces else None


def _found(analyzer: Analyzer, head: SyntheticFace) -> Landmarks | None:
    """The landmarks of the face that is found where the head is."""
    there = _bbox(head.box)
    best = max(analyzer.analyze(head.image).faces, key=lambda face: face.bbox.iou(there), default=None)
    return None if best is None or best.bbox.iou(there) < _SAME else best.landmarks


def _apart(said: Landmarks, truth: NDArray[np.float64]) -> list[float]:
    """Degrees between the pose of points and the true one; 180 where they have none."""
    pose = head_pose(said)
    if pose is None:
        return [180.0] * len(_ANGLES)
    return np.abs([getattr(pose, name) for name in _ANGLES] - truth).tolist()


def _bbox(box: NDArray[np.float32]) -> BBox:
    x, y, width, height = (float(v) for v in box)
    return BBox(x, y, width, height)
