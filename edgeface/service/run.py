"""Starting and stopping: bind first, tell the operator, serve until somebody says stop, close the camera."""

from __future__ import annotations

import socket
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeface.errors import EdgeFaceError, ServiceError
from edgeface.service.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import uvicorn

    from edgeface.service.cameras import Offer
    from edgeface.service.connections import StoppableServer
    from edgeface.service.settings import ServiceSettings
    from edgeface.store import Running

__all__ = ["serve"]

_SEND_BUFFER = 256 * 1024  # bytes kept for a slow viewer; the kernel's own choice is seconds of old results
_BACKLOG = 128
_GRACE = 3  # seconds that answers in progress are given at the end


def serve(
    settings: ServiceSettings,
    offers: Sequence[Offer] = (),
    *,
    start: str | None = None,
    say: Callable[[str], None] | None = None,
    ready: Callable[[StoppableServer, str], None] | None = None,
    models: Running | None = None,
) -> None:
    """Serve until Ctrl-C, SIGTERM, or until `ready`'s server was told ``should_exit = True``.

    Args:
        settings: who may ask, and for what.
        offers: the cameras that may be chosen.
        start: the key of the one to start at once; a camera that cannot be opened stops nobody from choosing
            another.
        say: told what the operator should know: the address, the token, and who can reach the service.
        ready: called with the server and its address when it listens.
        models: where the settings' bundle is from, if that is the store: it is confirmed when frames come
            through it, and the service ends when the store points at another.

    Raises:
        ServiceError: the extra `serve`, or for MQTT `mqtt`, is not installed; the address cannot be had, or
            the pipe cannot be made.
        BundleError: the models are damaged or missing.
        DeviceError: no backend opens the models.
        ArgumentError: a setting is one that the analyzer refuses.
    """
    try:
        import starlette  # noqa: F401  the parts import it only where they use it
        import uvicorn  # noqa: F401  the same

        from edgeface.service.app import application
        from edgeface.service.connections import StoppableServer
        from edgeface.service.kiosk import Kiosk
        from edgeface.service.outlet import Outlet, writers_of
        from edgeface.service.supervisor import Supervisor
    except ImportError as error:
        raise ServiceError(
            f"the service needs {error.name}, which is not installed: pip install 'edgeface[serve]'"
        ) from error
    if not is_loopback(settings.host):
        own = socket.gethostname()
        settings = replace(settings, names=(*settings.names, own, f"{own}.local"))
    tell = say or _silent
    with _listening(settings) as listener:
        kiosk = Kiosk(settings, offers)
        try:
            for writer in writers_of(settings, tell):
                kiosk.outlets.append(Outlet(kiosk.live, writer, kiosk.metrics))
            server = StoppableServer(_config(application(kiosk), settings), kiosk.live.end)
            kiosk.connections = server.server_state.connections
            address = _address(settings, listener)
            with server.stopped_by_signals():
                _begin(kiosk.live.start, start, tell)
                _tell(settings, address, tell)
                if ready is not None:
                    ready(server, address)
                with Supervisor(kiosk.live, models, partial(setattr, server, "should_exit", True)):
                    server.run(sockets=[listener])
        finally:
            kiosk.live.end()
            kiosk.close()


def _config(application: Any, settings: ServiceSettings) -> uvicorn.Config:
    """Tell uvicorn how to serve: no log of who asked for what, and no more than the limits allow."""
    import uvicorn

    from edgeface.service.connections import protocols

    certificate, key = settings.certificate or (None, None)
    config = uvicorn.Config(
        application,
        http=protocols(settings.limits),
        ws="websockets-sansio",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=16 * 1024,
        ws_max_size=settings.limits.message,
        ws_per_message_deflate=False,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        timeout_keep_alive=max(1, round(settings.limits.idle_seconds)),
        timeout_graceful_shutdown=_GRACE,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except OSError as error:  # also of ssl
        raise ServiceError(
            f"the certificate or its key cannot be used ({error}); both must be PEM files"
        ) from error
    return config


def _listening(settings: ServiceSettings) -> socket.socket:
    """Bind the address; before anything else is opened, because it is the likeliest to be taken."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServiceError(
            f"{settings.host} is no address of this machine ({error.strerror}); check --host"
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        listener.bind(place)
        listener.listen(_BACKLOG)  # from here on whoever asks early waits a moment and is not refused
    except OSError as error:
        listener.close()
        raise ServiceError(
            f"{settings.host} port {settings.port} cannot be had ({error.strerror}); "
            "does another service use it? choose another with --port"
        ) from error
    return listener


def _begin(starter: Callable[[str], None], key: str | None, say: Callable[[str], None]) -> None:
    if key is not None:
        try:
            starter(key)
        except EdgeFaceError as error:
            say(f"The camera is not on: {error}")


def _address(settings: ServiceSettings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if not is_loopback(host) and host in ("0.0.0.0", "::"):  # noqa: S104  told apart, not bound
        host = settings.names[0] if settings.names else socket.gethostname()
    scheme = "http" if settings.certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _tell(settings: ServiceSettings, address: str, say: Callable[[str], None]) -> None:
    if settings.token:
        # Behind the #, where a browser keeps it to itself: no log and no Referer ever holds it.
        say(f"EdgeFace serves {address}/#token={settings.token}")
        say(f"The token is {settings.token}")
    else:
        say(f"EdgeFace serves {address}")
    if is_loopback(settings.host):
        say("Only this machine can reach it.")
    else:
        said = "" if settings.certificate else " It is not encrypted: others on the way can read it."
        say(f"Everybody in this network can reach it; whoever has the token may look and choose.{said}")
    kinds = {
        "off": "Nothing is stored, nothing is sent anywhere."
        if settings.mqtt is None
        else "Nothing is stored, and nothing but these results is sent anywhere.",
        "blur": "Faces are blurred in every picture that is shown.",
        "mask": "Faces are painted over in every picture that is shown.",
        "counts": "Only counts and events leave it; no picture, no face.",
    }
    say(kinds[settings.privacy])


def _silent(_text: str) -> None:
    """Tell nobody."""
