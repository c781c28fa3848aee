"""A real service in a thread of the test, on a camera that composes its frames from a public-domain photo."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from edgeface.camera import Actor, Camera, Place, SyntheticCamera
from edgeface.service import Limits, Offer, ServiceSettings, serve

ASTRONAUT = Path(__file__).resolve().parents[3] / "examples" / "astronaut.jpg"
TOKEN = "a-token-of-the-tests-only"
QUICK = Limits(head_seconds=0.6, body_seconds=0.8, stall_seconds=0.6, idle_seconds=2, rate=1000, burst=1000)


@cache
def astronaut() -> NDArray[np.uint8]:
    """The photo, RGB uint8 [H, W, 3]."""
    return np.asarray(cv2.cvtColor(cv2.imread(str(ASTRONAUT)), cv2.COLOR_BGR2RGB), np.uint8)


def jpeg(rgb: NDArray[np.uint8] | None = None) -> bytes:
    """A picture as JPEG; the photo without one."""
    rgb = astronaut() if rgb is None else rgb
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1])


@contextlib.contextmanager
def synthetic(rate: float = 15.0, count: int | None = None) -> Iterator[Camera]:
    """The upper part of the photo, swaying before a plain wall."""
    photo = astronaut()
    rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    wall = np.full((360, 480, 3), (92, 104, 118), np.uint8)
    actor = Actor(rgba, lambda seconds: Place(240 + 20 * np.sin(seconds), 200, 0.68))
    camera = SyntheticCamera([actor], wall, rate=rate, count=count, live=True)
    try:
        yield camera
    finally:
        camera.close()


def hall(opener: Callable[[], Any] = synthetic, key: str = "hall") -> Offer:
    """An offer of that camera."""
    return Offer(key, "Camera in the hall", opener)


@dataclass(frozen=True)
class Running:
    """A service that runs: where, what it said, and how to stop it."""

    address: str
    port: int
    said: list[str]
    stop: Callable[[], None]
    thread: threading.Thread

    def client(self, **more: Any) -> httpx.Client:
        """A client that keeps its connection."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, trust_env=False, **more)

    def ws(self, path: str) -> str:
        """The address of a WebSocket."""
        return f"ws://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def running(
    settings: ServiceSettings | None = None,
    offers: Sequence[Offer] | None = None,
    start: str | None = None,
    keep_port: bool = False,
) -> Iterator[Running]:
    """Run a service on a free port while the block runs; its end must be clean."""
    settings = settings or ServiceSettings(limits=QUICK)
    settings = settings if keep_port else replace(settings, port=0)
    said: list[str] = []
    found: list[Any] = []
    listening = threading.Event()
    failed: list[BaseException] = []

    def ready(server: Any, address: str) -> None:
        found.extend((server, address))
        listening.set()

    def work() -> None:
        try:
            serve(settings, [hall()] if offers is None else offers, start=start, say=said.append, ready=ready)
        except BaseException as error:  # noqa: BLE001  the test's thread raises it
            failed.append(error)
        finally:
            listening.set()

    thread = threading.Thread(target=work, name="service")
    thread.start()
    assert listening.wait(60)
    if failed:
        raise failed[0]
    server, address = found

    def stop() -> None:
        server.should_exit = True
        thread.join(20)

    try:
        yield Running(address, int(address.rpartition(":")[2]), said, stop, thread)
    finally:
        stop()
        assert not thread.is_alive(), "the service does not end"
    if failed:
        raise failed[0]
