"""What systemd is told: over a real datagram socket, by a real service whose camera is made to hang."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgeface
from edgeface.bundle import Bundle, encode_bundle
from edgeface.camera import Camera, CameraError
from edgeface.frame import Frame
from edgeface.store import Store
from tests.bundles import opened
from tests.edgeface.service.running import ASTRONAUT, hall, running, synthetic


class Systemd:
    """The other end of the socket: what was told, in order."""

    def __init__(self, ear: socket.socket) -> None:
        self._ear = ear
        self.told: list[str] = []

    def hear(self) -> list[str]:
        """What was told since the last time."""
        new = []
        with contextlib.suppress(BlockingIOError):
            while True:
                new.append(self._ear.recv(1024).decode())
        self.told += new
        return new

    def waits_for(self, state: str, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while state not in self.hear():
            assert time.monotonic() < until, f"{state} was not told; told were {self.told}"
            time.sleep(0.05)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.setblocking(False)
        yield Systemd(ear)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, systemd: Systemd) -> Systemd:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    return systemd


class _Moody:
    """A camera that does what it is told: give frames, hang, or be lost."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self.name, self.live, self.mode = camera.name, camera.live, camera.mode
        self.mood = "gives"

    @property
    def ended(self) -> bool:
        return self._camera.ended

    def read(self) -> Frame | None:
        if self.mood == "lost":
            raise CameraError("the plug was pulled")
        if self.mood == "hangs":
            time.sleep(0.5)
            return None
        return self._camera.read()

    def close(self) -> None:
        self._camera.close()


def _opener(cameras: list[_Moody]) -> Callable[[], contextlib.AbstractContextManager[Camera]]:
    @contextlib.contextmanager
    def opened_camera() -> Iterator[Camera]:
        with synthetic() as camera:
            cameras.append(_Moody(camera))
            yield cameras[-1]

    return opened_camera


def test_ready_alive_and_at_its_end(watched: Systemd) -> None:
    with running(start="hall") as service:
        watched.waits_for("READY=1")
        watched.waits_for("WATCHDOG=1")
        watched.waits_for("WATCHDOG=1")
        service.stop()
    watched.hear()
    assert watched.told[0] == "READY=1"
    assert watched.told[-1] == "STOPPING=1"
    assert set(watched.told) == {"READY=1", "WATCHDOG=1", "STOPPING=1"}


def test_when_frames_stop_the_pings_stop(watched: Systemd) -> None:
    cameras: list[_Moody] = []
    with running(offers=[hall(_opener(cameras))], start="hall"):
        watched.waits_for("WATCHDOG=1")
        cameras[0].mood = "hangs"
        time.sleep(3.0)  # the watchdog's time and one round more
        watched.hear()
        time.sleep(2.0)
        assert watched.hear() == [], "systemd would end it within its two seconds"
        cameras[0].mood = "gives"
        watched.waits_for("WATCHDOG=1")


def test_a_camera_that_is_lost_is_no_reason_to_restart(watched: Systemd) -> None:
    cameras: list[_Moody] = []
    with running(offers=[hall(_opener(cameras))], start="hall"):
        watched.waits_for("WATCHDOG=1")
        cameras[0].mood = "lost"
        for _ in range(6):
            watched.waits_for("WATCHDOG=1")


def test_models_that_fail_in_the_middle_are(watched: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeface.errors import DeviceError
    from edgeface.tracking import FaceTracker

    with running(start="hall"):
        watched.waits_for("WATCHDOG=1")

        def fails(*_: object) -> None:
            raise DeviceError("the accelerator is gone, and nothing stands in")

        monkeypatch.setattr(FaceTracker, "update", fails)
        time.sleep(3.0)
        watched.hear()
        time.sleep(2.0)
        assert watched.hear() == []


def test_a_service_without_a_camera_is_well(watched: Systemd) -> None:
    with running():
        for _ in range(6):  # three seconds, more than the watchdog's two
            watched.waits_for("WATCHDOG=1")


def test_without_systemd_nobody_is_told(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    with running(start="hall"):
        time.sleep(0.3)
    assert systemd.hear() == []


def test_the_pings_of_another_process_are_not_ours(watched: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_PID", "1")
    with running(start="hall"):
        watched.waits_for("READY=1")
        time.sleep(1.5)
    watched.hear()
    assert watched.told == ["READY=1", "STOPPING=1"]


def test_a_listener_that_went_away_stops_nobody(watched: Systemd, tmp_path: Path) -> None:
    (tmp_path / "notify").unlink()
    with running(start="hall") as service, service.client() as client:
        time.sleep(1.0)
        assert client.get("/healthz").status_code == 200


def test_models_on_trial_are_confirmed_when_frames_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edgeface serve --bundle store`, as a unit starts it, with the real students a version later."""
    monkeypatch.setenv("EDGEFACE_STORE", str(tmp_path / "store"))
    data = (Path(edgeface.__file__).parent / "models" / "students.bundle").read_bytes()
    header, _ = opened(data)
    held = Bundle.from_bytes(data)
    artifacts = {row["name"]: held.artifact(row["name"]) for row in header.pop("artifacts")}
    newer = encode_bundle({**header, "version": "99.0"}, artifacts)
    store = Store.at(tmp_path / "store")
    store.install(newer, unsigned=True, waits=True)
    assert store.status().state.trial is not None
    camera = f"synthetic:{ASTRONAUT}"
    command = [
        sys.executable,
        "-m",
        "edgeface",
        "serve",
        "--port",
        "0",
        "--bundle",
        "store",
        "--camera",
        camera,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as service:
        try:
            until = time.monotonic() + 120
            while store.status().state.trial is not None:
                assert service.poll() is None
                assert time.monotonic() < until, "frames came, and the models were not confirmed"
                time.sleep(0.2)
            assert store.status().state.floor == "99.0"
            store.rollback()
            service.communicate(timeout=60)
            assert service.returncode == 0, "it ends by itself, to be started with the models that run now"
        finally:
            service.kill()
