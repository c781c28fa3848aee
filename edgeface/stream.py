"""From a camera to results as they are: the newest frame wins, and whoever is late drops the older ones.

A queue in front of a slow analyzer only makes its results old. Here one thread reads the camera into a single
place, where a new frame replaces one that nobody has taken; the caller's own thread takes, analyses and
hands on. So a result is at most as old as the analysis took and two frames more, whatever the load.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edgeface.errors import ArgumentError, FrameError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType

    from edgeface.camera import Camera
    from edgeface.frame import Frame

__all__ = ["Moment", "Stream"]

Result = TypeVar("Result")

_PATIENCE = 2.0  # seconds that `close` waits for a camera that hangs in its driver


@dataclass(frozen=True, slots=True)
class Moment(Generic[Result]):
    """A frame of a stream and what became of it.

    Attributes:
        frame: The frame.
        result: What the stream's function made of it.
        age_ns: From the camera's time of the frame until its result was there, nanoseconds. Of a film that is
            not played live this says nothing.
        took_ns: How much of that the function took.
        dropped: Frames that came and were replaced since the last moment.
        dropped_total: The same since the stream began.
    """

    frame: Frame
    result: Result
    age_ns: int
    took_ns: int
    dropped: int
    dropped_total: int

    def to_dict(self) -> dict[str, int]:
        """Return all but frame and result as JSON values: what ``edgeface/schema.json`` calls "stream"."""
        return {name: getattr(self, name) for name in ("age_ns", "took_ns", "dropped", "dropped_total")}


class Stream(Generic[Result]):
    """Runs a function over the newest frames of a camera.

        with open_camera(0) as camera, FaceAnalyzer() as analyzer:
            tracker = FaceTracker(analyzer)
            with Stream(camera, tracker.update) as stream:
                for moment in stream:
                    print(len(moment.result.tracks), moment.age_ns / 1e6, moment.dropped_total)

    ``async for`` does the same from a coroutine, the function in a thread of the loop's executor; ``run``
    calls back. Frames of a camera that is not live (a film) are never dropped: they wait.

    It ends with the camera, with `close` from any thread, within one frame, or by itself with the error of
    the camera or of the function. A picture that cannot be used is counted in `broken` and skipped. The
    camera is not closed.

    Args:
        camera: where the frames come from.
        function: what to do with each: ``tracker.update``, ``analyzer.analyze``.

    Raises:
        ArgumentError: `function` cannot be called.
    """

    def __init__(self, camera: Camera, function: Callable[[Frame], Result]) -> None:
        if not callable(function):
            raise ArgumentError(f"function must take a frame, such as tracker.update, not {function!r}")
        self._camera, self._function = camera, function
        self._change = threading.Condition()
        self._frame: Frame | None = None
        self._error: Exception | None = None
        self._over = self._closed = False
        self._told = 0
        self.dropped = 0
        """Frames that came and were replaced before anybody took them."""
        self.broken = 0
        """Pictures that the camera gave and that could not be used."""
        self._reader = threading.Thread(target=self._read, name="edgeface camera", daemon=True)
        self._started = False

    def next(self, timeout: float | None = None) -> Moment[Result] | None:
        """Wait for the newest frame that was not taken yet and analyse it.

        Args:
            timeout: seconds to wait for a frame; None: until there is one.

        Returns:
            The moment; None when the stream is over or the time has passed.

        Raises:
            CameraError: the camera is lost and does not come back by itself.
            EdgeFaceError: whatever the function raises; the stream goes on and can be asked again.
        """
        self._start()
        with self._change:
            self._change.wait_for(lambda: self._frame is not None or self._over, timeout)
            frame, self._frame = self._frame, None
            if self._error is not None and frame is None:
                error, self._error = self._error, None
                raise error
            if frame is None or (self._over and self._closed):
                return None
            dropped = self.dropped
            self._change.notify_all()
        began = time.monotonic_ns()
        result = self._function(frame)
        now = time.monotonic_ns()
        since, self._told = dropped - self._told, dropped
        return Moment(frame, result, now - frame.timestamp_ns, now - began, since, dropped)

    def run(self, callback: Callable[[Moment[Result]], Any]) -> None:
        """Call back with every moment until the stream is over. `close` may come from the callback.

        Raises:
            CameraError: as `next`.
            EdgeFaceError: as `next`; and whatever the callback raises.
        """
        for moment in self:
            callback(moment)

    def close(self) -> None:
        """End the stream; a frame in progress is finished. Closing twice is allowed."""
        with self._change:
            self._over = self._closed = True
            self._change.notify_all()
        if self._started and threading.current_thread() is not self._reader:
            self._reader.join(_PATIENCE)

    def __enter__(self) -> Stream[Result]:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Moment[Result]]:
        while (moment := self.next()) is not None:
            yield moment

    async def __aiter__(self) -> AsyncIterator[Moment[Result]]:
        import asyncio

        loop = asyncio.get_running_loop()
        try:
            while (moment := await loop.run_in_executor(None, self.next)) is not None:
                yield moment
        except asyncio.CancelledError:
            # The executor's thread would wait for a frame that nobody wants any more.
            with self._change:
                self._over = self._closed = True
                self._change.notify_all()
            raise

    def _start(self) -> None:
        with self._change:
            if not self._started and not self._over:
                self._started = True
                self._reader.start()

    def _read(self) -> None:
        """The reader's thread: keep the newest frame in its place until the camera or the stream ends."""
        try:
            while not self._over:
                try:
                    frame = self._camera.read()
                except FrameError:
                    self.broken += 1
                    continue
                if frame is not None:
                    self._put(frame)
                elif self._camera.ended:
                    break
        except Exception as error:  # noqa: BLE001  not lost with this thread: the caller's raises it
            self._error = error
        finally:
            with self._change:
                self._over = True
                self._change.notify_all()

    def _put(self, frame: Frame) -> None:
        with self._change:
            if not self._camera.live:
                self._change.wait_for(lambda: self._frame is None or self._over)
            if self._over:
                return
            if self._frame is not None:
                self.dropped += 1
            self._frame = frame
            self._change.notify_all()
