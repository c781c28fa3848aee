"""The gate before everything: refuses strangers, and adds to each answer what browsers must keep to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeface.service.shot import dumped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from edgeface.service.access import Access
    from edgeface.service.metrics import Metrics

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["Gate", "Refusal", "cookies", "header"]

OPEN = frozenset({"/healthz", "/login"})
"""Paths that need no token: whether it runs, and where the token is shown."""

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=(), payment=(), usb=()"),
    (b"cache-control", b"no-store"),
]
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let through."""

    status: int
    kind: str
    text: str


class Gate:
    """An ASGI application around another.

    Args:
        app: what is behind the gate.
        access: who may ask.
        metrics: what is counted.
        routes: the paths that there are; others are counted as one.
        unlock: answers a browser that has no token yet.
    """

    def __init__(
        self, app: App, access: Access, metrics: Metrics, routes: frozenset[str], unlock: App
    ) -> None:
        self._app, self._access, self._metrics = app, access, metrics
        self._routes, self._unlock = routes, unlock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        guarded = self._guarded(scope, send) if scope["type"] == "http" else send
        if refusal is None:
            await self._app(scope, receive, guarded)
            return
        self._metrics.count("refused", reason=refusal.kind)
        if refusal.kind == "token" and scope["path"] == "/" and scope["type"] == "http":
            await self._unlock(scope, receive, guarded)
        else:
            await _answer(refusal, scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Refusal | None:
        if not self._access.may_ask(_address(scope)):
            return Refusal(429, "rate", "too many requests; wait a moment")
        host = header(scope, b"host")
        several = len([1 for key, _ in scope["headers"] if key == b"host"]) != 1
        if several or not self._access.knows_host(host):
            return Refusal(
                421, "host", "this is not a name of this device; ask for its address, or start it with --name"
            )
        site, origin = header(scope, b"sec-fetch-site") or None, header(scope, b"origin", none=None)
        entering = header(scope, b"sec-fetch-mode") == "navigate" and scope["path"] == "/"
        arrives = entering and origin is None and scope.get("method") == "GET"
        if not self._access.is_own(host, origin, site) and not arrives:
            return Refusal(403, "origin", "another site's page may not ask this device")
        return None if scope["path"] in OPEN else self._stranger(scope)

    def _stranger(self, scope: Scope) -> Refusal | None:
        access, address = self._access, _address(scope)
        if access.guarded and not access.patient(address):
            return Refusal(429, "wrong tokens", "too many wrong tokens; wait a moment")
        if not access.is_let_in(header(scope, b"authorization"), cookies(scope), address):
            return Refusal(401, "token", "show the token that the service said when it started")
        return None

    def _guarded(self, scope: Scope, send: Send) -> Send:
        path = scope["path"] if scope["path"] in self._routes else "other"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count("requests", path=path, status=str(message["status"]))
                given = {key.lower() for key, _ in message.get("headers", ())}
                more = [(key, value) for key, value in [*_HEADERS, _POLICY] if key not in given]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        return guarded


def header(scope: Scope, name: bytes, none: Any = "") -> Any:
    """Return a header's value as text; the first of several; `none` without it."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), none)


def cookies(scope: Scope) -> dict[str, str]:
    """Return the cookies of a request; other services of this machine send theirs, well formed or not."""
    pairs = (pair.partition("=") for pair in header(scope, b"cookie").split(";"))
    return {name.strip(): value.strip() for name, separator, value in pairs if separator}


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "local"


async def _answer(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    body = dumped({"schema": "edgeface.error/1", "error": refusal.text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="edgeface"'))
    if refusal.status == 429:
        headers.append((b"retry-after", b"5"))
    # A body that nobody reads: the connection ends with the answer instead of waiting for it.
    headers.append((b"connection", b"close"))
    kind = "http"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        kind = "websocket.http"
    await send({"type": f"{kind}.response.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
