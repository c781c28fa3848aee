"""The routes, put together: an ASGI application for uvicorn."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from edgeface.errors import EdgeFaceError
from edgeface.service.gate import Gate
from edgeface.service.handlers import Handlers
from edgeface.service.replies import failed
from edgeface.service.streams import Streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edgeface.service.kiosk import Kiosk

__all__ = ["application"]


def application(kiosk: Kiosk) -> Gate:
    """Return the application that answers for a kiosk."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.routing import Route, WebSocketRoute

    handlers = Handlers(kiosk)
    streams = Streams(kiosk, handlers)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        kiosk.live.bind()
        yield

    routes: list[Route | WebSocketRoute] = [
        Route("/", handlers.page),
        Route("/analyze", handlers.analyze, methods=["POST"]),
        Route("/camera", handlers.camera, methods=["POST", "DELETE"]),
        Route("/events", streams.events),
        Route("/healthz", handlers.health),
        Route("/login", handlers.login, methods=["POST"]),
        Route("/metrics", handlers.metrics),
        Route("/openapi.json", handlers.openapi),
        Route("/schema.json", handlers.schema),
        Route("/snapshot.jpg", handlers.snapshot),
        Route("/state", handlers.state),
        Route("/stream.mjpg", streams.mjpeg),
        WebSocketRoute("/ws", streams.results),
        WebSocketRoute("/ws/analyze", streams.webcam),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={EdgeFaceError: failed, HTTPException: failed, 500: failed},
    )

    async def unlock(scope: Any, receive: Any, send: Any) -> None:
        answer = await handlers.unlock(Request(scope))
        await answer(scope, receive, send)

    paths = frozenset(route.path for route in routes)
    return Gate(app, kiosk.access, kiosk.metrics, paths, unlock)
