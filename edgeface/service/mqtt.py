"""Results to an MQTT broker (version 3.1.1), through paho-mqtt. It needs the extra `mqtt`.

Results go to the topic, one JSON object per message, at least once (QoS 1) and not retained. `TOPIC/status`
holds "online" or "offline", retained; "offline" is the last will too, which the broker tells when this
machine is gone. Nothing is queued: no more than two messages wait for the broker's answer, and while they
do, or while there is no broker, frames come and go.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeface.errors import ArgumentError, ServiceError
from edgeface.service.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MqttTarget", "MqttWriter"]

_AHEAD = 2  # messages that the broker may not have answered yet; more would only be old when they are read
_KEEPALIVE = 15  # seconds of silence after which broker and service believe each other gone
_FIRST, _MOST = 1, 30  # seconds between two attempts to reach the broker; doubled each time
_CONNECT = 5.0  # seconds that an attempt may take
_GOODBYE = 1.0  # seconds that the last message is given
_STATUS = "/status"

_ADDRESS = re.compile(
    r"(?P<scheme>mqtts?)://(?:(?P<user>[^@/]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\[\]\s]+)"
    r"(?::(?P<port>\d{1,5}))?/(?P<topic>.+)"
)


@dataclass(frozen=True, slots=True)
class MqttTarget:
    """Where results go.

    Attributes:
        host: The broker's name or address.
        topic: What results are published under; their status under ``TOPIC/status``.
        port: The broker's; usually 1883, with TLS 8883.
        user: Name that the broker knows; empty: none.
        password: Its password. Never part of a message, a log or ``repr``.
        tls: Encrypt, and see whether the broker is who it says.
        authority: PEM file of whoever signed the broker's certificate; None: those that the system trusts.

    Raises:
        ArgumentError: The topic has a wildcard or is too long, there is no such port, a password has no user,
            or an authority has nothing to sign for.
    """

    host: str
    topic: str
    port: int = 1883
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    authority: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if not self.topic or re.search(r"[+#\x00]", self.topic) or len(self.topic.encode()) > 1024:
            raise ArgumentError(
                f"topic {self.topic!r}: give 1 to 1024 bytes without the wildcards + and #, as in kiosk/hall"
            )
        if not 1 <= self.port <= 65535:
            raise ArgumentError(f"port {self.port} does not exist; use 1 to 65535")
        if self.password and not self.user:
            raise ArgumentError("the broker's password needs a user: mqtt://USER@HOST/TOPIC")
        if self.authority is not None and not self.tls:
            raise ArgumentError("a certificate authority goes with TLS: mqtts://HOST/TOPIC")

    @classmethod
    def parse(
        cls, address: str, password: str = "", authority: str | os.PathLike[str] | None = None
    ) -> MqttTarget:
        """Read ``mqtt[s]://[USER@]HOST[:PORT]/TOPIC``.

        Raises:
            ArgumentError: it is no such address, or holds a password.
        """
        found = _ADDRESS.fullmatch(address)
        # The address is not repeated: somebody may have written a password into it.
        if found is None:
            raise ArgumentError("the broker's address is mqtt://[USER@]HOST[:PORT]/TOPIC, or mqtts://...")
        user = found["user"] or ""
        if ":" in user:
            raise ArgumentError(
                "a password in an address can be read by every user of this machine; "
                "put it into the variable EDGEFACE_MQTT_PASSWORD or into a file"
            )
        tls = found["scheme"] == "mqtts"
        port = int(found["port"] or (8883 if tls else 1883))
        return cls(found["host"].strip("[]"), found["topic"], port, user, password, tls, authority)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{'mqtts' if self.tls else 'mqtt'}://{user}{host}:{self.port}/{self.topic}"

    @property
    def exposed(self) -> bool:
        """Whether others on the way can read the results."""
        return not self.tls and not is_loopback(self.host)


class MqttWriter:
    """Publishes lines; connects, and connects again, in a thread of its own.

    Args:
        target: where to.
        say: told when the broker is reached, lost, or refuses; each once until it changes.

    Raises:
        ServiceError: the extra `mqtt` is not installed, or the authority's file cannot be used.
    """

    kind = "mqtt"

    def __init__(self, target: MqttTarget, say: Callable[[str], None]) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise ServiceError(
                f"MQTT needs {error.name}, which is not installed: pip install 'edgeface[mqtt]'"
            ) from error
        self._target, self._say, self._said = target, say, ""
        self._change = threading.Condition()
        self.open = False
        self._sent = self._answered = 0
        client = Client(CallbackAPIVersion.VERSION2, _identity(target.topic))
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_connect_fail, client.on_publish = self._failed, self._published
        client.will_set(target.topic + _STATUS, "offline", qos=1, retain=True)
        client.reconnect_delay_set(_FIRST, _MOST)
        client.connect_timeout = _CONNECT
        if target.user:
            client.username_pw_set(target.user, target.password or None)
        if target.tls:
            try:
                client.tls_set(None if target.authority is None else str(target.authority))
            except OSError as error:  # also of ssl
                raise ServiceError(
                    f"{target.authority}: no certificate authority can be read there; it must be a PEM file"
                ) from error
        self._client = client
        client.connect_async(target.host, target.port, _KEEPALIVE)
        client.loop_start()

    def ready(self, patience: float) -> bool:
        """Wait until the broker is there and has answered what it got; see `Writer`."""
        with self._change:
            return self._change.wait_for(self._has_room, patience)

    def write(self, line: str, over: threading.Event) -> None:  # noqa: ARG002  it never waits
        """Publish a line; see `Writer`."""
        self._publish(self._target.topic, line)

    def close(self) -> None:
        """Say that this is offline, and go."""
        if self.open:
            farewell = self._publish(self._target.topic + _STATUS, "offline", retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # the broker went first
                farewell.wait_for_publish(_GOODBYE)
        self.open = False
        self._client.disconnect()
        # It waits for an attempt in progress, which nobody need wait for.
        stopping = threading.Thread(target=self._client.loop_stop, name="edgeface mqtt end", daemon=True)
        stopping.start()
        stopping.join(_GOODBYE)

    def _has_room(self) -> bool:
        return self.open and self._sent - self._answered < _AHEAD

    def _publish(self, topic: str, payload: str, retain: bool = False) -> Any:
        with self._change:
            self._sent += 1
        # Without the lock: paho holds one of its own while it tells of answers.
        return self._client.publish(topic, payload, qos=1, retain=retain)

    def _published(self, *_told: Any) -> None:
        with self._change:
            self._answered += 1
            self._change.notify_all()

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._tell(f"The MQTT broker refuses ({reason}); check user and password, it is tried again.")
            return
        self._tell("The MQTT broker is reached.")
        self._publish(self._target.topic + _STATUS, "online", retain=True)
        with self._change:
            self.open = True
            self._change.notify_all()

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        if self.open:
            self.open = False
            self._tell("The MQTT broker is lost; it is tried again.")

    def _failed(self, _client: Any, _data: Any) -> None:
        error = sys.exc_info()[1]  # paho calls while it handles this, and does not pass it on
        why = getattr(error, "strerror", None) or getattr(error, "verify_message", None) or error
        self._tell(f"The MQTT broker cannot be reached ({why}); it is tried again.")

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)


def _identity(topic: str) -> str:
    """Return a name that is the same after a power cut: the broker then ends the old connection at once.

    Under a new name, its last will would come later, and call offline what is online again. 23 letters and
    digits are what every broker must take.
    """
    return f"edgeface{hashlib.sha256(f'{os.uname().nodename}/{topic}'.encode()).hexdigest()[:15]}"
