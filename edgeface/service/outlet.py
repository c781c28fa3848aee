"""Results that leave by themselves, as lines of JSON: to a broker, a pipe, the standard output.

Whoever reads them may be slow, away or broken, and the camera must not notice. So each way out has a thread
of its own, which waits until its writer is ready and only then takes the newest shot: what came in between
is nobody's, but for its events, which stand in the next line.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from edgeface.service.mqtt import MqttWriter
from edgeface.service.pipe import NamedPipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeface.service.live import Live
    from edgeface.service.metrics import Metrics
    from edgeface.service.settings import ServiceSettings
    from edgeface.service.shot import Shot

__all__ = ["Outlet", "Writer", "writers_of"]

_PATIENCE = 0.25  # seconds after which the thread looks whether it shall end
_GRACE = 5.0  # seconds that a writer is given to end


class Writer(Protocol):
    """Takes lines. Used by one thread.

    Attributes:
        kind: "mqtt", "pipe" or "stdout", as metrics and `/state` call it.
        open: Somebody is at the other end.
    """

    kind: str
    open: bool

    def ready(self, patience: float) -> bool:
        """Wait so many seconds until a line can be written; raises as `write`."""

    def write(self, line: str, over: threading.Event) -> None:
        """Write a line, or give up when `over` is set.

        Raises:
            OSError: no line can be written any more, whatever happens.
        """

    def close(self) -> None:
        """Say goodbye and give back what was opened; within a few seconds."""


def writers_of(settings: ServiceSettings, say: Callable[[str], None]) -> list[Writer]:
    """Open what the settings send results to, and say so.

    Raises:
        ServiceError: the extra `mqtt` is missing, or the pipe cannot be made.
    """
    writers: list[Writer] = []
    if settings.pipe is not None:
        writers.append(NamedPipe(settings.pipe))
        say(f"Results go to the pipe {settings.pipe}.")
    if settings.mqtt is not None:
        try:
            writers.append(MqttWriter(settings.mqtt, say))
        except BaseException:
            for writer in writers:
                writer.close()
            raise
        open_to = " It is not encrypted: others on the way can read it." if settings.mqtt.exposed else ""
        say(f"Results go to {settings.mqtt}.{open_to}")
    return writers


class Outlet:
    """Writes the shots of a live view, the newest whenever its writer is ready.

    Args:
        live: where they come from.
        writer: where they go; closed with the outlet.
        metrics: what is counted.
    """

    def __init__(self, live: Live, writer: Writer, metrics: Metrics) -> None:
        self._live, self._writer, self._metrics = live, writer, metrics
        self._change = threading.Condition()
        self._shot: Shot | None = None
        self._busy = False
        self._over = threading.Event()
        self.error: OSError | None = None
        """Why it ended by itself."""
        live.listen(self._offer)
        self._thread = threading.Thread(target=self._work, name=f"edgeface {writer.kind}", daemon=True)
        self._thread.start()

    @property
    def kind(self) -> str:
        """What its writer is."""
        return self._writer.kind

    @property
    def open(self) -> bool:
        """Somebody is at the other end."""
        return self._writer.open

    @property
    def ended(self) -> bool:
        """Nothing will be written any more."""
        return not self._thread.is_alive()

    def close(self, patience: float = 0.0) -> None:
        """End it; the last shot is given so many seconds to be written, if there is somebody to read it."""
        with self._change:
            if self.open and not self.ended:
                self._change.wait_for(lambda: self._shot is None and not self._busy, patience)
        self._over.set()
        self._thread.join(_GRACE)

    def _offer(self, shot: Shot) -> None:
        with self._change:
            if self._shot is not None:
                self._metrics.count("results_skipped", to=self.kind)
            self._shot = shot
            self._change.notify_all()

    def _work(self) -> None:
        number = 0
        try:
            while not self._over.is_set():
                if not self._writer.ready(_PATIENCE) or (shot := self._taken()) is None:
                    continue
                missed, number = self._live.missed(number, shot.number), shot.number
                self._writer.write(shot.text(missed), self._over)
                self._metrics.count("results_written", to=self.kind)
                self._done()
        except OSError as error:
            self.error = error
        finally:
            self._writer.close()

    def _taken(self) -> Shot | None:
        with self._change:
            self._change.wait_for(lambda: self._shot is not None, _PATIENCE)
            shot, self._shot = self._shot, None
            self._busy = shot is not None
            return shot

    def _done(self) -> None:
        with self._change:
            self._busy = False
            self._change.notify_all()
