"""A live view without a service, and a reader of JSON lines, for the tests of outlets."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from edgeface.bundle import Bundle
from edgeface.service import ServiceSettings
from edgeface.service.live import Live
from edgeface.service.metrics import Metrics
from edgeface.service.outlet import Outlet, Writer
from tests.edgeface.service.running import hall

SECONDS = 30.0


def wait_for(done: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What `done` answers as soon as it is something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = done()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@cache
def bundle() -> Bundle:
    """The built-in models, read once."""
    return Bundle.builtin()


class Watched:
    """A live view whose shots go to a writer."""

    def __init__(self, live: Live, outlet: Outlet, metrics: Metrics) -> None:
        self.live, self.outlet, self.metrics = live, outlet, metrics

    @property
    def number(self) -> int:
        """Of the newest shot."""
        return 0 if self.live.newest is None else self.live.newest.number

    def go_on(self, by: int) -> None:
        """Wait for so many shots more: the camera is not held up."""
        until = self.number + by
        wait_for(lambda: self.number >= until)


@contextlib.contextmanager
def watched(writer: Writer, privacy: str = "off") -> Iterator[Watched]:
    """Follow the synthetic camera and write what is seen while the block runs."""
    metrics = Metrics()
    live = Live([hall()], bundle(), ServiceSettings(privacy=privacy), metrics)
    outlet = Outlet(live, writer, metrics)
    try:
        live.start("hall", ["landmarks"])
        yield Watched(live, outlet, metrics)
    finally:
        live.stop()
        outlet.close()
        assert outlet.ended


class Lines:
    """Reads whole lines of JSON from a descriptor, a few bytes at once, which it closes at the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._held = descriptor, b""

    @classmethod
    def of(cls, path: Path) -> Lines:
        """Open a named pipe; waits until somebody writes there."""
        return cls(os.open(path, os.O_RDONLY))

    def next(self) -> dict[str, Any]:
        """The next line."""
        while b"\n" not in self._held:
            data = os.read(self._descriptor, 1000)
            assert data, f"it ends within a line: {self._held[:200]!r}"
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def leave(self) -> None:
        """Go, whatever is still to come."""
        os.close(self._descriptor)
