"""The options that say where results go by themselves; for `serve` and `watch`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeface.errors import ArgumentError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeface.service import MqttTarget

__all__ = ["mqtt_target", "outlet_options", "secret"]

_VARIABLE = "EDGEFACE_MQTT_PASSWORD"
_LONGEST = 1024  # bytes of a file with a secret

_OPTIONS = (
    click.option(
        "--pipe",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="PATH",
        help="Write results to this named pipe, one JSON object per line, for whoever reads it; it is made "
        "if there is none.",
    ),
    click.option(
        "--mqtt",
        metavar="ADDRESS",
        help="Send results to a broker: mqtt://[USER@]HOST[:PORT]/TOPIC; mqtts:// encrypts. "
        'TOPIC/status tells "online" or "offline".',
    ),
    click.option(
        "--mqtt-password-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Where the broker's password is. Without it: the variable {_VARIABLE}.",
    ),
    click.option(
        "--mqtt-ca",
        type=click.Path(),
        metavar="FILE",
        help="Who signed the broker's certificate (PEM), if it is nobody whom this system trusts.",
    ),
)


def outlet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--pipe``, ``--mqtt`` and what goes with it."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def mqtt_target(address: str | None, password_file: Path | None, authority: str | None) -> MqttTarget | None:
    """Return where ``--mqtt`` leads, with the password; None without it.

    Raises:
        ArgumentError: the address is none, or its options come without it.
        ServiceError: the password's file cannot be read.
    """
    if address is None:
        if password_file is not None or authority is not None:
            raise ArgumentError("--mqtt-password-file and --mqtt-ca go with --mqtt ADDRESS")
        return None
    from edgeface.service import MqttTarget

    target = MqttTarget.parse(address, authority=authority)
    if password_file is None and not target.user:
        return target  # the variable may be meant for another broker
    password = os.environ.get(_VARIABLE, "") if password_file is None else secret(password_file, "password")
    return MqttTarget.parse(address, password, authority)


def secret(file: Path, what: str) -> str:
    """Read a token or password. It is no option: every user of a machine can read a program's options.

    Raises:
        ServiceError: it cannot be read, or is empty.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(_LONGEST).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"{file}: no {what} can be read there; write one in ASCII letters") from error
    if not text:
        raise ServiceError(f"{file}: is empty; write the {what} into it")
    return text
