"""From a frame to faces: detect, crop, run the heads that were asked for. This file alone knows the order."""

from __future__ import annotations

import numbers
import operator
import os
import threading
from collections.abc import Iterable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeface.backends.base import Backend, Ran, Session, Tensors, create
from edgeface.bundle import Bundle, ModelSpec
from edgeface.choice import Choice, choose, taken
from edgeface.errors import ArgumentError, DeviceError
from edgeface.frame import Frame
from edgeface.geometry import roll_from_keypoints
from edgeface.heads import (
    DETECTORS,
    CropHead,
    Detection,
    DetectionHead,
    ExpressionHead,
    LandmarksHead,
    ParsingHead,
    merged,
    tiles,
)
from edgeface.results import BBox, Face, FrameResult

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TASKS", "FaceAnalyzer"]

_HEADS: Mapping[str, Callable[[ModelSpec], CropHead[Any]]] = {
    "landmarks": LandmarksHead,
    "parsing": ParsingHead,
    "expression": ExpressionHead,
}

TASKS: tuple[str, ...] = tuple(_HEADS)
"""What can be asked for beside the boxes."""

_MAX_THREADS = 64
_SIDES = (8, 100_000)  # pixels; a face smaller than that is none to any detector
# What only a tile shows has this presence at least: of faces of 20 pixels one in a hundred has less, of what
# else tiles show nineteen in twenty. There are many tiles, and each may be wrong.
_PRESENT = 0.1


