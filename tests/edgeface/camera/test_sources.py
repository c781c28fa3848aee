"""Films and folders that the test writes, cameras that are absent, and one that composes its frames."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeface.camera import (
    Actor,
    Camera,
    FolderCamera,
    Mode,
    NetworkCamera,
    PiCamera,
    Place,
    SteadyCamera,
    SyntheticCamera,
    UsbCamera,
    VideoFile,
    open_camera,
    orbit,
)
from edgeface.errors import ArgumentError, CameraError, FrameError
from edgeface.frame import Frame, ImageLimits, read_image
from tests.edgeface.camera.rtsp import rtsp_camera

SECOND = 1_000_000_000


def film(path: Path, count: int = 10, rate: float = 20.0, size: tuple[int, int] = (64, 48)) -> Path:
    """Frame k has the grey level 8 k and a red left half."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, size)
    assert writer.isOpened()
    for k in range(count):
        bgr = np.full((size[1], size[0], 3), 8 * k, np.uint8)
        bgr[:, : size[0] // 2] = (0, 0, 255)
        writer.write(bgr)
    writer.release()
    return path


def all_of(camera: Camera, most: int = 1000) -> list[Frame]:
    frames: list[Frame] = []
    while not camera.ended and len(frames) < most:
        frame = camera.read()
        if frame is not None:
            frames.append(frame)
    return frames


def test_a_film_gives_its_frames_in_rgb_with_its_own_times(tmp_path: Path) -> None:
    camera = VideoFile(film(tmp_path / "film.avi"))
    assert camera.mode == Mode(64, 48, 20.0)
    assert not camera.live
    frames = all_of(camera)
    assert [frame.timestamp_ns for frame in frames] == [k * SECOND // 20 for k in range(10)]
    for k, frame in enumerate(frames):
        assert abs(int(frame.rgb[24, 60, 0]) - 8 * k) <= 3
        assert frame.rgb[24, 4, 0] > 240
        assert frame.rgb[24, 4, 2] < 15
    assert camera.read() is None
    # No frame shares memory with another.
    assert frames[0].rgb[24, 60, 0] < frames[9].rgb[24, 60, 0]


def test_a_film_that_loops_goes_on_in_time(tmp_path: Path) -> None:
    camera = VideoFile(film(tmp_path / "film.avi"), loop=True)
    frames = all_of(camera, 25)
    camera.close()
    assert [frame.timestamp_ns for frame in frames] == [k * SECOND // 20 for k in range(25)]
    assert np.array_equal(frames[3].rgb, frames[13].rgb)
    assert camera.read() is None


def test_a_live_film_keeps_its_times(tmp_path: Path) -> None:
    camera = VideoFile(film(tmp_path / "film.avi", count=6), live=True)
    frames = all_of(camera)
    now = time.monotonic_ns()
    assert len(frames) == 6
    assert 0 <= now - frames[-1].timestamp_ns < SECOND
    assert frames[-1].timestamp_ns - frames[0].timestamp_ns >= SECOND // 4 - 2  # more if the machine was busy
    assert [frame.source for frame in frames] == [f"film.avi#{k}" for k in range(6)]
    with pytest.raises(CameraError, match=r"^missing\.avi: there is no such file"):
        VideoFile(tmp_path / "missing.avi", live=True)


def late(camera: Camera) -> list[int]:
    """The times of six frames, the reader pausing after the second; and of that pause's end."""
    times = [frame.timestamp_ns for frame in all_of(camera, 2)]
    time.sleep(0.4)
    resumed = time.monotonic_ns()
    return [*times, resumed, *(frame.timestamp_ns for frame in all_of(camera, 4))]


@pytest.mark.parametrize("kind", ["film", "folder", "synthetic"])
def test_a_live_source_does_not_catch_up_after_its_reader_was_late(tmp_path: Path, kind: str) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((8, 9, 3), np.uint8))
    opened = {
        "film": lambda: VideoFile(film(tmp_path / "film.avi"), live=True),
        "folder": lambda: FolderCamera(tmp_path, rate=20, loop=True, live=True),
        "synthetic": lambda: SyntheticCamera([], np.zeros((60, 80, 3), np.uint8), rate=20, live=True),
    }
    first, second, resumed, *then = late(opened[kind]())
    assert second - first >= SECOND // 20 - 2
    assert all(stamp >= resumed for stamp in then)
    assert then == sorted(then)
    assert then[-1] - then[0] >= 3 * SECOND // 20 - 4


def test_a_film_that_is_cut_or_none_is_told(tmp_path: Path) -> None:
    whole = film(tmp_path / "film.avi", count=30).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    frames: list[Frame] = []
    camera = VideoFile(cut)
    with pytest.raises(CameraError, match=r"cut\.avi: ends after \d+ of 30 frames; the file is cut"):
        frames.extend(iter(camera.read, None))
    assert camera.ended
    assert camera.read() is None
    assert 0 < len(frames) < 25
    # Played again and again, what there is of it is all that is wanted.
    assert len(all_of(VideoFile(cut, loop=True), 60)) == 60
    for name, data in (("text.avi", b"not a film" * 100), ("empty.avi", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CameraError, match=name):
            all_of(VideoFile(tmp_path / name))
    with pytest.raises(CameraError, match="no such file"):
        VideoFile(tmp_path / "missing.avi")


def test_a_film_says_how_long_it_is_and_numbers_its_frames(tmp_path: Path) -> None:
    path = film(tmp_path / "film.avi", count=4, rate=20.0)
    camera = VideoFile(path, loop=True)
    assert (camera.rate, camera.count) == (20.0, 4)
    assert [frame.source for frame in all_of(camera, 6)] == [f"{path}#{k}" for k in (0, 1, 2, 3, 0, 1)]


def test_a_film_that_claims_too_much_is_refused_before_a_frame_is_read(tmp_path: Path) -> None:
    path = film(tmp_path / "film.avi", size=(160, 120))
    with pytest.raises(CameraError, match=r"film\.avi: 160 x 120 pixels are over the limit of 10000 pixels"):
        VideoFile(path, limits=ImageLimits(max_pixels=10_000))
    with pytest.raises(CameraError, match="150 per side: resize the video"):
        VideoFile(path, limits=ImageLimits(max_side=150))
    camera = VideoFile(path, limits=ImageLimits(max_pixels=160 * 120, max_side=160))
    assert len(all_of(camera)) == 10


def test_a_folder_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for k in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"frame{k}.png"), np.full((8, 9, 3), k, np.uint8))
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    frames = all_of(FolderCamera(tmp_path, rate=4.0))
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [1, 2, 10]
    assert [frame.timestamp_ns for frame in frames] == [0, SECOND // 4, SECOND // 2]
    assert frames[2].source.endswith("frame10.png")
    looped = all_of(FolderCamera(tmp_path, rate=4.0, loop=True), 7)
    assert looped[6].timestamp_ns == 6 * SECOND // 4


def test_a_broken_picture_costs_one_read(tmp_path: Path) -> None:
    for k in range(3):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((8, 9, 3), k, np.uint8))
    (tmp_path / "1.png").write_bytes(b"\x89PNG broken")
    camera = FolderCamera(tmp_path)
    assert camera.read() is not None
    with pytest.raises(FrameError, match=r"1\.png"):
        camera.read()
    assert camera.read() is not None


def test_folders_without_pictures_and_no_folders_are_told(tmp_path: Path) -> None:
    for path, told in ((tmp_path, "no picture"), (tmp_path / "missing", "cannot be read")):
        with pytest.raises(CameraError, match=told):
            FolderCamera(path)
    with pytest.raises(ArgumentError, match="rate"):
        FolderCamera(tmp_path, rate=0)


def test_cameras_that_are_not_there() -> None:
    for opened in (lambda: UsbCamera(63), lambda: UsbCamera("/dev/video_none")):
        with pytest.raises(CameraError, match="no such camera"):
            opened()
    with pytest.raises(CameraError, match="python3-picamera2"):
        PiCamera()


def test_an_address_keeps_its_password_to_itself() -> None:
    with pytest.raises(CameraError) as caught:
        NetworkCamera("rtsp://kiosk:secret@127.0.0.1:9/stream")
    assert "secret" not in str(caught.value)
    assert "rtsp://127.0.0.1:9/stream" in str(caught.value)


def test_a_camera_on_the_network_gives_its_pictures(astronaut_path: Path) -> None:
    shown = np.ascontiguousarray(read_image(astronaut_path).rgb[:480])
    with rtsp_camera(lambda number: shown) as sender, open_camera(sender.address) as camera:
        frames: list[Frame] = []
        end = time.monotonic() + 30
        while len(frames) < 5 and time.monotonic() < end:  # a machine at full load may keep it waiting
            frames += filter(None, [camera.read()])
    assert len(frames) == 5
    for frame in frames:
        assert frame.source == f"rtsp://127.0.0.1:{sender.port}/live"
        assert np.abs(frame.rgb.astype(int) - shown).mean() < 3  # JPEG


def test_a_camera_on_the_network_that_falls_silent_or_ends_is_lost_and_found_again() -> None:
    def until(camera: Camera, gives: bool) -> None:
        end = time.monotonic() + 30
        while (camera.read() is not None) != gives:
            assert time.monotonic() < end

    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with (
        rtsp_camera(lambda number: np.roll(noise, number, 1)) as sender,
        open_camera(sender.address) as camera,
    ):
        assert isinstance(camera, SteadyCamera)
        until(camera, gives=True)
        sender.silent = True
        until(camera, gives=False)
        assert "sends no pictures" in camera.health.lost
        sender.silent = False
        until(camera, gives=True)
        assert camera.health.losses == 1
        sender.ended = True  # who looks on is cut off, who asks anew is cut off at once
        until(camera, gives=False)
        sender.ended = False
        until(camera, gives=True)
        assert not camera.health.lost


@pytest.mark.parametrize("source", ["63", 63, "/dev/video63", "picamera", "picamera:1", "missing.mp4"])
def test_what_a_user_would_write_is_understood_and_absent(source: int | str) -> None:
    with pytest.raises(CameraError), open_camera(source):
        pass


def test_what_a_user_would_write_opens(tmp_path: Path) -> None:
    path = film(tmp_path / "film.avi", count=3)
    with open_camera(path) as camera:
        assert len(all_of(camera)) == 3
    assert camera.ended
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((8, 9, 3), np.uint8))
    with open_camera(str(tmp_path), loop=True) as camera:
        assert len(all_of(camera, 5)) == 5
    with open_camera(63, wait=True) as camera:
        assert isinstance(camera, SteadyCamera)
        assert camera.read() is None
    for source in (path, tmp_path):
        with open_camera(source, live=True, loop=True) as camera:
            assert camera.live
            (frame,) = all_of(camera, 1)
            assert 0 <= time.monotonic_ns() - frame.timestamp_ns < 20 * SECOND
            assert not frame.source.startswith("/")
    for wrong in (None, True, 1.5):
        with pytest.raises(ArgumentError, match="a camera is"), open_camera(wrong):  # type: ignore[arg-type]
            pass


