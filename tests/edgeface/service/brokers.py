"""A real mosquitto, and somebody who subscribes."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.edgeface.service.watching import wait_for

USER, PASSWORD = "hall", "the-password-of-the-tests-only"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def program(name: str) -> str:
    """The path of a program of mosquitto; the test is skipped where it is absent."""
    # Debian puts it where only root looks.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
    if found is None:
        pytest.skip(f"there is no {name} here: apt-get install mosquitto")
    return found


class Broker:
    """A mosquitto on loopback; `more` are lines of its configuration."""

    def __init__(self, folder: Path, more: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        # Without a user it would give up root's rights and with them those to read the folder of the test.
        self._config.write_text(f"user root\nlistener {self.port} 127.0.0.1\n{more}\n")
        self._program = program("mosquitto")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it; returns when it listens."""
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self._listens)

    def stop(self) -> None:
        """End it as a power cut does; what it retained is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """It holds its connections and does nothing while the block runs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "mosquitto does not start"
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.port)) == 0


@contextlib.contextmanager
def broker(folder: Path, more: str = "allow_anonymous true") -> Iterator[Broker]:
    """A mosquitto that runs while the block does."""
    found = Broker(folder, more)
    found.start()
    try:
        yield found
    finally:
        found.stop()


class Subscriber:
    """Hears everything below a topic."""

    def __init__(self, port: int, topic: str) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._told: list[tuple[str, bytes, bool]] = []
        subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _d, told: self._told.append(
            (told.topic, bytes(told.payload), bool(told.retain))
        )
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"{topic}/#", qos=1)
        self._client.loop_start()
        assert subscribed.wait(30)
        self._topic = topic

    def results(self) -> list[dict[str, Any]]:
        """What came under the topic itself."""
        return [json.loads(payload) for topic, payload, _ in list(self._told) if topic == self._topic]

    def status(self) -> list[tuple[bytes, bool]]:
        """What came as its status, and whether the broker had kept it."""
        return [
            (payload, kept) for topic, payload, kept in list(self._told) if topic == f"{self._topic}/status"
        ]

    def leave(self) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def subscriber(broker: Broker, topic: str = "kiosk/hall") -> Iterator[Subscriber]:
    """Somebody who listens while the block runs."""
    found = Subscriber(broker.port, topic)
    try:
        yield found
    finally:
        found.leave()
