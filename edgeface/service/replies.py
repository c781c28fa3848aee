"""Answers: JSON, bytes and streams. Starlette is imported where they are made, and only by who serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeface.errors import ArgumentError, EdgeFaceError, FrameError
from edgeface.service.bodies import RequestError
from edgeface.service.shot import dumped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse

__all__ = ["failed", "json_reply", "reply", "stream_reply"]

ERROR = "edgeface.error/1"


def reply(
    body: bytes | str, media_type: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a body."""
    from starlette.responses import Response

    return Response(body, status, headers, media_type)


def json_reply(values: dict[str, Any], status: int = 200) -> Response:
    """Answer with JSON."""
    return reply(dumped(values), "application/json", status)


def stream_reply(parts: AsyncIterator[bytes], media_type: str) -> StreamingResponse:
    """Answer with parts as they come."""
    from starlette.responses import StreamingResponse

    return StreamingResponse(parts, media_type=media_type)


async def failed(_request: Request, error: Exception) -> Response:
    """Answer an error: what the client did wrong, or what this device cannot do now."""
    if isinstance(error, RequestError):
        status = error.status
    elif isinstance(error, (FrameError, ArgumentError)):
        status = 400
    else:
        status = 503 if isinstance(error, EdgeFaceError) else getattr(error, "status_code", 500)
    said = str(error) if isinstance(error, EdgeFaceError) else _SAID.get(status, "this request has no answer")
    answer = json_reply({"schema": ERROR, "error": said}, status)
    for name, value in (getattr(error, "headers", None) or {}).items():
        answer.headers[name] = value
    if status in (408, 413, 503):
        # What is left of a body is not read, and the next request must not begin in the middle of it.
        answer.headers["connection"] = "close"
        answer.headers["retry-after"] = "1"
    return answer


_SAID = {
    404: "there is nothing here; /openapi.json tells what there is",
    405: "this is not how to ask for it; /openapi.json tells how",
    500: "internal fault, please report it",
}