def test_somebody_comes_and_goes_before_the_synthetic_camera(astronaut_path: Path) -> None:
    with open_camera(f"synthetic:{astronaut_path}") as camera:
        assert not camera.live
        frames = all_of(camera, 241)
    wall = frames[0].rgb.astype(int)
    covered = [(np.abs(frames[20 * second].rgb - wall).max(axis=2) > 20).mean() for second in range(13)]
    assert covered[:2] == covered[11:] == [0.0, 0.0]
    assert covered[2] < covered[3] < covered[4] < covered[6]
    assert covered[10] < covered[9] < covered[7]
    assert covered[6] > 0.5
    with open_camera(f"synthetic:{astronaut_path}", live=True) as camera:
        assert camera.live
    wrong = pytest.raises(CameraError, match=r"synthetic:nobody\.jpg: the photo cannot be used")
    with wrong, open_camera("synthetic:nobody.jpg"):
        pass


def test_modes_that_make_no_sense_are_refused() -> None:
    for wrong in ({"width": 640}, {"width": 0, "height": 10}, {"rate": -1.0}):
        with pytest.raises(ArgumentError, match="Mode"):
            Mode(**wrong)  # type: ignore[arg-type]


class FakePicamera2:
    """What `PiCamera` calls of Picamera2; the real one runs on a Pi alone."""

    def __init__(self, number: int) -> None:
        if number > 0:
            raise IndexError("list index out of range")
        self.fails = self.closed = False

    def create_video_configuration(self, **config: Any) -> dict[str, Any]:
        return config

    def configure(self, config: dict[str, Any]) -> None:
        self.config = config

    def camera_configuration(self) -> dict[str, Any]:
        return self.config

    def start(self) -> None: ...

    def capture_request(self, wait: bool) -> None:
        assert not wait

    def wait(self, job: None, timeout: float) -> Any:
        if self.fails:
            raise TimeoutError
        width, height = self.config["main"]["size"]
        rgb = np.full((height, width, 3), (200, 100, 50), np.uint8)
        stamp = {"SensorTimestamp": time.monotonic_ns() - 5_000_000}
        return types.SimpleNamespace(
            make_array=lambda name: rgb, get_metadata=lambda: stamp, release=lambda: None
        )

    def close(self) -> None:
        self.closed = True


