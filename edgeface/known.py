"""What a tracker remembers of one face: where it is, how it moves, since when, and its smoothing."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.association import Motion
from edgeface.errors import ArgumentError
from edgeface.geometry import roll_from_keypoints
from edgeface.measures import BlinkWatch, FacingWatch, openness
from edgeface.pose import head_pose
from edgeface.results import BBox, Blendshapes, Expression, Face, Landmarks
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
_SURE = 0.9  # presence: no background has it, all open faces do, and 94 % of half-covered ones
_GUESSED = 0.55  # mean visibility of the points: every second half-covered face has less, and no open one
_TOGETHER = 1.0  # seconds after which two faces that touch are not on their way past each other
_SMOOTHING = OneEuro()
# The middle of all; the middles of the eyes' outlines, the tip of the nose, the corners of the mouth.
_SIX = np.zeros((6, 68))
_SIX[0] = 1 / 68
_SIX[1, 36:42] = _SIX[2, 42:48] = 1 / 6
_SIX[3, 30] = _SIX[4, 48] = _SIX[5, 54] = 1.0


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
        smoothing: How the points and the blendshapes are smoothed; None: as they were seen.
        expression_time: Time constant of the expression's mean; 0: as it was seen.
        expression_margin: How far another expression must be ahead before the held label changes.
        expression_every: The expression of a followed face is read this often, and held between: a face
            moves faster than it changes its expression, and a sixth of its time goes into that; 0: read in
            every frame.
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
    expression_every: float = 0.09  # of 30 frames a second in every third
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
        self._face, self._score = face, face.bbox.score
        self._shape = _shape_of(face)
        self._lie = None if self._shape is None else _Lie.between(self._shape, face.bbox)
        self.motion = Motion(self._box(face, self._shape), now)
        self._course, self._steered_ns = copy.copy(self.motion), now
        self._held, self._held_lean = self.motion.box, face.roll or 0.0
        smoothing = settings.smoothing
        self._points = None if smoothing is None else PointSmoother(smoothing)
        self._movement = None if smoothing is None else PointSmoother(smoothing)
        self._expression = ExpressionSmoother(settings.expression_time, settings.expression_margin)
        self._shown: Expression | None = None
        self._read_ns = now  # when its expression was last read
        self._blinks = BlinkWatch()
        self._facing = FacingWatch(settings.facing_within)

    def has_points(self) -> bool:
        """True if there is something to follow it by."""
        return self._lie is not None

    def doubtful(self) -> bool:
        """True if its points look like guesses: a face that the detector does not see then either is none."""
        landmarks = self._face.landmarks
        if landmarks is None:
            return False
        return landmarks.presence < _SURE or float(landmarks.visibility.sum()) < 68 * _GUESSED

    def can_be_followed(self, now: int) -> bool:
        """True if there are points, and the detector has confirmed them not too long ago."""
        return self.has_points() and now - self.detected_ns <= self._settings.confirm_within * 1e9

    def expression_holds(self, now: int) -> bool:
        """True if its expression was read so lately that it need not be read in this frame."""
        return now - self._read_ns < self._settings.expression_every * 1e9

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
        if self._shape is not None and abs(_turned(self._shape.roll, self._held_lean)) > _HOLD_LEAN:
            self._held_lean = self._shape.roll
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
        if self.lost and self._points is not None and self._movement is not None:
            self._points.reset()
            self._movement.reset()
        self.lost = False
        self.detected_ns, self._score = now, face.bbox.score
        shape = _shape_of(face)
        if shape is not None:
            lie = _Lie.between(shape, face.bbox)
            self._lie = lie if self._lie is None else self._lie.toward(lie, _TRUST)
        self._take(face, shape, self._box(face, shape), now)

    def followed(self, face: Face, now: int, present: bool) -> None:
        """Take what the points say where the face was expected, unless they fell off it."""
        shape = _shape_of(face)
        box, expected = self._box(face, shape), self.motion.expected(now)
        growth = max(box.side / expected.side, expected.side / box.side)
        if not present or growth > _GROWTH or _apart(box, expected) > _JUMP or self._swung(shape):
            self.lose()
            return
        self._take(face, shape, box, now)

    def track(self, now: int) -> Track:
        """This face as a result, its points, its blendshapes and its expression smoothed."""
        face, landmarks, shape = self._face, self._face.landmarks, self._shape
        pose = measured = None
        if landmarks is not None:
            pose = head_pose(landmarks) if self._settings.pose else None
            measured = openness(landmarks.points)
            self._blinks.update(measured, pose, now)
            if self._points is not None:
                points = self._points.smooth(landmarks.points, math.sqrt(self.motion.box.area), now)
                landmarks = Landmarks(points, landmarks.visibility, landmarks.presence)
                shape = _Shape.of(points)
        if self._settings.pose:
            self._facing.update(pose, now)
        movement = face.blendshapes
        if movement is not None and self._movement is not None:
            # A coefficient is a point on a line of length 1: a blink is fast and passes, a tremble does not.
            scores = self._movement.smooth(movement.scores[:, None], 1.0, now)[:, 0]
            movement = Blendshapes(movement.names, scores)
        if face.expression is not None:
            self._shown = self._expression.smooth(face.expression, now)
        return Track(
            id=self.id,
            face=Face(
                bbox=self._box(face, shape),
                roll=face.roll if shape is None else shape.roll,
                keypoints=face.keypoints if shape is None else shape.five,
                landmarks=landmarks,
                parsing=face.parsing,
                expression=self._shown,
                blendshapes=movement,
            ),
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

    def _swung(self, after: _Shape | None) -> bool:
        before = self._shape
        return before is not None and after is not None and abs(_turned(after.roll, before.roll)) > _SWING

    def _take(self, face: Face, shape: _Shape | None, box: BBox, now: int) -> None:
        self.motion.seen(box, now)
        self.seen_ns = now
        if face.expression is not None:
            self._read_ns = now
        self._face, self._shape = face, shape

    def _box(self, face: Face, shape: _Shape | None) -> BBox:
        if shape is None or self._lie is None:
            return face.bbox
        return self._lie.box(shape, self._score)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is asked of 68 points again and again, computed once: each array of so few costs its making.

    Attributes:
        x: Of their middle, pixels.
        y: The same.
        extent: Their root mean square distance from it, pixels.
        roll: Their lean, degrees.
        five: Eyes, nose and corners of the mouth, as `edgeface.results.Face.keypoints` has them.
    """

    x: float
    y: float
    extent: float
    roll: float
    five: NDArray[np.float32]

    @classmethod
    def of(cls, points: NDArray[np.float32]) -> _Shape:
        """The shape of 68 points [68, 2]."""
        exact = points.astype(np.float64)
        six = _SIX @ exact
        x, y = six[0].tolist()
        square = float(np.vdot(exact, exact)) / 68 - x * x - y * y
        five = six[1:].astype(np.float32)
        return cls(x, y, math.sqrt(max(square, 1e-6)), roll_from_keypoints(five), five)


