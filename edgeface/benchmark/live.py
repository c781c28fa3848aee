"""Streams: frames come in their own time, the newest counts, and whoever is late drops the older ones."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from edgeface.benchmark.pictures import wobble
from edgeface.benchmark.run import stage_of
from edgeface.benchmark.samples import Series
from edgeface.camera.scripted import ScriptedCamera
from edgeface.errors import DeviceError
from edgeface.frame import Frame
from edgeface.stream import Stream
from edgeface.tracking import FaceTracker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeface.benchmark.pictures import Scene
    from edgeface.benchmark.run import Run
    from edgeface.benchmark.subject import Watched
    from edgeface.stream import Moment
    from edgeface.tracks import TrackResult

__all__ = ["multi", "stream"]

_LOOP = 30  # pictures that a camera plays over and over: made beforehand, so that making them costs no time
_LEAST_FOUND = 0.95  # the face must be in this part of the frames
_WARM_SHARE, _WARM_MOST = 0.1, 3.0  # of the run, and seconds


def stream(run: Run) -> None:
    """One camera and one tracker, for each frame rate that was asked for."""
    scenes = wobble(run.sitter, _LOOP)
    run.scenes += scenes
    for rate in run.asked.rates:
        series = run.begin(Series(f"{rate:g} fps", "stream"))
        _play(run, [series], scenes, rate, run.seconds / len(run.asked.rates))


def multi(run: Run) -> None:
    """Several cameras, each with an analyzer and a thread of its own; they share the loaded bundle."""
    scenes = wobble(run.sitter, _LOOP)
    run.scenes += scenes
    cases = [run.begin(Series(f"stream {n + 1}", "stream")) for n in range(run.asked.streams)]
    _play(run, cases, scenes, run.asked.rates[0], run.seconds)


def _play(run: Run, cases: list[Series], scenes: list[Scene], rate: float, seconds: float) -> None:
    """Play the scenes to one stream per case until the time is over."""
    over, errors = threading.Event(), list[Exception]()
    threads: list[threading.Thread] = []
    try:
        with ExitStack() as stack:
            opened = [run.subject.analyzer() for _ in cases]
            for analyzer, _ in opened:
                stack.enter_context(analyzer)
            # The threads end after their streams and before their analyzers.
            stack.callback(_join, threads)
            for series, (analyzer, watched) in zip(cases, opened, strict=True):
                # Opening the models takes a second on a small board: a stream would begin with drops.
                for scene in scenes[:2]:
                    run.saw(analyzer.analyze(scene.rgb), scene)
                camera = ScriptedCamera(_frames(scenes, rate, over))
                played = Stream(camera, FaceTracker(analyzer).update)
                stack.callback(played.close)
                viewer = _Viewer(run, series, watched, min(_WARM_MOST, _WARM_SHARE * seconds))
                threads.append(
                    threading.Thread(
                        target=_view,
                        args=(viewer, played, errors),
                        name=f"edgeface {series.name}",
                        daemon=True,
                    )
                )
            stack.callback(over.set)
            for thread in threads:
                thread.start()
            begin = time.monotonic()
            while time.monotonic() - begin < seconds and not errors:
                over.wait(0.2)
                run.tell(cases[0].name, round(time.monotonic() - begin), round(seconds))
    finally:
        # Also after Ctrl-C: what must not be a result is none because it was cut short.
        if errors:
            raise errors[0]


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        if thread.ident is not None:
            thread.join()


def _view(viewer: _Viewer, played: Stream[TrackResult], errors: list[Exception]) -> None:
    """A stream's own thread."""
    try:
        while (moment := played.next()) is not None:
            viewer.saw(moment)
        viewer.finish()
    except Exception as error:  # noqa: BLE001  not lost with this thread: the main one raises it
        errors.append(error)


class _Viewer:
    """Keeps what comes out of one stream."""

    def __init__(self, run: Run, series: Series, watched: Watched, warm_up: float) -> None:
        self._run, self._series, self._watched = run, series, watched
        self._warm_until = time.monotonic() + warm_up
        self._dropped_before = self._found = 0
        series.came = 0
        watched.spent.clear()

    def saw(self, moment: Moment[TrackResult]) -> None:
        """Take up one frame."""
        series = self._series
        self._run.saw(moment.result.frame, None)
        if time.monotonic() < self._warm_until:
            series.warm_up += 1
            self._dropped_before = moment.dropped_total
        else:
            self._run.gauge.settle()
            self._found += len(moment.result.tracks) == 1
            stages = dict(moment.result.frame.timings)
            for name, took in self._watched.spent.items():
                stages[f"{stage_of(name)}.run"] = took
            series.add(self._run.clock(), {**stages, "total": moment.took_ns, "age": moment.age_ns})
            series.dropped = moment.dropped_total - self._dropped_before
            series.came = len(series) + series.dropped
        self._watched.spent.clear()

    def finish(self) -> None:
        """Refuse a stream in which the face was not there.

        Raises:
            DeviceError: it was missing from more than a twentieth of the frames.
        """
        count = len(self._series)
        if self._found < _LEAST_FOUND * count:
            raise DeviceError(
                f"backend {self._run.subject.backend.name!r}: the face was found in {self._found} of {count} "
                f"frames ({self._run.sitter.what}), so there is no result; if its models are sound, give a "
                "photo with --image"
            )


def _frames(scenes: list[Scene], rate: float, over: threading.Event) -> Iterator[Frame]:
    """The scenes over and over, each when its time has come, stamped with the time at which it was due."""
    begin, index = time.monotonic_ns(), 0
    while not over.is_set():
        due = begin + round(index * 1e9 / rate)
        time.sleep(max(0, due - time.monotonic_ns()) * 1e-9)
        yield Frame(scenes[index % len(scenes)].rgb, due, "benchmark")
        index += 1
