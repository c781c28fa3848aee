"""What the tracker gives back: faces that keep their number, and what happened. Frozen, like all results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from edgeface.measures import Openness
    from edgeface.pose import HeadPose
    from edgeface.results import Face, FrameResult

__all__ = ["Track", "TrackEvent", "TrackResult"]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One face of this frame, known since an earlier one.

    Attributes:
        id: Number of the track, from 1; never used again by the same tracker. It says nothing about who the
            person is: somebody who leaves and comes back gets another.
        face: The face in this frame; its points and expression are smoothed where the tracker does so.
        dwell_ns: For how long it has been there, nanoseconds.
        confirmed: Its "appeared" event was given: it has been there long enough to be no flicker.
        pose: Where the head looks; None without landmarks, or when poses are off.
        openness: How open eyes and mouth are, on points that are not smoothed; None without landmarks.
        facing: The head faces the camera.
        facing_ns: For how long it did so far, nanoseconds.
        eyes_shut: Both eyes are shut.
        blinks: How often the person blinked so far.
        expression: The held label, which changes only when another is clearly ahead; None without one.
    """

    id: int
    face: Face
    dwell_ns: int
    confirmed: bool
    pose: HeadPose | None = None
    openness: Openness | None = None
    facing: bool = False
    facing_ns: int = 0
    eyes_shut: bool = False
    blinks: int = 0
    expression: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all but the face as JSON values."""
        return {
            "id": self.id,
            "dwell_ns": self.dwell_ns,
            "confirmed": self.confirmed,
            "pose": None if self.pose is None else self.pose.to_dict(),
            "openness": None if self.openness is None else self.openness.to_dict(),
            "facing": self.facing,
            "facing_ns": self.facing_ns,
            "eyes_shut": self.eyes_shut,
            "blinks": self.blinks,
            "expression": self.expression,
        }


@dataclass(frozen=True, slots=True)
class TrackEvent:
    """Something that happened to a track.

    Attributes:
        kind: "appeared" when a face has been there long enough, "disappeared" when one that had appeared was
            not found again.
        id: Number of the track.
        timestamp_ns: Time of the frame that told it, monotonic nanoseconds.
        dwell_ns: From the first to the last sight of the face until then, nanoseconds.
    """

    kind: Literal["appeared", "disappeared"]
    id: int
    timestamp_ns: int
    dwell_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "kind": self.kind,
            "id": self.id,
            "timestamp_ns": self.timestamp_ns,
            "dwell_ns": self.dwell_ns,
        }


@dataclass(frozen=True, slots=True, eq=False)
class TrackResult:
    """All tracked faces of one frame.

    Attributes:
        frame: The frame's result; its faces are those of `tracks`.
        tracks: One per face, in the order of ``frame.faces``.
        events: What happened since the last frame, in order of time.
        detected: The detector looked at this frame; otherwise the faces were followed.
    """

    frame: FrameResult
    tracks: tuple[Track, ...]
    events: tuple[TrackEvent, ...]
    detected: bool

    def to_dict(self) -> dict[str, Any]:
        """Return `FrameResult.to_dict` with "tracks" (in the order of "faces"), "events" and "detected".

        ``edgeface/schema.json`` describes it.
        """
        return {
            **self.frame.to_dict(),
            "tracks": [track.to_dict() for track in self.tracks],
            "events": [event.to_dict() for event in self.events],
            "detected": self.detected,
        }
