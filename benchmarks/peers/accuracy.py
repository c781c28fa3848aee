"""What answers are worth, on labelled photos: is the face found, and how far off are its points?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.sides.mesh import points_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LEAST_IOU", "Judged", "best", "five_of", "missed"]

LEAST_IOU = 0.4
"""Boxes mean different things: a detector's reaches to the hair line, the hull of 68 points to the brows."""

_OUTER_EYES = (36, 45)
# Others' names of `edgeface.labels.FER8`: human's and face-api's.
_WORDS = {
    "happy": "happiness",
    "surprised": "surprise",
    "sad": "sadness",
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
}


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes x, y, width, height."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def best(seen: dict[str, Any], box: Sequence[float]) -> dict[str, Any] | None:
    """The face that a side means by ``box``; None when it has not found it."""
    each = seen.get("each", [])
    if not each:
        return None
    chosen: dict[str, Any] = max(each, key=lambda face: iou(_extent(face), box))
    return chosen if iou(_extent(chosen), box) >= LEAST_IOU else None


def _extent(face: dict[str, Any]) -> Sequence[float]:
    """The box of a face; of one with 68 points theirs, as some give a wide crop for a box."""
    points = _points(face)
    if points is None:
        return list(face["box"])
    return [*points.min(0).tolist(), *np.ptp(points, axis=0).tolist()]


def _points(face: dict[str, Any]) -> NDArray[np.float64] | None:
    """The 68 points of a face, told as such or as vertices of a mesh; None of one without."""
    if face.get("vertices") is not None:
        return points_of(face["vertices"])
    return None if face.get("points") is None else np.asarray(face["points"], np.float64)


def missed(seen: dict[str, Any], boxes: Sequence[Sequence[float]]) -> int:
    """How many of the faces that are shown a side has not found, each by a face of its own."""
    left = list(seen.get("each", []))
    lost = 0
    for box in boxes:
        face = best({"each": left}, box)
        if face is None:
            lost += 1
        else:
            left.remove(face)
    return lost


def five_of(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middles of the eyes, tip of the nose, mouth corners, float64 [5, 2], of iBUG's 68."""
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    return np.stack([*eyes, points[30], points[48], points[54]])


@dataclass
class Judged:
    """One variant on all photos, by the photo's number; what it has not found is in none of them.

    Attributes:
        photos: How many with labelled points it was shown.
        readings: The expression that each face shows, and the one that was told; "" where none was.
        found: Which photos' faces it found.
        nme68: Mean distance of the 68 points over that of the outer eye corners, percent.
        nme5: The same of five points, in which peers that know no 68 can be compared.
    """

    photos: int = 0
    readings: list[tuple[str, str]] = field(default_factory=list)
    found: set[int] = field(default_factory=set)
    nme68: dict[int, float] = field(default_factory=dict)
    nme5: dict[int, float] = field(default_factory=dict)

    def see(self, number: int, face: dict[str, Any] | None, truth: NDArray[np.float64]) -> None:
        """Judge what was found of one photo's face, as `best` gives it."""
        self.photos += 1
        if face is None:
            return
        self.found.add(number)
        eyes = float(np.linalg.norm(truth[_OUTER_EYES[0]] - truth[_OUTER_EYES[1]]))
        five = face.get("five")
        points = _points(face)
        if points is not None:
            self.nme68[number] = _off(points, truth, eyes)
            five = five_of(points)
        if five is not None:
            self.nme5[number] = _off(np.asarray(five, np.float64), five_of(truth), eyes)

    def read(self, expression: str, scores: dict[str, float], asked: set[str]) -> None:
        """Judge what was read in a face: the likeliest of the expressions that the labels know."""
        known = {_WORDS.get(name, name): score for name, score in scores.items()}
        known = {name: score for name, score in known.items() if name in asked}
        self.readings.append((expression, max(known, key=lambda name: known[name], default="")))

    def summary(self, everyones: set[int]) -> dict[str, Any]:
        """Recall, and the errors over what it found and over ``everyones``, the faces that all have found.

        Who misses the hard faces is flattered by the first; the second is of the same faces for all.
        """

        def mean(errors: dict[int, float], of: set[int]) -> float | None:
            kept = [error for number, error in errors.items() if number in of]
            return round(float(np.mean(kept)), 3) if kept else None

        return {
            "photos": self.photos,
            "recall_percent": round(100 * len(self.found) / self.photos, 2) if self.photos else None,
            "nme68_percent": mean(self.nme68, self.found),
            "nme68_common_percent": mean(self.nme68, everyones),
            "nme5_percent": mean(self.nme5, self.found),
            "nme5_common_percent": mean(self.nme5, everyones),
            "common": len(everyones),
            **({"expression": _expression(self.readings)} if self.readings else {}),
        }


def _expression(readings: list[tuple[str, str]]) -> dict[str, float | int | None]:
    """How many of those that were told were right, and the mean of that over the expressions."""
    by_name: dict[str, list[bool]] = {}
    for shown, told in readings:
        if told:
            by_name.setdefault(shown, []).append(shown == told)
    right = [one for each in by_name.values() for one in each]
    means = [float(np.mean(each)) for each in by_name.values()]
    return {
        "photos": len(readings),
        "told": len(right),
        "percent": round(100 * float(np.mean(right)), 2) if right else None,
        "mean_of_expressions_percent": round(100 * float(np.mean(means)), 2) if right else None,
    }


def _off(points: NDArray[np.float64], truth: NDArray[np.float64], eyes: float) -> float:
    return 100 * float(np.linalg.norm(points - truth, axis=1).mean()) / eyes
