"""Faces whose every movement is known, and an analyzer that sees them as a real one would: with noise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeface.frame import Frame
from edgeface.labels import FER8
from edgeface.pose import _HEAD
from edgeface.results import BBox, Expression, Face, FrameResult, Landmarks

SECOND = 1_000_000_000
SIZE = (640, 480)
_READABLE = 25.0  # degrees between a crop and the face in it


@dataclass(frozen=True)
class Person:
    """`at` gives the centre of the face for a time in seconds; `side` is the height of its box, pixels.

    `lean` is how far it leans, degrees; `hidden` says when nothing of it can be seen; `missed` when the
    detector alone does not see it; `smile` how happy it looks.
    """

    at: Callable[[float], tuple[float, float]]
    side: float = 100.0
    hidden: Callable[[float], bool] = lambda seconds: False
    missed: Callable[[float], bool] = lambda seconds: False
    lean: Callable[[float], float] = lambda seconds: 0.0
    smile: Callable[[float], float] = lambda seconds: 0.0

    def box(self, seconds: float) -> BBox:
        x, y = self.at(seconds)
        return BBox(x - 0.4 * self.side, y - 0.5 * self.side, 0.8 * self.side, self.side, 0.9)

    def points(self, seconds: float) -> NDArray[np.float64]:
        flat = _HEAD[:, :2] * (0.3 * self.side, -0.3 * self.side)
        turn = np.radians(self.lean(seconds))
        flat = flat @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        return flat + self.at(seconds)


class Crowd:
    """An analyzer of these people; `calls` holds "detect" or the number of boxes of every call.

    `read` holds the times at which it was asked for expressions.

    As the real one, it reads no points in a crop that is turned otherwise than the face.
    """

    def __init__(self, people: Sequence[Person], noise: float = 0.0, points: bool = True) -> None:
        self.people, self.noise, self.with_points = list(people), noise, points
        self.calls: list[str | int] = []
        self.read: list[float] = []
        self._rng = np.random.default_rng(5)

    def analyze(
        self,
        frame: Frame,
        boxes: Sequence[BBox] | None = None,
        rolls: Sequence[float | None] | None = None,
        *,
        skip: Collection[str] = (),
    ) -> FrameResult:
        seconds = frame.timestamp_ns / SECOND
        if "expression" not in skip:
            self.read.append(seconds)
        self.calls.append("detect" if boxes is None else len(boxes))
        shown = [person for person in self.people if self._in_sight(person, seconds)]
        faces = []
        if boxes is None:
            for person in shown:
                if not person.missed(seconds):
                    box, shift = person.box(seconds), self._rng.normal(0, self.noise, 2)
                    faces.append(
                        self._face(replace(box, x=box.x + shift[0], y=box.y + shift[1]), person, seconds)
                    )
        else:
            leans = rolls or [None] * len(boxes)
            for box, lean in zip(boxes, leans, strict=True):
                # The one in front covers the others: the first of the list.
                near = [
                    person
                    for person in shown
                    if box.iou(person.box(seconds)) > 0.4
                    and abs((person.lean(seconds) - (lean or 0.0) + 180) % 360 - 180) <= _READABLE
                ]
                faces.append(self._face(box, near[0] if near else None, seconds))
        if "expression" in skip:
            faces = [replace(face, expression=None) for face in faces]
        return FrameResult(
            tuple(faces), *SIZE, timings={"total": 1}, source=frame.source, timestamp_ns=frame.timestamp_ns
        )

    def _in_sight(self, person: Person, seconds: float) -> bool:
        x, y = person.at(seconds)
        return 0 <= x < SIZE[0] and 0 <= y < SIZE[1] and not person.hidden(seconds)

    def _face(self, box: BBox, person: Person | None, seconds: float) -> Face:
        if not self.with_points:
            return Face(box)
        if person is None:
            points, presence = np.array(box.center) + self._rng.normal(0, 20, (68, 2)), 0.5
        else:
            points, presence = person.points(seconds) + self._rng.normal(0, self.noise, (68, 2)), 0.99
        smile = 0.0 if person is None else person.smile(seconds)
        scores = dict.fromkeys(FER8.names, 0.0) | {"happiness": smile, "neutral": 1 - smile}
        return Face(
            box,
            landmarks=Landmarks(points.astype(np.float32), np.ones(68, np.float32), presence),
            expression=Expression(scores),
        )


def frame_at(seconds: float) -> Frame:
    return Frame(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), round(seconds * SECOND), "crowd")


def times(duration: float, rate: float = 30.0) -> list[float]:
    return [k / rate for k in range(int(duration * rate))]