@dataclass(frozen=True, slots=True)
class _Lie:
    """How a detector's box lies about the 68 points, in units of their extent, upright."""

    across: float
    down: float
    width: float
    height: float

    @classmethod
    def between(cls, shape: _Shape, box: BBox) -> _Lie:
        """How this box lies about these points."""
        shift_x, shift_y = box.center[0] - shape.x, box.center[1] - shape.y
        roll = math.radians(shape.roll)
        cosine, sine = math.cos(roll), math.sin(roll)
        return cls(
            across=(cosine * shift_x + sine * shift_y) / shape.extent,
            down=(cosine * shift_y - sine * shift_x) / shape.extent,
            width=box.width / shape.extent,
            height=box.height / shape.extent,
        )

    def toward(self, other: _Lie, share: float) -> _Lie:
        """This one, so much nearer to another."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return _Lie(*(own + share * (new - own) for own, new in pairs))

    def box(self, shape: _Shape, score: float) -> BBox:
        """The box about these points."""
        roll = math.radians(shape.roll)
        cosine, sine = math.cos(roll), math.sin(roll)
        x = shape.x + (cosine * self.across - sine * self.down) * shape.extent
        y = shape.y + (cosine * self.down + sine * self.across) * shape.extent
        width, height = self.width * shape.extent, self.height * shape.extent
        return BBox(x - width / 2, y - height / 2, width, height, score)


def _shape_of(face: Face) -> _Shape | None:
    return None if face.landmarks is None else _Shape.of(face.landmarks.points)


def _turned(now: float, before: float) -> float:
    """From one lean to another the short way round, degrees in [-180, 180)."""
    return (now - before + 180.0) % 360.0 - 180.0


def _apart(one: BBox, other: BBox) -> float:
    return math.dist(one.center, other.center) / math.sqrt(math.sqrt(one.area * other.area))