class FaceAnalyzer:
    """Finds the faces of a frame and describes them.

        with FaceAnalyzer() as analyzer:
            result = analyzer.analyze(edgeface.read_image("people.jpg"))

    A model is opened when it is first needed and kept until `close`; input buffers are reused between frames,
    results never share memory with them. Calls from several threads are answered one after the other: for
    more throughput give each thread its own analyzer (they can share one `Bundle`).

    Args:
        tasks: any of ``"landmarks"``, ``"parsing"``, ``"expression"``; none means boxes and keypoints only.
        max_faces: at most this many faces per frame, the largest ones; None: as many as the detector gives.
        threads: threads per model. One is the fastest for networks this small on most boards.
        backend: ``"auto"`` for the fastest of this machine that answers rightly, with the CPU behind it; or
            the name of a backend ("onnx:cuda", "isolated:edgetpu:usb:0"), which has the CPU behind it unless
            ``strict``; or a `Backend`, which runs alone.
        bundle: the models: None for the built-in ones, ``nano`` for the small built-in ones, a path, or a
            loaded `Bundle`.
        min_score: least score of a face, in place of the one that the detector was tuned with. With
            landmarks among the tasks, what is no face to their model is left out, too.
        smallest_face: the larger side of the smallest face to be found, pixels of the frame. Where the
            detector would see it too small, it looks at overlapping tiles of the frame, too: nine looks more
            for 20 pixels in 640 x 480. None: one look at the whole frame. Where landmarks are among the
            tasks, their model must be surer of what a tile alone shows.
        mirror: ask each model about every face and about its mirror image, and answer with the mean: nearer
            to the truth, and all but the detector take twice as long. For still pictures, not for streams.
        strict: refuse every silent fallback with a `DeviceError`: a backend that is present and fails, the
            CPU in place of a lost accelerator, operators that an accelerator leaves on the CPU, LiteRT
            without its fast kernels.

    Raises:
        ArgumentError: an argument is unknown or out of range.
        BundleError: the bundle is damaged, foreign, or has no model for a task.
        DeviceError: no backend can open these models, or ``strict`` forbids what would run.
    """

    def __init__(
        self,
        tasks: Sequence[str] = TASKS,
        *,
        max_faces: int | None = None,
        threads: int = 1,
        backend: str | Backend = "auto",
        bundle: Bundle | str | os.PathLike[str] | None = None,
        min_score: float | None = None,
        smallest_face: float | None = None,
        mirror: bool = False,
        strict: bool = False,
    ) -> None:
        self._tasks = _checked_tasks("tasks", tasks)
        self._max_faces = None if max_faces is None else _checked_count("max_faces", max_faces, 100_000)
        self._threads = _checked_count("threads", threads, _MAX_THREADS)
        least = None if min_score is None else _checked_score(min_score)
        self._smallest = None if smallest_face is None else _checked_size(smallest_face)
        self._mirror = bool(mirror)
        self._bundle = _loaded(bundle)
        specs = {task: self._bundle.model(task) for task in self._tasks}
        # Without a detector the bundle still serves callers who bring their own boxes.
        detectors = {name: self._bundle.models[name] for name in DETECTORS if name in self._bundle.models}
        self._specs: dict[str, ModelSpec] = {**detectors, **specs}
        self._strict = bool(strict)
        self._choice = self._chosen(backend)
        self._detectors = {name: DetectionHead(spec, least) for name, spec in detectors.items()}
        self._heads = {task: _HEADS[task](spec) for task, spec in specs.items()}
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._closed = False

    def analyze(
        self,
        frame: Frame | NDArray[Any],
        boxes: Sequence[BBox] | None = None,
        rolls: Sequence[float | None] | None = None,
        *,
        skip: Collection[str] = (),
    ) -> FrameResult:
        """Find and describe the faces of one frame.

        Args:
            frame: a `Frame`, or an RGB array as `Frame.from_array` takes it.
            boxes: face boxes in frame pixels; when given, detection is skipped.
            rolls: how far the face in each box leans, degrees in [-180, 180], positive clockwise on the
                screen; its crop is turned as that of a detected face. None, also for one of them: unknown,
                and taken to be upright.
            skip: tasks to leave out of this frame, asked for or not.

        Raises:
            ArgumentError: a box is not a `BBox`, or lies outside the frame; `rolls` are not as many numbers
                in their range as there are boxes; `skip` names no task.
            FrameError: the array is not a picture.
            BundleError: a model is not the one that its bundle describes.
            DeviceError: the backend failed, or the analyzer is closed.
        """
        if not isinstance(frame, Frame):
            frame = Frame.from_array(frame)
        given = _given(boxes, rolls, frame)
        left_out = _checked_tasks("skip", skip) if skip else ()
        with self._lock:
            if self._closed:
                raise DeviceError("the analyzer is closed; make a new one")
            start = perf_counter_ns()
            timings: dict[str, int] = {}
            ran: dict[str, Ran] = {}
            found = self._detect(frame.rgb, timings, ran) if given is None else given
            if self._max_faces is not None:
                found = sorted(found, key=lambda found: -found.face.bbox.area)
            heads = {task: head for task, head in self._heads.items() if task not in left_out}
            faces = self._describe_faces(frame.rgb, found, heads, timings, ran)
            timings["total"] = perf_counter_ns() - start
        return FrameResult(
            faces=faces,
            width=frame.width,
            height=frame.height,
            timings=timings,
            source=frame.source,
            timestamp_ns=frame.timestamp_ns,
            backend=self._choice.backend.name,
            ran=ran,
        )

    def describe(self) -> dict[str, Any]:
        """What runs, as plain values: backend and why, threads, bundle, and each model with its digest.

        ``ran`` of a model says what really ran it the last time; None before its first frame.
        """
        digests = {artifact.name: artifact.sha256 for artifact in self._bundle.artifacts}
        backend = self._choice.backend
        # Another thread may be opening a model.
        sessions = dict(self._sessions)
        models = {task: spec.for_formats(backend.formats) for task, spec in self._specs.items()}
        return {
            "backend": backend.name,
            "why": self._choice.reason,
            "spare": None if self._choice.spare is None else self._choice.spare.name,
            "lost": self._choice.health.reason or None,
            "strict": self._strict,
            "threads": self._threads,
            "tasks": list(self._tasks),
            "bundle": {name: getattr(self._bundle, name) for name in ("name", "version", "digest", "source")},
            "models": {
                task: {
                    "artifact": spec.artifact,
                    "sha256": digests[spec.artifact],
                    "precision": spec.precision,
                    "input": list(spec.input.shape),
                    "ran": self._told(sessions[task], task).to_dict() if task in sessions else None,
                }
                for task, spec in models.items()
            },
        }

    def close(self) -> None:
        """Close every model; waits for a frame in progress. Closing twice is allowed."""
        with self._lock:
            self._closed = True
            while self._sessions:
                self._sessions.popitem()[1].close()

    def __enter__(self) -> FaceAnalyzer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _detect(self, rgb: NDArray[np.uint8], timings: dict[str, int], ran: dict[str, Ran]) -> list[_Found]:
        if not self._detectors:
            self._bundle.model("detection")  # raises: names the bundle and what it has
        start = perf_counter_ns()
        # The one that shows the frame largest; the first when both show it alike.
        name = max(self._detectors, key=lambda name: self._detectors[name].scale(rgb))
        found = self._look(name, rgb, ran)
        least = [0.0] * len(found)
        if self._smallest is not None:
            height, width = rgb.shape[:2]
            head, tiled = self._detectors[name], list[Detection]()
            for tile in tiles((width, height), head.seen, head.scale(rgb), self._smallest):
                part = rgb[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]
                seen = [one.moved(tile.x, tile.y) for one in self._look(name, part, ran)]
                tiled += [one for one in seen if tile.holds(one, width, height)]
            found, far = merged(found, tiled)
            least = [_PRESENT if away else 0.0 for away in far]
        timings["detection"] = perf_counter_ns() - start
        return [_Found(_face(one), presence) for one, presence in zip(found, least, strict=True)]

    def _look(self, name: str, rgb: NDArray[np.uint8], ran: dict[str, Ran]) -> list[Detection]:
        tensors, fit = self._detectors[name].prepare(rgb)
        return self._detectors[name].decode(self._run(name, tensors, ran), fit)

    def _describe_faces(
        self,
        rgb: NDArray[np.uint8],
        found: list[_Found],
        heads: Mapping[str, CropHead[Any]],
        timings: dict[str, int],
        ran: dict[str, Ran],
    ) -> tuple[Face, ...]:
        """As many of the faces as are wanted, the first, with all results."""
        kept: list[tuple[_Found, dict[str, Any]]] = [(one, {}) for one in found]
        # Task by task, not face by face: each network's weights stay in the cache for all the faces.
        for task, head in heads.items():
            if not kept:
                break
            start = perf_counter_ns()
            described = []
            for one, results in kept:
                tensors, crop = head.prepare(rgb, one.face.bbox, one.face.roll or 0.0)
                outputs = self._run(task, tensors, ran)
                mirrored = self._run(task, head.mirror(), ran) if self._mirror else None
                results[task] = head.decode(outputs, crop, mirrored)
                if isinstance(head, LandmarksHead):
                    results["blendshapes"] = head.movement(outputs, mirrored)
                    if one.least is not None and not head.confirms(results[task], one.least):
                        continue
                described.append((one, results))
                if len(described) == self._max_faces:
                    break
            kept = described
            timings[task] = perf_counter_ns() - start
        return tuple(
            Face(bbox=one.face.bbox, roll=one.face.roll, keypoints=one.face.keypoints, **results)
            for one, results in kept[: self._max_faces]
        )

    def _run(self, task: str, tensors: Tensors, ran: dict[str, Ran]) -> dict[str, NDArray[Any]]:
        """Run a model and note what really ran it; of several faces, the one that was degraded."""
        session = self._session(task)
        outputs = session.run(tensors)
        told = self._told(session, task)
        if task not in ran or told.degraded:
            ran[task] = told
        return outputs

    def _session(self, task: str) -> Session:
        session = self._sessions.get(task)
        if session is None:
            session = self._choice.open(self._specs[task], self._bundle, self._threads)
            fallback = _fallback(self._told(session, task)) if self._strict else ""
            if fallback:
                session.close()
                raise DeviceError(f"model {task!r}: {fallback}; mend that, or allow it with strict=False")
            self._sessions[task] = session
        return session

    def _told(self, session: Session, task: str) -> Ran:
        # A session of somebody who wrapped one before there was `ran` says nothing: then it is only known who
        # opened it.
        told: Ran | None = getattr(session, "ran", None)
        backend = self._choice.backend.name
        return told or Ran(backend, precision=self._specs[task].precision, threads=self._threads)

    def _chosen(self, backend: object) -> Choice:
        specs = tuple(self._specs.values())
        if isinstance(backend, str):
            if backend == "auto":
                return choose(specs, self._bundle, self._threads, strict=self._strict)
            return taken(create(backend), specs, spare=not self._strict)
        if isinstance(backend, type):
            raise ArgumentError(
                f"backend is the class {backend.__name__} itself; pass {backend.__name__}(...)"
            )
        if not isinstance(backend, Backend):
            raise ArgumentError(f"backend must be a name or a Backend, not {type(backend).__name__}")
        return taken(backend, specs)


