"""What the parts of a running service share, and the ways in which they take turns."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from edgeface.frame import ImageLimits, decode_image
from edgeface.service.access import Access
from edgeface.service.bodies import Bodies, RequestError
from edgeface.service.live import Live, analyzer_of, bundle_of
from edgeface.service.metrics import Metrics
from edgeface.service.privacy import counts_of
from edgeface.tracking import FaceTracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeface.frame import Frame
    from edgeface.results import FrameResult
    from edgeface.service.cameras import Offer
    from edgeface.service.outlet import Outlet
    from edgeface.service.settings import ServiceSettings
    from edgeface.tracks import TrackResult

__all__ = ["Kiosk"]


class Kiosk:
    """A service: its camera, its analyzer for pictures that were sent, and what is counted.

    Belongs to the event loop, but for `analyze` and `follow`, which take their time in another thread.

    Args:
        settings: who may ask, and for what.
        offers: the cameras that may be chosen.

    Raises:
        BundleError: the bundle is damaged, foreign, or has no model for a task.
        DeviceError: no backend opens the models.
        ArgumentError: a setting is one that the analyzer refuses.
    """

    def __init__(self, settings: ServiceSettings, offers: Sequence[Offer]) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.bundle = bundle_of(settings)
        self.live = Live(offers, self.bundle, settings, self.metrics)
        self.access = Access(settings)
        self.bodies = Bodies(settings.limits)
        self.outlets: list[Outlet] = []
        """Where results go by themselves; closed with the kiosk."""
        self.viewers = 0
        """Streams that are open."""
        # Not the live view's own: a large photo must not hold up the camera.
        self._still = analyzer_of(settings, self.bundle, settings.tasks)
        self._limits = ImageLimits(settings.limits.body, settings.limits.pixels)
        self._waiting = 0
        self._working: set[asyncio.Future[FrameResult | TrackResult]] = set()
        self.connections: Sequence[object] | set[Any] = ()
        """The connections that are open, as the server keeps them."""

    def check_seat(self) -> None:
        """See whether a seat for a viewer is free.

        Raises:
            RequestError: 503, all are taken.
        """
        if self.viewers >= self.settings.limits.viewers:
            raise RequestError(503, "too many viewers; try again when somebody has left")

    @contextlib.contextmanager
    def seat(self) -> Iterator[None]:
        """Take one of the seats for viewers while the block runs; raises as `check_seat`."""
        self.check_seat()
        self.viewers += 1
        try:
            yield
        finally:
            self.viewers -= 1

    async def analyze(self, data: bytes) -> dict[str, Any]:
        """Return the result of a picture that was sent.

        Raises:
            FrameError: it is no picture, or too large.
            RequestError: 503, too many wait already.
            DeviceError: the backend failed.
        """
        return self._told(await self._in_turn(data, None))

    async def follow(self, data: bytes, tracker: FaceTracker) -> dict[str, Any]:
        """Return the result of the next frame of a visitor's webcam; raises as `analyze`."""
        return self._told(await self._in_turn(data, tracker))

    def tracker(self) -> FaceTracker:
        """Return a tracker for one visitor's webcam."""
        return FaceTracker(self._still)

    def close(self) -> None:
        """Close camera, outlets and models; waits for the frames in progress."""
        self.live.stop()
        for outlet in self.outlets:
            outlet.close()
        self._still.close()

    async def _in_turn(self, data: bytes, tracker: FaceTracker | None) -> FrameResult | TrackResult:
        if self._waiting >= self.settings.limits.waiting:
            raise RequestError(503, "too many pictures wait for their analysis; try again in a moment")
        self._waiting += 1
        # Shielded: whoever hangs up leaves a thread that works on, and it is counted until it is done.
        work = asyncio.ensure_future(self._work(data, tracker))
        self._working.add(work)
        work.add_done_callback(self._done)
        return await asyncio.shield(work)

    def _done(self, work: asyncio.Future[FrameResult | TrackResult]) -> None:
        self._working.discard(work)
        if not work.cancelled():
            work.exception()  # looked at, because nobody may be left who does

    async def _work(self, data: bytes, tracker: FaceTracker | None) -> FrameResult | TrackResult:
        try:
            return await asyncio.to_thread(self._analyzed, data, tracker)
        finally:
            self._waiting -= 1
            self.metrics.count("pictures")

    def _analyzed(self, data: bytes, tracker: FaceTracker | None) -> FrameResult | TrackResult:
        frame: Frame = decode_image(data, self._limits, source="upload")
        return self._still.analyze(frame) if tracker is None else tracker.update(frame)

    def _told(self, result: FrameResult | TrackResult) -> dict[str, Any]:
        return counts_of(result) if self.settings.privacy == "counts" else result.to_dict()
