"""Reading what a client sends: not too much, not too slowly, and never onto the disk.

Forms are read here and not by python-multipart: Starlette lets that put whatever is above a megabyte into
a temporary file, and this service stores nothing. The whole body is in memory and small, so that looking for
the boundary, which a sender must not use within its parts (RFC 2046, 5.1.1), is all there is to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from email.message import Message
from typing import TYPE_CHECKING, Any

from edgeface.errors import EdgeFaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from edgeface.service.settings import Limits

__all__ = ["Bodies", "RequestError", "form_field", "json_of"]

_MOST_PARTS = 16
_MOST_JSON = 16 * 1024


class RequestError(EdgeFaceError):
    """A request that cannot be answered.

    Attributes:
        status: The HTTP status that says so.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Bodies:
    """Reads bodies, and knows how much of them is held at once. Belongs to the event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0
        """Bytes of bodies that are being read or used."""

    @contextlib.contextmanager
    def room(self) -> Iterator[list[int]]:
        """Give back what was read when the block ends; the list holds what it is."""
        used = [0]
        try:
            yield used
        finally:
            self.held -= used[0]

    async def read(self, request: Request, used: list[int], most: int | None = None) -> bytes:
        """Return the body.

        Raises:
            RequestError: it is too large (413), too slow (408), or too many are being read (503).
        """
        most = min(most or self._limits.body, self._limits.body)
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and len(announced) < 20 and int(announced) > most:
            raise RequestError(413, f"{announced} bytes are over the limit of {most}; send a smaller picture")
        try:
            return await asyncio.wait_for(self._gather(request, used, most), self._limits.body_seconds)
        except (TimeoutError, asyncio.TimeoutError):
            raise RequestError(
                408, f"the body took longer than {self._limits.body_seconds:g} s; send it faster"
            ) from None

    async def _gather(self, request: Request, used: list[int], most: int) -> bytes:
        parts: list[bytes] = []
        async for part in request.stream():
            if used[0] + len(part) > most:
                raise RequestError(413, f"the body is over the limit of {most} bytes; send a smaller picture")
            if self.held + len(part) > self._limits.bodies:
                raise RequestError(503, "too many pictures at once; try again in a moment")
            used[0] += len(part)
            self.held += len(part)
            parts.append(part)
        return b"".join(parts)


def form_field(body: bytes, content_type: str, name: str) -> bytes:
    """Return a field of a form, ``multipart/form-data`` (RFC 7578).

    Raises:
        RequestError: 400, it is no such form or has no such field.
    """
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise RequestError(400, "the form names no boundary; let your HTTP library write its Content-Type")
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(pieces) > _MOST_PARTS + 2:
        raise RequestError(400, f"the form has more than {_MOST_PARTS} parts; send the picture alone")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise RequestError(400, "the form ends before its last boundary; send all of it")
    for piece in pieces[1:-1]:
        head, separator, value = piece.lstrip(b" \t").removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if separator and _called(head) == name:
            return value
    raise RequestError(400, f"the form has no field {name!r}; call the picture so")


def json_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        RequestError: 400, it is none.
    """
    try:
        values = json.loads(body) if len(body) <= _MOST_JSON else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise RequestError(400, "the body must be a JSON object")
    return values


def _called(head: bytes) -> str | None:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            said = Message()
            said["content-disposition"] = value.strip().decode("utf-8", "replace").replace("\n", " ")
            name = said.get_param("name", header="content-disposition")
            return name if isinstance(name, str) else None
    return None