class _Found(NamedTuple):
    """A face to describe, and how sure the landmark model must be of it; None: the caller says it is one."""

    face: Face
    least: float | None


def _face(detection: Detection) -> Face:
    keypoints = detection.keypoints
    roll = None if keypoints is None else roll_from_keypoints(keypoints)
    return Face(bbox=detection.bbox, roll=roll, keypoints=keypoints)


def _checked_tasks(name: str, tasks: Collection[str]) -> tuple[str, ...]:
    if isinstance(tasks, str) or not isinstance(tasks, Iterable):
        mend = (
            f"write [{tasks!r}]" if tasks in TASKS else f"choose from {', '.join(TASKS)}, [] for none of them"
        )
        raise ArgumentError(f"{name} must be a list of names, not {tasks!r}; {mend}")
    asked = list(tasks)
    unknown = [task for task in asked if task not in TASKS]
    if unknown:
        raise ArgumentError(f"{name}: {unknown[0]!r} is unknown; choose from {', '.join(TASKS)}")
    return tuple(task for task in TASKS if task in asked)


def _checked_count(name: str, value: Any, most: int) -> int:
    try:
        # `index` takes NumPy's integers too, and no float; True is an integer to it and a slip to us.
        count = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = 0
    if not 1 <= count <= most:
        raise ArgumentError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
    return count