def test_a_pi_camera_gives_rgb_with_the_sensors_time(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("picamera2")
    module.Picamera2 = FakePicamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    camera = PiCamera(0, Mode(320, 240, 25.0))
    frame = camera.read()
    assert frame is not None
    assert (frame.width, frame.height) == (320, 240)
    assert frame.rgb[0, 0].tolist() == [200, 100, 50]
    assert 5_000_000 <= time.monotonic_ns() - frame.timestamp_ns < SECOND
    camera._device.fails = True
    with pytest.raises(CameraError, match="ribbon"):
        camera.read()
    camera.close()
    assert camera.read() is None
    with pytest.raises(CameraError, match="rpicam-hello"):
        PiCamera(1)


def square(side: int = 20, grey: int = 250) -> np.ndarray:
    rgba = np.full((side, side, 4), 255, np.uint8)
    rgba[..., :3] = grey
    return rgba


def test_actors_are_where_their_paths_say() -> None:
    path = orbit((160.3, 120.0), (100.0, 40.0), period=2.0)
    camera = SyntheticCamera([Actor(square(), path)], np.zeros((240, 320, 3), np.uint8), count=20, noise=0.0)
    frames = all_of(camera)
    assert [frame.timestamp_ns for frame in frames] == [round(k / 30 * 1e9) for k in range(20)]
    for k, frame in enumerate(frames):
        weight = frame.rgb[..., 0].astype(float)
        y, x = np.mgrid[:240, :320]
        place = path(k / 30)
        assert (weight * x).sum() / weight.sum() == pytest.approx(place.x, abs=0.1)
        assert (weight * y).sum() / weight.sum() == pytest.approx(place.y, abs=0.1)


def test_the_same_arguments_give_the_same_pixels_and_noise_is_as_told() -> None:
    def camera(seed: int) -> SyntheticCamera:
        return SyntheticCamera([], np.full((240, 320, 3), 128, np.uint8), count=2, noise=3.0, seed=seed)

    one, two, other = (all_of(camera(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one[1].rgb, two[1].rgb)
    assert not np.array_equal(one[0].rgb, one[1].rgb)
    assert not np.array_equal(one[0].rgb, other[0].rgb)
    assert one[0].rgb.std() == pytest.approx(3.0, abs=0.2)


def test_a_live_scene_goes_on_while_its_reader_is_late() -> None:
    across = Actor(square(), lambda seconds: Place(20 + 100 * seconds, 30))
    camera = SyntheticCamera([across], np.zeros((60, 320, 3), np.uint8), rate=20, noise=0.0, live=True)
    first, *_ = all_of(camera, 1)
    time.sleep(0.5)
    (later, last) = all_of(camera, 2)
    moved = [float(np.nonzero(frame.rgb[30, :, 0])[0].mean()) for frame in (first, later, last)]
    passed = [(frame.timestamp_ns - first.timestamp_ns) / 1e7 for frame in (first, later, last)]
    assert 45 < moved[1] - moved[0] <= passed[1] + 1  # a hundred pixels a second
    assert moved[1] < moved[2] <= moved[0] + passed[2] + 1


def test_actors_beyond_the_edge_and_absent_ones_break_nothing() -> None:
    half = Actor(square(), lambda t: Place(0, 0, 1.0, 30.0))
    away = Actor(square(), lambda t: Place(-500, 900))
    absent = Actor(square(), lambda t: None)
    camera = SyntheticCamera([half, away, absent], np.zeros((60, 80, 3), np.uint8), count=1, noise=0.0)
    frame = all_of(camera)[0]
    assert 0 < (frame.rgb > 0).mean() < 0.1
    with pytest.raises(ArgumentError, match="alpha"):
        Actor(square()[..., :3], orbit((0, 0), (1, 1)))
    with pytest.raises(ArgumentError, match="rate"):
        SyntheticCamera([], np.zeros((60, 80, 3), np.uint8), rate=0)
