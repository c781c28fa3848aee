"""Faces that keep their number from frame to frame, found anew only when they must be.

A face that is known is cut out where its last 68 points say that it is, turned as it leans, so that the
detector rests; it looks again every now and then for new faces, and at once for one that was lost. Nothing
here reads a clock: time is what the frames say, so that a recorded film gives the same tracks at any speed.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeface.association import affinity, assign
from edgeface.errors import ArgumentError
from edgeface.frame import Frame
from edgeface.known import KnownFace, TrackSettings
from edgeface.pose import misfit
from edgeface.results import FrameResult
from edgeface.tracks import TrackEvent, TrackResult

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from edgeface.results import BBox, Face

__all__ = ["Analyzer", "FaceTracker"]

_PATIENCE = 8  # a lost face is looked for after an eighth of the time that it has been gone
_SAME = 0.6  # overlap of two faces that are one
_NO_HEAD = 0.2  # misfit of the points beyond which they are no head's, whatever the model says of them
_DOUBT = 0.1  # seconds between two looks of the detector at a face whose points may be guesses
_TOUCH = 0.05  # overlap from which one face may hide the other, and draw the other's points to itself


class Analyzer(Protocol):
    """What the tracker asks of a `FaceAnalyzer`."""

    def analyze(
        self,
        frame: Frame,
        boxes: Sequence[BBox] | None = None,
        rolls: Sequence[float | None] | None = None,
        *,
        skip: Collection[str] = (),
    ) -> FrameResult:
        """Find the faces of a frame, or describe those in the boxes, which lean by so many degrees.

        ``skip`` names tasks that are not wanted this time.
        """


class FaceTracker:
    """Follows the faces of a stream of frames.

        with FaceAnalyzer() as analyzer:
            tracker = FaceTracker(analyzer)
            for frame in frames:
                for track in tracker.update(frame).tracks:
                    print(track.id, track.face.bbox, track.facing)

    Without the task "landmarks" there is nothing to follow a face by: the detector then looks at every frame,
    and the numbers are kept all the same. Not safe for several threads; one tracker per stream. It does not
    close the analyzer.

    Args:
        analyzer: finds and describes the faces.
        settings: see `TrackSettings`.
    """

    def __init__(self, analyzer: Analyzer, settings: TrackSettings | None = None) -> None:
        if settings is not None and not isinstance(settings, TrackSettings):
            raise ArgumentError(f"settings must be TrackSettings(...), not {type(settings).__name__}")
        self._analyzer = analyzer
        self._settings = settings or TrackSettings()
        self._known: list[KnownFace] = []
        self._next_id = 1
        self._time_ns: int | None = None
        self._size = (0, 0)
        self._detected_ns: int | None = None
        self._alone_ns = 0  # since when there is nobody, or somebody is missing
        self._events: list[TrackEvent] = []  # not told yet; a frame that fails must not swallow them

    def update(self, frame: Frame | NDArray[Any]) -> TrackResult:
        """Follow the faces into the next frame, and find new ones when it is time.

        Frames come in the order of their time. One that is older than the last, or of another size, begins
        anew, as when a film starts over or a camera changes its mode: every track ends, and their numbers are
        not used again.

        Raises:
            FrameError: the array is not a picture.
            BundleError: a model is not the one that its bundle describes.
            DeviceError: the backend failed, or the analyzer is closed.
        """
        if not isinstance(frame, Frame):
            frame = Frame.from_array(frame)
        now = frame.timestamp_ns
        size = (frame.width, frame.height)
        if self._time_ns is None or now < self._time_ns or size != self._size:
            self._end(now, everybody=True)
            self._alone_ns, self._detected_ns = now, None
        self._time_ns, self._size = now, size
        self._end(now)
        detect = self._due(now)
        if detect:
            self._detected_ns = now
            results = self._find(frame, now)
        else:
            results = [self._follow(frame, self._live(), now)]
        self._part_twins(now)
        if self._known and not any(known.lost for known in self._known):
            self._alone_ns = now
        self._appear(now)
        return self._told(results, detect, now)

    def reset(self) -> None:
        """Forget every face; the next frame is searched. Numbers go on."""
        self._known.clear()
        self._time_ns = None

    def _live(self) -> list[KnownFace]:
        return [known for known in self._known if not known.lost]

    def _due(self, now: int) -> bool:
        live = self._live()
        if self._detected_ns is None or not all(known.has_points() for known in live):
            return True
        since = (now - self._detected_ns) * 1e-9
        gone = (now - self._alone_ns) * 1e-9 / _PATIENCE
        wait = self._settings.detect_every if live else self._settings.idle_every
        if not live or len(live) < len(self._known):
            wait = min(wait, gone)
        if any(known.doubtful() for known in live):
            wait = min(wait, _DOUBT)
        return since >= wait

    def _find(self, frame: Frame, now: int) -> list[FrameResult]:
        """Ask the detector; follow those whom it did not see; take up those who are new."""
        result = self._analyzer.analyze(frame)
        faces = [face for face in result.faces if self._is_face(face)]
        fit = affinity([known.course(now) for known in self._known], [face.bbox for face in faces])
        # Whoever is in sight goes before whoever is lost and might be anywhere.
        fit *= np.array([[0.5 if known.lost else 1.0] for known in self._known]).reshape(-1, 1)
        pairs = assign(fit)
        for row, column in pairs:
            self._known[row].found(faces[column], now)
        seen = {row for row, _ in pairs}
        missed = [known for row, known in enumerate(self._known) if row not in seen and not known.lost]
        for known in missed:
            if known.doubtful():
                known.lose()
        missed = [known for known in missed if not known.lost]
        results = [result]
        if missed:
            results.append(self._follow(frame, missed, now))
        taken = [known.motion.box for known in self._live()]
        for column, face in enumerate(faces):
            if column not in {column for _, column in pairs} and all(
                box.iou(face.bbox) < _SAME for box in taken
            ):
                self._known.append(KnownFace(self._next_id, face, now, self._settings))
                self._next_id += 1
        return results

    def _follow(self, frame: Frame, followed: list[KnownFace], now: int) -> FrameResult:
        boxes: dict[BBox, KnownFace] = {}
        for known in followed:
            box = known.crop(now)
            visible = known.can_be_followed(now) and _inside(box, frame)
            if visible and box not in boxes:
                boxes[box] = known
            else:
                known.lose()
        leans = [known.lean() for known in boxes.values()]
        skip = ("expression",) if all(known.expression_holds(now) for known in boxes.values()) else ()
        result = self._analyzer.analyze(frame, boxes=list(boxes), rolls=leans, skip=skip)
        for face in result.faces:
            known = boxes.pop(face.bbox)
            known.followed(face, now, self._is_face(face))
        for known in boxes.values():  # the analyzer left them out: it keeps the largest faces alone
            known.lose()
        return result

    def _is_face(self, face: Face) -> bool:
        landmarks = face.landmarks
        if landmarks is None:
            return True
        return landmarks.presence >= self._settings.min_presence and misfit(landmarks.points) <= _NO_HEAD

    def _part_twins(self, now: int) -> None:
        """Where the points of two faces fell onto one, the one that came farther off its course is lost."""
        close = set()
        for one, other in itertools.combinations(self._live(), 2):
            overlap = one.motion.box.iou(other.motion.box)
            if overlap > _TOUCH:
                close |= {one.id, other.id}
            if overlap > _SAME and not one.lost and not other.lost:
                max((one, other), key=lambda known: (known.strayed(now), known.id)).lose()
        for known in self._live():
            known.steer(now, known.id in close)

    def _end(self, now: int, everybody: bool = False) -> None:
        longest = self._settings.forget_after * 1e9
        kept = []
        for known in self._known:
            if not everybody and now - known.seen_ns <= longest:
                kept.append(known)
            elif known.confirmed:
                dwelt = known.seen_ns - known.first_ns
                self._events.append(TrackEvent("disappeared", known.id, now, dwelt))
        self._known = kept

    def _appear(self, now: int) -> None:
        for known in self._live():
            dwelt = now - known.first_ns
            if not known.confirmed and dwelt >= self._settings.appear_after * 1e9:
                known.confirmed = True
                self._events.append(TrackEvent("appeared", known.id, now, dwelt))

    def _told(self, results: list[FrameResult], detected: bool, now: int) -> TrackResult:
        tracks = sorted((known.track(now) for known in self._live()), key=lambda t: -t.face.bbox.area)
        first = results[0]
        timings, ran = dict(first.timings), dict(first.ran)
        for result in results[1:]:
            for stage, took in result.timings.items():
                timings[stage] = timings.get(stage, 0) + took
            for task, what in result.ran.items():
                ran[task] = what if what.degraded else ran.get(task, what)
        frame = FrameResult(
            faces=tuple(track.face for track in tracks),
            width=first.width,
            height=first.height,
            timings=timings,
            source=first.source,
            timestamp_ns=first.timestamp_ns,
            backend=first.backend,
            ran=ran,
        )
        events, self._events = tuple(self._events), []
        return TrackResult(frame, tuple(tracks), events, detected)


def _inside(box: BBox, frame: Frame) -> bool:
    """True if the middle of the box lies in the frame: less than half a face is not followed."""
    x, y = box.center
    return 0 <= x < frame.width and 0 <= y < frame.height
