"""The live view: one camera, one analyzer and one thread, started and stopped from the page."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.analyzer import TASKS, FaceAnalyzer
from edgeface.bundle import Bundle
from edgeface.errors import ArgumentError, CameraError, EdgeFaceError, ServiceError
from edgeface.known import TrackSettings
from edgeface.service.privacy import CoverMemory, Witness
from edgeface.service.shot import Seen, Shot
from edgeface.stream import Stream
from edgeface.tracking import FaceTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeface.camera import Camera
    from edgeface.frame import Frame
    from edgeface.service.cameras import Offer
    from edgeface.service.metrics import Metrics
    from edgeface.service.settings import ServiceSettings
    from edgeface.stream import Moment
    from edgeface.tracks import TrackEvent

__all__ = ["Live", "analyzer_of", "bundle_of"]

_LATELY = 2.0  # seconds over which frames per second are counted
_EVENTS = 256  # that viewers may catch up with
_AGES = 120  # frames over which the latency is told
_WAIT = 0.25  # seconds that the thread waits for a frame before it looks whether it shall stop


@dataclass(slots=True)
class _Run:
    """A camera that is on."""

    offer: Offer
    tasks: tuple[str, ...]
    camera: Camera
    analyzer: FaceAnalyzer
    stack: contextlib.ExitStack
    over: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Live:
    """Runs the chosen camera and keeps its newest shot.

    `start` and `stop` block and may come from any thread; `bind`, `next` and `end` belong to the event loop.

    Args:
        offers: the cameras that may be chosen.
        bundle: the models.
        settings: of the service.
        metrics: what is counted.
    """

    def __init__(
        self, offers: Sequence[Offer], bundle: Bundle, settings: ServiceSettings, metrics: Metrics
    ) -> None:
        self.offers = {offer.key: offer for offer in offers}
        if len(self.offers) != len(offers):
            raise ArgumentError("two cameras have the same name; rename a file, or name one of them alone")
        self._bundle, self._settings, self._metrics = bundle, settings, metrics
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._fault, self._broken = "", False
        self._number = 0
        self._newest: Shot | None = None
        self._stamps: deque[float] = deque()
        self._ages: deque[int] = deque(maxlen=_AGES)
        self._events: deque[tuple[int, TrackEvent]] = deque(maxlen=_EVENTS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._ended = False
        self._listeners: list[Callable[[Shot], None]] = []

    def bind(self) -> None:
        """Tell news to the running event loop from now on."""
        self._loop = asyncio.get_running_loop()

    def start(self, key: str, tasks: Sequence[str] | None = None) -> None:
        """Open a camera in place of the one that is on.

        Raises:
            ArgumentError: there is no such camera or task.
            CameraError: it cannot be opened.
            DeviceError: no backend opens the models.
            ServiceError: the service is shutting down.
        """
        offer = self.offers.get(key)
        if offer is None:
            known = ", ".join(self.offers) or "none"
            raise ArgumentError(f"camera {key!r} is unknown; there is {known}")
        chosen = self._settings.tasks if tasks is None else tuple(tasks)
        with self._lock:
            if self._ended:
                raise ServiceError("the service is shutting down; start it again")
            self._halt()
            self._fault, self._broken = "", False
            with contextlib.ExitStack() as stack:
                analyzer = stack.enter_context(analyzer_of(self._settings, self._bundle, chosen))
                camera = stack.enter_context(offer.open())
                run = _Run(offer, tuple(chosen), camera, analyzer, stack.pop_all())
            run.thread = threading.Thread(target=self._work, args=(run,), name="edgeface live", daemon=True)
            self._run = run
            run.thread.start()

    def stop(self) -> None:
        """Close the camera, if one is on; returns when its thread has ended."""
        with self._lock:
            self._halt()
            self._fault, self._broken = "", False

    def end(self) -> None:
        """Let every viewer go and take no new one: the service is shutting down. `stop` closes the camera."""
        self._ended = True
        self._news.set()

    def listen(self, listener: Callable[[Shot], None]) -> None:
        """Hand every shot to a listener, in the thread of the camera: it must not take any time."""
        self._listeners.append(listener)

    @property
    def running(self) -> bool:
        """A camera is on."""
        return self._run is not None

    @property
    def broken(self) -> bool:
        """The camera's thread ended by itself, and not for its camera: a restart may help."""
        return self._broken

    @property
    def newest(self) -> Shot | None:
        """The newest shot of the camera that is on."""
        return self._newest

    @property
    def ended(self) -> bool:
        """The service is shutting down."""
        return self._ended

    async def next(self, after: int, patience: float) -> Shot | None:
        """Wait for a shot with a number above `after`; None when none came in `patience` seconds, or it ends.

        A viewer that comes back late gets the newest shot; those in between are nobody's.
        """
        until = time.monotonic() + patience
        while not self._ended:
            shot, news = self._newest, self._news
            if shot is not None and shot.number > after:
                return shot
            try:
                await asyncio.wait_for(news.wait(), until - time.monotonic())
            except (TimeoutError, asyncio.TimeoutError):
                return None
        return None

    def missed(self, after: int, before: int) -> list[TrackEvent]:
        """Return what happened in the shots between two numbers: pictures may be skipped, events may not.

        A viewer who is new, ``after=0``, has missed nothing; of somebody who was away for long, the last 256.
        """
        return [event for number, event in list(self._events) if 0 < after < number < before]

    def state(self) -> dict[str, Any]:
        """Return what is on, and how it fares, as JSON values."""
        run, shot = self._run, self._newest
        health = None if run is None else getattr(run.camera, "health", None)
        ages = sorted(self._ages)
        return {
            "running": self.running,
            "camera": None if run is None else run.offer.key,
            "lost": "" if health is None else health.lost,
            "losses": 0 if health is None else health.losses,
            "fault": self._fault,
            "tasks": list(self._settings.tasks if run is None else run.tasks),
            "fps": round(self._rate(time.monotonic()), 2),
            "latency_ms": {
                "median": round(float(np.median(ages)) / 1e6, 1) if ages else None,
                "p95": round(float(np.percentile(ages, 95)) / 1e6, 1) if ages else None,
            },
            "dropped": 0 if shot is None else shot.moment.dropped_total,
            "backend": None if run is None else run.analyzer.describe()["backend"],
        }

    def _halt(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.over.set()
            if run.thread is not None:
                run.thread.join()
        self._newest = None
        self._stamps.clear()
        self._ages.clear()

    def _work(self, run: _Run) -> None:
        """The thread of one run: every moment becomes a shot, until it is over."""
        metrics, broken = self._metrics, 0
        try:
            with run.stack, Stream(run.camera, _following(run.analyzer, self._settings)) as stream:
                while not run.over.is_set():
                    moment = stream.next(_WAIT)
                    metrics.count("frames_broken", stream.broken - broken)
                    broken = stream.broken
                    if moment is not None:
                        self._take(run, moment)
                    elif run.camera.ended:
                        break
        except EdgeFaceError as error:
            self._fault, self._broken = str(error), not isinstance(error, CameraError)
        finally:
            # It ended by itself: nothing is on any more, and an old picture is no live one.
            if self._run is run and not run.over.is_set():
                self._run, self._newest = None, None

    def _take(self, run: _Run, moment: Moment[Seen]) -> None:
        metrics, result = self._metrics, moment.result.result
        metrics.count("frames")
        metrics.count("frames_dropped", moment.dropped)
        metrics.age.add(max(0, moment.age_ns) * 1e-9)
        metrics.took.add(moment.took_ns * 1e-9)
        for event in result.events:
            metrics.count(f"faces_{event.kind}")
        now = time.monotonic()
        self._stamps.append(now)
        while self._stamps[0] < now - _LATELY:
            self._stamps.popleft()
        self._ages.append(moment.age_ns)
        self._number += 1
        self._events.extend((self._number, event) for event in result.events)
        shot = Shot(self._number, moment, self._settings.privacy, self._rate(now))
        if not run.over.is_set():
            self._newest = shot
            for listener in self._listeners:
                listener(shot)
            if self._loop is not None and not self._ended:
                # The loop may have been closed a moment ago; then there is nobody to tell.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._announce)

    def _announce(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()
        if self._ended:
            self._news.set()

    def _rate(self, now: float) -> float:
        stamps = [stamp for stamp in list(self._stamps) if stamp >= now - _LATELY]
        return (len(stamps) - 1) / (stamps[-1] - stamps[0]) if len(stamps) > 1 else 0.0


def bundle_of(settings: ServiceSettings) -> Bundle:
    """Return the models that the settings name.

    Raises:
        BundleError: the bundle is damaged or foreign.
    """
    bundle = settings.bundle
    if bundle is None:
        return Bundle.builtin()
    return bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)


def analyzer_of(settings: ServiceSettings, bundle: Bundle, tasks: Sequence[str]) -> FaceAnalyzer:
    """Open an analyzer as the settings say; where faces are to be hidden, the parsing map is always made."""
    if settings.covers_faces:
        tasks = [task for task in TASKS if task in tasks or task == "parsing"]
    return FaceAnalyzer(
        tasks,
        max_faces=None if settings.covers_faces else settings.max_faces,  # whoever is left out is not hidden
        smallest_face=settings.smallest_face,
        threads=settings.threads,
        backend=settings.backend,
        strict=settings.strict,
        bundle=bundle,
    )


def _following(analyzer: FaceAnalyzer, settings: ServiceSettings) -> Callable[[Frame], Seen]:
    """Return what follows the faces of a stream; where they are to be hidden, it misses none for long.

    A tracker lets the detector rest, and leaves out what it is not sure of: both would show a face. So there
    the detector looks at every frame, and all that it finds is hidden, whatever the tracker makes of it.
    """
    if not settings.covers_faces:
        tracker = FaceTracker(analyzer)
        return lambda frame: Seen(tracker.update(frame))
    witness, memory = Witness(analyzer), CoverMemory()
    watchful = FaceTracker(witness, TrackSettings(detect_every=0.0, idle_every=0.0))

    def follow(frame: Frame) -> Seen:
        witness.faces.clear()
        result = watchful.update(frame)
        faces = (*result.frame.faces, *witness.faces)
        return Seen(result, faces, tuple(memory.boxes(faces, frame.timestamp_ns)))

    return follow
