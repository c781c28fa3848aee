"""What goes on and on: results and pictures to viewers, a visitor's webcam to the analyzer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from edgeface.errors import EdgeFaceError
from edgeface.service.access import Bucket
from edgeface.service.bodies import RequestError
from edgeface.service.handlers import wants_overlay
from edgeface.service.replies import ERROR, stream_reply
from edgeface.service.shot import Shot, dumped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from edgeface.service.handlers import Handlers
    from edgeface.service.kiosk import Kiosk
    from edgeface.tracks import TrackEvent

__all__ = ["Streams"]

_SILENCE = 5.0  # seconds without news after which a viewer is told that the line holds
_AHEAD = 2  # pictures that a viewer may not have answered yet; more would only be old when they are seen
_MESSAGES = (60.0, 120.0)  # of one WebSocket per second, and at once
_ABUSE, _FULL = 1008, 1013  # WebSocket close codes: policy violation, try again later


class Streams:
    """Serves the streams of one service."""

    def __init__(self, kiosk: Kiosk, handlers: Handlers) -> None:
        self._kiosk, self._handlers = kiosk, handlers

    async def events(self, _request: Request) -> Response:
        """Send results as Server-Sent Events."""
        self._kiosk.check_seat()
        return stream_reply(self._seated(self._event_parts()), "text/event-stream")

    async def mjpeg(self, request: Request) -> Response:
        """Send pictures one after the other, as browsers show them in an image."""
        self._handlers.see_pictures()
        self._kiosk.check_seat()
        parts = self._seated(self._picture_parts(wants_overlay(request)))
        return stream_reply(parts, "multipart/x-mixed-replace; boundary=frame")

    async def results(self, socket: WebSocket) -> None:
        """Send results as text; with `?frames=1` as bytes, each with its picture.

        Bytes are the length of the JSON (4 bytes, big-endian), the JSON, then the JPEG. Such a message is to
        be answered by one of any content, so that a slow viewer gets fewer pictures and not old ones.
        """
        pictures = socket.query_params.get("frames") == "1" and self._kiosk.settings.privacy != "counts"
        try:
            with self._kiosk.seat():
                await socket.accept()
                async with self._reading(socket) as reader:
                    await self._show(socket, reader, pictures)
        except RequestError:
            await socket.close(_FULL)

    async def webcam(self, socket: WebSocket) -> None:
        """Analyse the pictures that a client sends as bytes; each is answered by its result or an error."""
        from starlette.websockets import WebSocketDisconnect

        tracker, bucket = self._kiosk.tracker(), Bucket(*_MESSAGES)
        try:
            # He may leave while his picture is analysed.
            with contextlib.suppress(WebSocketDisconnect), self._kiosk.seat():
                await socket.accept()
                while (message := await socket.receive())["type"] == "websocket.receive":
                    if not bucket.take():
                        await socket.close(_ABUSE, "too many pictures")
                        break
                    await socket.send_text(dumped(await self._answer(message.get("bytes"), tracker)))
        except RequestError:
            await socket.close(_FULL)

    async def _show(self, socket: WebSocket, reader: _Reader, pictures: bool) -> None:
        number = sent = 0
        while not reader.gone and not self._kiosk.live.ended:
            shot = await self._kiosk.live.next(number, _SILENCE)
            if pictures and shot is not None:
                await reader.answered(sent + 1 - _AHEAD)
                shot = self._kiosk.live.newest  # he may have taken his time
            if shot is None or reader.gone:
                continue
            missed = self._kiosk.live.missed(number, shot.number)
            number = shot.number
            if pictures:
                await socket.send_bytes(await asyncio.to_thread(_framed, shot, missed))
                sent += 1
            else:
                await socket.send_text(await asyncio.to_thread(shot.text, missed))

    async def _answer(self, data: bytes | None, tracker: Any) -> dict[str, Any]:
        if data is None:
            return {"schema": ERROR, "error": "send a picture as a binary message"}
        try:
            return await self._kiosk.follow(data, tracker)
        except EdgeFaceError as error:
            return {"schema": ERROR, "error": str(error)}

    async def _event_parts(self) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        number = 0
        while not self._kiosk.live.ended:
            shot = await self._kiosk.live.next(number, _SILENCE)
            if shot is not None:
                missed, number = self._kiosk.live.missed(number, shot.number), shot.number
                text = await asyncio.to_thread(shot.text, missed)
                yield f"id: {number}\nevent: result\ndata: {text}\n\n".encode()
            else:
                yield b": still here\n\n"

    async def _picture_parts(self, overlay: bool) -> AsyncIterator[bytes]:
        number = 0
        while not self._kiosk.live.ended:
            shot = await self._kiosk.live.next(number, _SILENCE)
            if shot is None:
                continue
            number = shot.number
            jpeg = await asyncio.to_thread(shot.jpeg, overlay)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            yield head.encode() + jpeg + b"\r\n"

    async def _seated(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Hold a seat while the stream runs; taken with the first byte, as many a stream never starts."""
        with contextlib.suppress(RequestError), self._kiosk.seat():
            async for part in parts:
                yield part

    @contextlib.asynccontextmanager
    async def _reading(self, socket: WebSocket) -> AsyncIterator[_Reader]:
        """Read a viewer's messages while the block runs, and let him leave."""
        from starlette.websockets import WebSocketDisconnect

        reader = _Reader(socket)
        task = asyncio.create_task(reader.run())
        try:
            with contextlib.suppress(WebSocketDisconnect):
                yield reader
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect):
                await task


class _Reader:
    """Reads a viewer's messages: their number is all that counts, and that he is there."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._count = 0
        self._news = asyncio.Event()
        self.gone = False
        """He left, or was made to."""

    async def run(self) -> None:
        """Read until he leaves."""
        bucket = Bucket(*_MESSAGES)
        while (await self._socket.receive())["type"] == "websocket.receive":
            self._count += 1
            self._news.set()
            if not bucket.take():
                await self._socket.close(_ABUSE, "too many messages")
                break
        self.gone = True
        self._news.set()

    async def answered(self, count: int) -> None:
        """Wait until so many messages have come, or he has left."""
        while self._count < count and not self.gone:
            self._news.clear()
            await self._news.wait()


def _framed(shot: Shot, missed: list[TrackEvent]) -> bytes:
    text, jpeg = shot.text(missed).encode(), shot.jpeg(overlay=False)
    return len(text).to_bytes(4, "big") + text + jpeg
