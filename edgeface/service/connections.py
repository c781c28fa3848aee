"""Connections that do not wait for ever: uvicorn's protocols with patience that ends.

uvicorn waits as long as a client likes for the head of a request, and for a client to read what it was sent;
a few hundred such clients would hold every connection that there is. Loaded by whoever serves, as uvicorn.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from edgeface.service.settings import Limits

__all__ = ["StoppableServer", "protocols"]


class StoppableServer(uvicorn.Server):
    """A server that says when it begins to stop, and ends without raising the signal that stopped it."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: Any = None) -> None:
        """Let the streams end first: uvicorn waits for every answer to be complete."""
        self._stopping()
        await super().shutdown(sockets)

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # used so
        """Leave signals to `stopped_by_signals`, which begins earlier and raises none again."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Stop at Ctrl-C and SIGTERM; a thread that is not the main one is stopped by `should_exit` alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        ends = (signal.SIGINT, signal.SIGTERM)
        before = {end: signal.signal(end, self.handle_exit) for end in ends}
        try:
            yield
        finally:
            for end, handler in before.items():
                signal.signal(end, handler)


class _Stalls:
    """Ends a connection whose client leaves what it was sent unread for too long."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    limits: Limits
    _stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        self._stalled = self.loop.call_later(self.limits.stall_seconds, self.transport.abort)
        super().pause_writing()  # type: ignore[misc]  # of the protocol that this is mixed into

    def resume_writing(self) -> None:
        self._calm()
        super().resume_writing()  # type: ignore[misc]  # as above

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)  # type: ignore[misc]  # as above

    def _calm(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def protocols(limits: Limits) -> type[H11Protocol]:
    """Return the protocol for HTTP that keeps these limits, and becomes one for WebSockets that does."""

    class PatientWebSocket(_Stalls, WebSocketsSansIOProtocol):
        """A WebSocket whose client must read."""

    class PatientHttp(_Stalls, H11Protocol):
        """An HTTP connection whose client must ask, and read."""

        idle_since: float | None = None
        """Since when it has asked for nothing; None while it is answered."""
        _hurry: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
            super().connection_made(transport)
            self.ws_protocol_class = PatientWebSocket
            self._watch()
            if len(self.connections) > limits.connections:
                _make_room(self.connections, self)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._rest()
            super().connection_lost(exc)

        def timeout_keep_alive_handler(self) -> None:
            # Not closed politely: who does not read would keep even that waiting.
            self.transport.abort()

        def _watch(self) -> None:
            """Set the clock when the head of a request may come, stop it when one is there."""
            cycle: Any = self.cycle  # None before the first request, whatever uvicorn's annotation says
            waits = cycle is None or cycle.response_complete
            taken_over = self.transport.get_protocol() is not self
            if not waits or taken_over:
                self._rest()
            elif self._hurry is None:
                self.idle_since = time.monotonic()
                self._hurry = self.loop.call_later(limits.head_seconds, self._give_up)

        def _give_up(self) -> None:
            # Between two requests nothing may come for a while: uvicorn's own clock ends that.
            self._hurry = None
            if self.timeout_keep_alive_task is None:
                self.transport.abort()

        def _rest(self) -> None:
            self.idle_since = None
            if self._hurry is not None:
                self._hurry.cancel()
                self._hurry = None

    PatientHttp.limits = PatientWebSocket.limits = limits
    return PatientHttp


def _make_room(connections: set[Any], newest: Any) -> None:
    """End the connection that has asked for nothing for longest; the new one where all are being answered."""
    idle = [one for one in connections if getattr(one, "idle_since", None) is not None and one is not newest]
    victim = min(idle, key=lambda one: one.idle_since, default=newest)
    victim.idle_since = None  # it stays in the set until the loop's next turn, and is no victim twice
    victim.transport.abort()
