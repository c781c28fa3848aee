"""What the service tells the one that started it: ready, alive, at its end (systemd's ``sd_notify(3)``).

A service that hangs must not look alive. So the pings of the watchdog depend on what the service is for:
while a camera is on, they stop when no frame has come through the networks for the watchdog's time, unless
the camera itself is known to be lost, which no restart mends. systemd then ends the service and starts it
anew; with models on trial (`edgeface.store`) such starts count, and after three the previous ones are back.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from edgeface.errors import EdgeFaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from edgeface.service.live import Live
    from edgeface.service.shot import Shot
    from edgeface.store import Running

__all__ = ["Supervisor"]

_WORKS = 30
"""Frames after which new models are known to work."""
_SHARE = 4
"""Pings in the watchdog's time; systemd advises two or more."""


class Supervisor:
    """Tells systemd how the service fares, between ``with`` and its end; without systemd, only confirms.

    Args:
        live: the camera.
        models: the store's, which are told when frames come through them; None: others run.
        leave: called when the store points at other models: the service ends, to be started with those.
        environment: of the process: ``NOTIFY_SOCKET`` says where to tell it, ``WATCHDOG_USEC`` how often.
    """

    def __init__(
        self,
        live: Live,
        models: Running | None,
        leave: Callable[[], None],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._live = live
        self._models = models
        self._leave = leave
        self._address = environment.get("NOTIFY_SOCKET", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._patience = int(environment.get("WATCHDOG_USEC", 0)) / 1e6 if mine else 0.0
        self._frames = 0
        self._sign = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="edgeface supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self._live.listen(self._seen)
        self._tell("READY=1")
        if self._patience or self._models is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell("STOPPING=1")
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def alive(self) -> bool:
        """The camera is off, or known to be lost, or a frame came within the watchdog's time."""
        state = self._live.state()
        if (not state["running"] and not self._live.broken) or state["lost"]:
            self._sign = time.monotonic()
        return time.monotonic() - self._sign < self._patience

    def _seen(self, _shot: Shot) -> None:
        self._frames += 1
        self._sign = time.monotonic()

    def _watch(self) -> None:
        pause = self._patience / _SHARE or 1.0
        confirmed = False
        while not self._over.wait(pause):
            if self._models is not None:
                if not confirmed and self._frames >= _WORKS:
                    with contextlib.suppress(EdgeFaceError):  # the store is busy, or its disk is full now
                        self._models.works()
                        confirmed = True
                if self._models.renewed():
                    self._leave()
            if self._patience and self.alive():
                self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in Linux's abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        with teller, contextlib.suppress(OSError):  # whoever started the service may not listen any more
            teller.connect(address)
            teller.sendall(state.encode())
