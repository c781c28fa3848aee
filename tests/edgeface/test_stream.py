"""Promise 14 and a clean end: the newest frame wins, nothing grows old, nobody hangs."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edgeface.camera import ScriptedCamera
from edgeface.errors import ArgumentError, CameraError, DeviceError, EdgeFaceError, FrameError
from edgeface.frame import Frame
from edgeface.stream import Moment, Stream
from edgeface.tracking import FaceTracker
from tests.edgeface.crowd import Crowd, Person, frame_at

Items = Iterator[Frame | EdgeFaceError | None]


def numbered(k: int) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), time.monotonic_ns(), str(k))


def paced(rate: float, count: int | None = None) -> Items:
    """Frames of a camera: each at its own time, whether anybody reads or not."""
    start = time.monotonic()
    for k in itertools.count() if count is None else range(count):
        due = start + k / rate
        time.sleep(max(0.0, due - time.monotonic()))
        yield numbered(k)


def readers() -> int:
    return sum(thread.name == "edgeface camera" for thread in threading.enumerate())


def test_three_times_overloaded_results_stay_young_and_drops_are_counted() -> None:
    """Ten frames a second, an analysis of 300 ms: each result is as old as that and two frames at most."""
    rate = 10.0
    moments: list[Moment[str]] = []

    def slow(frame: Frame) -> str:
        time.sleep(0.3)
        return frame.source

    with Stream(ScriptedCamera(paced(rate, 50)), slow) as stream:
        moments.extend(stream)
    over = [moment.age_ns - moment.took_ns for moment in moments]
    # All but one: this machine may be busy with others for that one.
    assert sorted(over)[-2] <= 2 / rate * 1e9
    assert 12 <= len(moments) <= 20
    numbers = [int(moment.result) for moment in moments]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 49
    assert moments[-1].dropped_total == stream.dropped == 50 - len(moments)
    assert sum(moment.dropped for moment in moments) == stream.dropped
    assert all(moment.frame.source == moment.result for moment in moments)


def test_nothing_is_dropped_when_there_is_time() -> None:
    with Stream(ScriptedCamera(paced(20.0, 20)), lambda frame: frame.source) as stream:
        seen = [moment.result for moment in stream]
    assert len(seen) + stream.dropped == 20
    assert stream.dropped <= 2


def test_a_film_waits_and_loses_no_frame() -> None:
    camera = ScriptedCamera((numbered(k) for k in range(50)), live=False)
    with Stream(camera, lambda frame: int(frame.source)) as stream:
        seen = []
        for moment in stream:
            time.sleep(0.001)
            seen.append(moment.result)
    assert seen == list(range(50))
    assert stream.dropped == 0


@pytest.mark.parametrize("how", ["iterate", "call back", "asyncio"])
def test_it_stops_within_a_frame_and_leaves_no_thread(how: str) -> None:
    stream = Stream(ScriptedCamera(paced(20.0)), lambda frame: frame.source)
    seen: list[str] = []

    def take(moment: Moment[str]) -> None:
        seen.append(moment.result)
        if len(seen) == 5:
            stream.close()

    async def listen() -> None:
        async for moment in stream:
            take(moment)

    if how == "iterate":
        for moment in stream:
            take(moment)
    elif how == "call back":
        stream.run(take)
    else:
        asyncio.run(listen())
    began = time.monotonic()
    stream.close()
    assert len(seen) == 5
    assert time.monotonic() - began < 1.0
    assert readers() == 0


def test_closing_from_another_thread_ends_a_wait_for_a_camera_that_gives_nothing() -> None:
    def silent() -> Items:
        while True:
            time.sleep(0.02)
            yield None

    stream = Stream(ScriptedCamera(silent()), lambda frame: frame)
    closer = threading.Timer(0.2, stream.close)
    closer.start()
    began = time.monotonic()
    assert list(stream) == []
    assert time.monotonic() - began < 2.0
    closer.join()
    assert stream.next() is None
    assert readers() == 0


def test_a_cancelled_task_leaves_no_thread_behind() -> None:
    def silent() -> Items:
        while True:
            time.sleep(0.02)
            yield None

    stream = Stream(ScriptedCamera(silent()), lambda frame: frame)

    async def listen() -> None:
        async for _ in stream:
            raise AssertionError("there is no frame")

    async def soon_cancelled() -> None:
        task = asyncio.create_task(listen())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    began = time.monotonic()
    asyncio.run(soon_cancelled())
    assert time.monotonic() - began < 2.0
    stream.close()
    assert readers() == 0


def test_a_coroutine_goes_on_while_the_stream_works() -> None:
    def slow(frame: Frame) -> None:
        time.sleep(0.05)

    async def count() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        ticker = asyncio.create_task(tick())
        with Stream(ScriptedCamera(paced(30.0, 10)), slow) as stream:
            async for _ in stream:
                pass
        ticker.cancel()
        return ticks

    assert asyncio.run(count()) >= 5


def test_errors_of_the_camera_come_to_the_caller_after_the_last_frame() -> None:
    script = [numbered(0), FrameError("torn"), numbered(1), CameraError("unplugged")]
    seen: list[str] = []
    with Stream(ScriptedCamera(script, live=False), lambda frame: frame.source) as stream:
        with pytest.raises(CameraError, match="unplugged"):
            stream.run(lambda moment: seen.append(moment.result))
        assert stream.next() is None
    assert seen == ["0", "1"]
    assert stream.broken == 1


def test_a_defect_in_a_camera_is_not_swallowed() -> None:
    def broken() -> Items:
        yield numbered(0)
        raise ZeroDivisionError("a driver's own fault")

    with Stream(ScriptedCamera(broken(), live=False), lambda frame: frame.source) as stream:
        assert stream.next() is not None
        with pytest.raises(ZeroDivisionError):
            stream.next()


def test_an_error_of_the_function_does_not_end_the_stream() -> None:
    def picky(frame: Frame) -> str:
        if frame.source == "1":
            raise DeviceError("lost")
        return frame.source

    with Stream(ScriptedCamera((numbered(k) for k in range(3)), live=False), picky) as stream:
        first = stream.next()
        with pytest.raises(DeviceError):
            stream.next()
        last = stream.next()
    assert first is not None
    assert last is not None
    assert (first.result, last.result) == ("0", "2")


def test_a_wait_can_end_without_a_frame() -> None:
    with Stream(ScriptedCamera(paced(2.0)), lambda frame: frame.source) as stream:
        assert stream.next() is not None
        assert stream.next(timeout=0.01) is None
        assert stream.next() is not None


def test_a_moment_of_a_tracker_is_json_that_follows_the_schema(repository: Path) -> None:
    schema = json.loads((repository / "edgeface" / "schema.json").read_text())
    tracker = FaceTracker(Crowd([Person(lambda t: (200.0, 240.0))]))
    with Stream(ScriptedCamera([frame_at(k / 30) for k in range(10)], live=False), tracker.update) as stream:
        *_, moment = stream
    said = json.loads(json.dumps({**moment.result.to_dict(), "stream": moment.to_dict()}))
    jsonschema.Draft202012Validator(schema).validate(said)
    assert set(said) == set(schema["properties"])
    described = schema["$defs"]["stream"]
    assert set(said["stream"]) == set(described["properties"]) == set(described["required"])
    assert said["stream"]["took_ns"] == moment.took_ns


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"tracker\.update"):
        Stream(ScriptedCamera([]), None)  # type: ignore[arg-type]