def _checked_score(value: Any) -> float:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)  # NumPy's float32 is no float
    if not number or not 0.0 < value < 1.0:
        raise ArgumentError(f"min_score must be a number between 0 and 1, not {value!r}")
    return float(value)


def _checked_size(value: Any) -> float:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    least, most = _SIDES
    if not number or not least <= value <= most:
        raise ArgumentError(f"smallest_face must be a number of pixels from {least} to {most}, not {value!r}")
    return float(value)


def _given(boxes: object, rolls: object, frame: Frame) -> list[_Found] | None:
    if boxes is None:
        if rolls is not None:
            raise ArgumentError("rolls say how the faces in boxes lean; pass boxes, too")
        return None
    if not isinstance(boxes, Iterable):
        raise ArgumentError(f"boxes must be a list of BBox, not {type(boxes).__name__}; write [BBox(...)]")
    checked = [_checked_box(box, frame) for box in boxes]
    if rolls is None:
        return [_Found(Face(bbox=box), None) for box in checked]
    if isinstance(rolls, str) or not isinstance(rolls, Iterable):
        raise ArgumentError(f"rolls must be a list of degrees, not {rolls!r}; write [{rolls!r}]")
    leans = [_checked_roll(roll) for roll in rolls]
    if len(leans) != len(checked):
        raise ArgumentError(
            f"{len(checked)} boxes and {len(leans)} rolls; give one to each, None for an unknown one"
        )
    return [_Found(Face(bbox=box, roll=lean), None) for box, lean in zip(checked, leans, strict=True)]


def _checked_box(box: object, frame: Frame) -> BBox:
    if not isinstance(box, BBox):
        mend = "pass face.bbox" if isinstance(box, Face) else "write BBox(x, y, width, height)"
        raise ArgumentError(f"boxes must hold BBox, not {type(box).__name__}; {mend}")
    overlaps = (
        box.x < frame.width and box.y < frame.height and box.x + box.width > 0 and box.y + box.height > 0
    )
    if not overlaps or max(box.width, box.height) > 10 * max(frame.width, frame.height):
        raise ArgumentError(f"{box} is not a face in {frame.source} ({frame.width} x {frame.height} pixels)")
    return box


def _checked_roll(roll: Any) -> float | None:
    if roll is None:
        return None
    number = isinstance(roll, numbers.Real) and not isinstance(roll, bool)
    if not number or not -180.0 <= roll <= 180.0:
        raise ArgumentError(f"rolls must hold degrees from -180 to 180 or None, not {roll!r}")
    return float(roll)


def _loaded(bundle: object) -> Bundle:
    if bundle is None:
        return Bundle.builtin()
    if isinstance(bundle, Bundle):
        return bundle
    if not isinstance(bundle, (str, os.PathLike)):
        raise ArgumentError(
            f"bundle must be a path or a Bundle, not {type(bundle).__name__}; "
            "Bundle.from_bytes reads one from memory"
        )
    return Bundle.load(bundle)


def _fallback(ran: Ran) -> str:
    """How less than what was asked for runs a model; empty when nothing was given up."""
    if ran.degraded:
        return "the accelerator cannot open it and the CPU stood in"
    if ran.cpu_operators:
        return f"{ran.backend} left {ran.cpu_operators} operators on the CPU"
    if ran.backend.rpartition(":")[2] == "litert" and ran.delegate is None:
        return "LiteRT runs without XNNPACK, its fast kernels; is /sys mounted, and ai-edge-litert installed?"
    return ""
