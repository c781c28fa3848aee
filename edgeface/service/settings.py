"""What the service is allowed to do, in two frozen places: its settings, and how much a client may ask."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from edgeface.errors import ArgumentError, ServiceError

if TYPE_CHECKING:
    import os

    from edgeface.bundle import Bundle
    from edgeface.service.mqtt import MqttTarget

__all__ = ["PRIVACY", "Limits", "ServiceSettings", "is_loopback"]

PRIVACY = ("off", "blur", "mask", "counts")
"""What leaves it: everything; every picture with faces blurred or painted over; counts and events alone."""

_SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one client, and all of them together, may ask for.

    Attributes:
        body: Bytes of a request's body.
        bodies: Bytes of all bodies that are being read or analysed at once.
        pixels: Pixels of a picture that was sent.
        message: Bytes of a WebSocket message.
        connections: Connections at once; beyond, those that have asked for nothing yet are ended.
        viewers: Streams at once: results, pictures and webcams.
        waiting: Pictures that wait for their analysis at once.
        rate: Requests per second of one address in the long run.
        burst: Requests of one address at once.
        wrong_tokens: Wrong tokens of one address at once; one more is allowed every five seconds.
        head_seconds: Until the head of a request is complete.
        body_seconds: Until its body is.
        stall_seconds: That a client may leave what was sent to it unread.
        idle_seconds: That a connection may rest between two requests.

    Raises:
        ArgumentError: A limit is not above 0.
    """

    body: int = 16 * 2**20
    bodies: int = 64 * 2**20
    pixels: int = 25_000_000
    message: int = 4 * 2**20
    connections: int = 96
    viewers: int = 24
    waiting: int = 4
    rate: float = 50.0
    burst: int = 100
    wrong_tokens: int = 10
    head_seconds: float = 5.0
    body_seconds: float = 20.0
    stall_seconds: float = 10.0
    idle_seconds: float = 15.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise ArgumentError(f"limit {limit.name} must be above 0, not {getattr(self, limit.name)!r}")


_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Who may ask, and for what.

    Attributes:
        host: Address to listen on. Anything but loopback needs a token.
        port: Port to listen on; 0 lets the system choose.
        token: What a client must show, as ``Authorization: Bearer TOKEN`` or with the page's cookie; empty:
            nothing, which only loopback allows. Never part of a message, a log or ``repr``.
        names: Names of this machine, beside its addresses, by which browsers may ask for it ("kiosk.local").
        tasks: What to find in each face, until the page chooses something else.
        privacy: One of `PRIVACY`.
        max_faces: Keep only so many faces per frame, the largest; None: all.
        smallest_face: Pixels of the frame, as `FaceAnalyzer` takes it; faces far away are then hidden, too.
        threads: Threads per model.
        backend: What runs the models, as `FaceAnalyzer` takes it.
        strict: Fail where a slower device would quietly stand in.
        bundle: The models; None: the built-in ones.
        certificate: PEM files of a certificate and its key: the service then speaks HTTPS. Only so does a
            browser on another machine hand out its camera.
        mqtt: The broker that results are sent to; None: to none.
        pipe: The named pipe that results are written to; None: to none.
        version: What `/metrics` and the OpenAPI document call the version.
        limits: How much is too much.

    Raises:
        ArgumentError: A value is unknown or out of range.
        ServiceError: The address is open to others and there is no token, or it is too short to be one.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str = field(default="", repr=False)
    names: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("landmarks", "parsing", "expression")
    privacy: str = "off"
    max_faces: int | None = None
    smallest_face: float | None = None
    threads: int = 1
    backend: str = "auto"
    strict: bool = False
    bundle: Bundle | str | os.PathLike[str] | None = None
    certificate: tuple[str, str] | None = None
    mqtt: MqttTarget | None = None
    pipe: str | os.PathLike[str] | None = None
    version: str = ""
    limits: Limits = _LIMITS

    def __post_init__(self) -> None:
        if self.privacy not in PRIVACY:
            raise ArgumentError(f"privacy {self.privacy!r} is unknown; use one of {', '.join(PRIVACY)}")
        if not 0 <= self.port <= 65535:
            raise ArgumentError(f"port {self.port} does not exist; use 1 to 65535, or 0 for any free one")
        if self.token and not (len(self.token) >= _SHORTEST_TOKEN and self.token.isascii()):
            raise ServiceError(
                f"the token needs at least {_SHORTEST_TOKEN} ASCII characters; "
                'python -c "import secrets; print(secrets.token_urlsafe())" makes one'
            )
        if not self.token and not is_loopback(self.host):
            raise ServiceError(
                f"{self.host} can be reached by others and there is no token; "
                "set one, or listen on 127.0.0.1 alone"
            )

    @property
    def covers_faces(self) -> bool:
        """Whether faces are hidden in every picture that is shown."""
        return self.privacy in ("blur", "mask")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
