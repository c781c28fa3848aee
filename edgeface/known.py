"""What a tracker remembers of one face: where it is, how it moves, since when, and its smoothing."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.association import Motion
from edgeface.errors import ArgumentError
from edgeface.geometry import roll_from_keypoints
from edgeface.measures import BlinkWatch, FacingWatch, openness
from edgeface.pose import head_pose
from edgeface.results import BBox, Face, Landmarks
from edgeface.smoothing import ExpressionSmoother, OneEuro, PointSmoother
from edgeface.tracks import Track

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KnownFace", "TrackSettings"]

_JUMP = 0.6  # of a face's size in one frame beyond where it was expected: the points fell off it
_GROWTH = 1.6  # in one frame; the same
_SWING = 45.0  # degrees of lean in one frame; the same
_HOLD = 0.03  # of a face's size: a crop that would move less stays, and a still face sees the same pixels
_HOLD_LEAN = 3.0  # degrees; the same
_TRUST = 0.3  # how much a new detection changes how the box lies about the points
_GUESSED = 0.65  # mean visibility of the points: 88 % of backgrounds have less, and 9 % of half-covered faces
_TOGETHER = 1.0  # seconds after which two faces that touch are not on their way past each other
_SMOOTHING = OneEuro()
# The middles of the eyes' outlines, the tip of the nose, the corners of the mouth.
_FIVE = np.zeros((5, 68), np.float32)
_FIVE[0, 36:42] = _FIVE[1, 42:48] = 1 / 6
_FIVE[2, 30] = _FIVE[3, 48] = _FIVE[4, 54] = 1.0


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """When to look, when to let go, and how much to smooth. Times in seconds of the frames' own clock.

    Attributes:
        detect_every: While faces are followed, the detector looks for new ones this often.
        idle_every: While there is nobody, it looks at most this seldom: the longest that a new face waits. A
            face that was just lost is looked for in every frame, then ever less.
        min_presence: A followed face whose points say "a face" with less than this is lost. There are models
            that say 0.5 where they see none, and never less: a lower value then leaves it to what the points
            look like and to the detector.
        confirm_within: A followed face that the detector has not seen for so long is lost: points can settle
            on a pattern in the background. One whose points look like guesses is lost at once if the
            detector, which is then asked ten times a second, does not see it.
        appear_after: A face that has been there for so long has appeared.
        forget_after: A lost face that was not found for so long has disappeared.
        smoothing: How the points are smoothed; None: as they were seen.
        expression_time: Time constant of the expression's mean; 0: as it was seen.
        expression_margin: How far another expression must be ahead before the held label changes.
        pose: Estimate the head's pose, and with it whether it faces the camera.
        facing_within: Degrees off the line to the camera within which a head faces it.

    Raises:
        ArgumentError: A value is out of its range.
    """

    detect_every: float = 0.5
    idle_every: float = 0.25
    min_presence: float = 0.9
    confirm_within: float = 2.0
    appear_after: float = 0.15
    forget_after: float = 1.0
    smoothing: OneEuro | None = _SMOOTHING
    expression_time: float = 0.3
    expression_margin: float = 0.1
    pose: bool = True
    facing_within: float = 25.0

    def __post_init__(self) -> None:
        if self.smoothing is not None and not isinstance(self.smoothing, OneEuro):
            raise ArgumentError(f"smoothing must be OneEuro(...) or None, not {self.smoothing!r}")
        most = {"min_presence": 1.0, "expression_margin": 1.0, "facing_within": 180.0}
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if field.name in ("smoothing", "pose"):
                continue
            limit = most.get(field.name, math.inf)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= limit or value == math.inf:
                raise ArgumentError(f"{field.name} must be a number from 0 to {limit:g}, not {value!r}")


class KnownFace:
    """A face that was seen at least once: where it is, how it moves, and what is remembered of it."""

    def __init__(self, number: int, face: Face, now: int, settings: TrackSettings) -> None:
        self.id = number
        self.first_ns = self.seen_ns = self.detected_ns = now
        self.confirmed = False
        self.lost = False
        self._settings = settings
        self._face = face
        self._lie = None if face.landmarks is None else _Lie.between(face.landmarks, face.bbox)
        self.motion = Motion(self._box(face), now)
        self._course, self._steered_ns = copy.copy(self.motion), now
        self._held, self._held_lean = self.motion.box, face.roll or 0.0
        smoothing = settings.smoothing
        self._points = None if smoothing is None else PointSmoother(smoothing)
        self._expression = ExpressionSmoother(settings.expression_time, settings.expression_margin)
        self._blinks = BlinkWatch()
        self._facing = FacingWatch(settings.facing_within)

    def has_points(self) -> bool:
        """True if there is something to follow it by."""
        return self._lie is not None

    def doubtful(self) -> bool:
        """True if its points look like guesses: a face that the detector does not see then either is none."""
        landmarks = self._face.landmarks
        return landmarks is not None and float(landmarks.visibility.mean()) < _GUESSED

    def can_be_followed(self, now: int) -> bool:
        """True if there are points, and the detector has confirmed them not too long ago."""
        return self.has_points() and now - self.detected_ns <= self._settings.confirm_within * 1e9

    def crop(self, now: int) -> BBox:
        """The box to cut out: where it is expected, held still while that hardly moves."""
        box, held = self.motion.expected(now), self._held
        slack = _HOLD * held.side
        moved = max(abs(a - b) for a, b in zip(box.center, held.center, strict=True))
        if moved > slack or abs(box.side - held.side) > slack:
            self._held = box
        return self._held

    def lean(self) -> float:
        """How far to turn the crop, degrees; held still while the face hardly leans otherwise."""
        if self._face.landmarks is not None:
            roll = _roll(self._face.landmarks)
            if abs(_turned(roll, self._held_lean)) > _HOLD_LEAN:
                self._held_lean = roll
        return self._held_lean

    def lose(self) -> None:
        """Follow it no more; it is expected where it was going before another face came into its way."""
        self.lost = True
        self.motion = copy.copy(self._course)

    def steer(self, now: int, touched: bool) -> None:
        """Remember where it is going, unless another face touches it; faces that stay together are two."""
        if not touched or now - self._steered_ns > _TOGETHER * 1e9:
            self._course, self._steered_ns = copy.copy(self.motion), now

    def course(self, now: int) -> BBox:
        """Where it is expected by how it moved while no other face touched it."""
        return self._course.expected(now)

    def strayed(self, now: int) -> float:
        """How far off that course it is, in sizes of the face."""
        return _apart(self.motion.box, self.course(now))

    def found(self, face: Face, now: int) -> None:
        """Take what the detector found."""
        if self.lost and self._points is not None:
            self._points.reset()
        self.lost = False
        self.detected_ns = now
        if face.landmarks is not None:
            lie = _Lie.between(face.landmarks, face.bbox)
            self._lie = lie if self._lie is None else self._lie.toward(lie, _TRUST)
        self._take(face, now)

    def followed(self, face: Face, now: int, present: bool) -> None:
        """Take what the points say where the face was expected, unless they fell off it."""
        box, expected = self._box(face), self.motion.expected(now)
        growth = max(box.side / expected.side, expected.side / box.side)
        if not present or growth > _GROWTH or _apart(box, expected) > _JUMP or self._swung(face):
            self.lose()
            return
        self._take(replace(face, bbox=replace(face.bbox, score=self._face.bbox.score)), now)

    def track(self, now: int) -> Track:
        """This face as a result, its points and its expression smoothed."""
        face = self._face
        pose = measured = None
        if face.landmarks is not None:
            pose = head_pose(face.landmarks) if self._settings.pose else None
            measured = openness(face.landmarks.points)
            self._blinks.update(measured, pose, now)
            face = self._smoothed(face, face.landmarks, now)
        if self._settings.pose:
            self._facing.update(pose, now)
        if face.expression is not None:
            face = replace(face, expression=self._expression.smooth(face.expression, now))
        return Track(
            id=self.id,
            face=face,
            dwell_ns=now - self.first_ns,
            confirmed=self.confirmed,
            pose=pose,
            openness=measured,
            facing=self._facing.facing,
            facing_ns=self._facing.total_ns,
            eyes_shut=self._blinks.shut,
            blinks=self._blinks.blinks,
            expression=self._expression.label or None,
        )

    def _swung(self, face: Face) -> bool:
        before, after = self._face.landmarks, face.landmarks
        return before is not None and after is not None and abs(_turned(_roll(after), _roll(before))) > _SWING

    def _take(self, face: Face, now: int) -> None:
        self.motion.seen(self._box(face), now)
        self.seen_ns = now
        self._face = face

    def _box(self, face: Face) -> BBox:
        if face.landmarks is None or self._lie is None:
            return face.bbox
        return self._lie.box(face.landmarks, face.bbox.score)

    def _smoothed(self, face: Face, landmarks: Landmarks, now: int) -> Face:
        if self._points is not None:
            size = math.sqrt(self.motion.box.area)
            landmarks = replace(landmarks, points=self._points.smooth(landmarks.points, size, now))
        return replace(
            face,
            bbox=self._box(replace(face, landmarks=landmarks)),
            roll=_roll(landmarks),
            keypoints=_five(landmarks.points),
            landmarks=landmarks,
        )


@dataclass(frozen=True, slots=True)
class _Lie:
    """How a detector's box lies about the 68 points, in units of their extent, upright."""

    across: float
    down: float
    width: float
    height: float

    @classmethod
    def between(cls, landmarks: Landmarks, box: BBox) -> _Lie:
        """How this box lies about these points."""
        (x, y), extent, roll = _extent(landmarks)
        shift_x, shift_y = box.center[0] - x, box.center[1] - y
        cosine, sine = math.cos(roll), math.sin(roll)
        return cls(
            across=(cosine * shift_x + sine * shift_y) / extent,
            down=(cosine * shift_y - sine * shift_x) / extent,
            width=box.width / extent,
            height=box.height / extent,
        )

    def toward(self, other: _Lie, share: float) -> _Lie:
        """This one, so much nearer to another."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return _Lie(*(own + share * (new - own) for own, new in pairs))

    def box(self, landmarks: Landmarks, score: float) -> BBox:
        """The box about these points."""
        (x, y), extent, roll = _extent(landmarks)
        cosine, sine = math.cos(roll), math.sin(roll)
        x += (cosine * self.across - sine * self.down) * extent
        y += (cosine * self.down + sine * self.across) * extent
        width, height = self.width * extent, self.height * extent
        return BBox(x - width / 2, y - height / 2, width, height, score)


def _extent(landmarks: Landmarks) -> tuple[tuple[float, float], float, float]:
    """The middle of the points, their root mean square distance from it (pixels), their lean (radians)."""
    points = landmarks.points.astype(np.float64)
    x, y = points.mean(0).tolist()
    extent = math.sqrt(float(((points - (x, y)) ** 2).sum()) / len(points))
    return (x, y), max(extent, 1e-3), math.radians(_roll(landmarks))


def _five(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Eyes, nose and corners of the mouth, as `edgeface.results.Face.keypoints` has them."""
    return _FIVE @ points


def _roll(landmarks: Landmarks) -> float:
    return roll_from_keypoints(_five(landmarks.points))


def _turned(now: float, before: float) -> float:
    """From one lean to another the short way round, degrees in [-180, 180)."""
    return (now - before + 180.0) % 360.0 - 180.0


def _apart(one: BBox, other: BBox) -> float:
    return math.dist(one.center, other.center) / math.sqrt(math.sqrt(one.area * other.area))
