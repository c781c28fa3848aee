"""Promise 13 on a device that does as it is told: unplugged, frozen, silent, another size; and back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgeface.camera import Camera, CameraHealth, ScriptedCamera, SteadyCamera
from edgeface.errors import ArgumentError, CameraError, EdgeFaceError
from edgeface.frame import Frame

Script = Callable[[float], Frame | EdgeFaceError | None]
PERIOD = 1 / 30


class Plug:
    """A port of 30 frames per second with its own time; `script` says what the device does at a moment.

    `absent` is when nothing can be opened.
    """

    def __init__(self, script: Script, absent: Callable[[float], bool] = lambda seconds: False) -> None:
        self.seconds = 0.0
        self.opened: list[float] = []
        self.closed = 0
        self._script, self._absent = script, absent

    def open(self) -> Camera:
        self.opened.append(self.seconds)
        if self._absent(self.seconds):
            raise CameraError("usb: there is no such camera; is it plugged in?")
        plug = self

        class Device(ScriptedCamera):
            def close(self) -> None:
                plug.closed += not self.ended
                super().close()

        return Device(self._frames())

    def _frames(self) -> Iterator[Frame | EdgeFaceError | None]:
        while True:
            self.seconds += PERIOD
            yield self._script(self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def steady(self, **settings: object) -> SteadyCamera:
        return SteadyCamera(self.open, clock=lambda: self.seconds, sleep=self.sleep, **settings)  # type: ignore[arg-type]

    def watched(self, camera: SteadyCamera, until: float) -> list[float]:
        """The moments at which there was a frame."""
        moments = []
        while self.seconds < until:
            if camera.read() is not None:
                moments.append(self.seconds)
        return moments


def picture(seed: int, height: int = 48, width: int = 64) -> Frame:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame(rgb, 0, "usb")


def alive(seconds: float) -> Frame:
    return picture(round(seconds * 30))


def gaps(moments: list[float]) -> list[tuple[float, float]]:
    return [(a, b) for a, b in itertools.pairwise(moments) if b - a > 0.2]


def test_a_camera_that_works_is_opened_once_and_every_frame_passes() -> None:
    plug = Plug(alive)
    moments = plug.watched(plug.steady(), 10.0)
    assert len(moments) in (300, 301)
    assert plug.opened == [0.0]


@pytest.mark.parametrize("away", [0.5, 4.0, 60.0])
def test_unplugged_and_back_within_three_seconds(away: float) -> None:
    def gone(seconds: float) -> bool:
        return 5.0 <= seconds < 5.0 + away

    plug = Plug(lambda s: CameraError("usb: was unplugged") if gone(s) else alive(s), gone)
    camera = plug.steady()
    moments = plug.watched(camera, 5.0 + away + 5)
    (before, after), *others = gaps(moments)
    assert others == []
    assert before == pytest.approx(5.0, abs=0.05)
    assert after <= 5.0 + away + 3.0
    assert camera.health == CameraHealth(losses=1)
    # It is not asked without pause while it is away.
    assert len(plug.opened) <= 8 + away
    assert plug.closed == 1


def test_a_frozen_picture_is_noticed_in_two_seconds_and_the_camera_opened_anew() -> None:
    plug = Plug(lambda s: picture(7) if s >= 5 and len(plug.opened) == 1 else alive(s))
    camera = plug.steady()
    moments = plug.watched(camera, 12.0)
    (last, next_one), *others = gaps(moments)
    assert others == []
    assert 6.0 < last < 7.0
    assert next_one - 5.0 < 3.0
    assert camera.health == CameraHealth(losses=1, freezes=1)
    assert len(plug.opened) == 2


def test_a_device_that_stays_frozen_gives_no_more_frames_and_is_one_loss() -> None:
    """OpenCV gives the last picture for ever: opening it again must not pass for a cure."""
    plug = Plug(lambda s: picture(7) if 5 <= s < 30 else alive(s))
    camera = plug.steady()
    moments = plug.watched(camera, 29.0)
    assert max(moments) < 7.0
    assert camera.health.losses == camera.health.freezes == 1
    assert "same picture" in camera.health.lost
    later = plug.watched(camera, 40.0)
    assert min(later) < 33.0
    assert camera.health == CameraHealth(losses=1, freezes=1)


def test_a_still_picture_is_right_where_the_caller_says_so() -> None:
    plug = Plug(lambda s: picture(7))
    assert len(plug.watched(plug.steady(freeze_after=None), 10.0)) in (300, 301)


def test_silence_is_a_loss() -> None:
    plug = Plug(lambda s: None if 5 <= s < 9 else alive(s))
    camera = plug.steady()
    moments = plug.watched(camera, 15.0)
    (_, back), *others = gaps(moments)
    assert others == []
    assert back <= 12.0
    assert camera.health.losses == 1


def test_a_change_of_size_is_counted_and_passed_on() -> None:
    plug = Plug(lambda s: picture(round(s * 30), *((48, 64) if s < 5 else (96, 128))))
    camera = plug.steady()
    assert len(plug.watched(camera, 10.0)) in (300, 301)
    assert camera.health == CameraHealth(resizes=1)


def test_an_absent_camera_is_an_error_unless_it_may_come_later() -> None:
    plug = Plug(alive, absent=lambda s: s < 4.0)
    with pytest.raises(CameraError, match="plugged in"):
        plug.steady()
    camera = plug.steady(wait=True)
    assert "plugged in" in camera.health.lost
    assert 4.0 <= plug.watched(camera, 10.0)[0] <= 7.0


def test_while_it_is_lost_a_read_returns_soon() -> None:
    plug = Plug(alive, absent=lambda s: True)
    camera = plug.steady(wait=True)
    for _ in range(100):
        before = plug.seconds
        assert camera.read() is None
        assert plug.seconds - before <= 0.11


def test_a_film_ends_and_a_closed_camera_gives_nothing() -> None:
    film = SteadyCamera(lambda: ScriptedCamera([picture(1), picture(1)], live=False), clock=lambda: 0.0)
    assert [film.read() is None for _ in range(4)] == [False, False, True, True]
    assert film.ended
    plug = Plug(alive)
    camera = plug.steady()
    camera.close()
    camera.close()
    assert camera.read() is None
    assert plug.closed == 1


def test_times_that_make_no_sense_are_refused() -> None:
    for wrong in ({"freeze_after": 0.0}, {"silent_after": -1.0}, {"silent_after": float("nan")}):
        with pytest.raises(ArgumentError, match="seconds"):
            Plug(alive).steady(**wrong)
