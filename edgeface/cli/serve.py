"""`edgeface serve`: the kiosk service from the command line. Its parts are loaded when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeface.cli.inputs import printable
from edgeface.cli.options import (
    backend_option,
    max_faces_option,
    service_bundle_option,
    smallest_face_option,
    strict_option,
    tasks_option,
    threads_option,
)
from edgeface.cli.outlets import mqtt_target, outlet_options, secret
from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from edgeface.store import Running

__all__ = ["serve_command"]

_VARIABLE = "EDGEFACE_TOKEN"

_EPILOG = """\b
Exit codes:
  0    the service was stopped (Ctrl-C, SIGTERM)
  2    the command line is wrong
  3    the service cannot start: the address is taken, the extra `serve` is missing
  4    the bundle of models or the device is at fault
  70   internal fault, please report it
"""


@click.command("serve", epilog=_EPILOG)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0: any.")
@click.option(
    "--camera",
    "cameras",
    multiple=True,
    metavar="SOURCE",
    help="A camera that may be chosen: 0, /dev/video0, picamera, rtsp://..., a film, a folder; "
    "synthetic:PHOTO to try it without one. The first is started. May be repeated; without it, the USB "
    "cameras that are found are offered and none is started.",
)
@tasks_option("What to find in each face until the page chooses; none for boxes alone.")
@click.option(
    "--privacy",
    type=click.Choice(["off", "blur", "mask", "counts"]),
    default="off",
    show_default=True,
    help="Blur faces or paint them over in all that is shown; or let counts and events alone leave.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Where the token is. Without it: the variable {_VARIABLE}; without that, and where others reach "
    "the address, a new one is made and said.",
)
@click.option(
    "--name", "names", multiple=True, metavar="HOST", help="A name by which browsers ask for this device."
)
@click.option(
    "--certificate", type=click.Path(), metavar="FILE", help="Speak HTTPS with this certificate (PEM)."
)
@click.option("--key", type=click.Path(), metavar="FILE", help="The certificate's key (PEM).")
@outlet_options
@max_faces_option
@smallest_face_option
@threads_option
@backend_option
@strict_option
@service_bundle_option
def serve_command(
    *,
    cameras: tuple[str, ...],
    token_file: Path | None,
    host: str,
    certificate: str | None,
    key: str | None,
    mqtt: str | None,
    mqtt_password_file: Path | None,
    mqtt_ca: str | None,
    bundle: Path | None,
    **options: Any,
) -> int:
    """Serve one camera, its faces and a page to this machine, or with a token to others.

    The page shows the camera with its faces, takes photos and the visitor's own webcam. Programs use POST
    /analyze, /events, the WebSocket /ws and /metrics; /openapi.json describes all of it. Nothing is stored,
    and nothing is sent anywhere by itself unless --mqtt or --pipe says where.
    """
    if (certificate is None) != (key is None):
        raise ArgumentError("--certificate and --key go together; give both or none")
    target = mqtt_target(mqtt, mqtt_password_file, mqtt_ca)
    from edgeface import __version__
    from edgeface.service import ServiceSettings, found_cameras, named_camera, serve
    from edgeface.service.settings import is_loopback

    offers = [named_camera(source) for source in cameras]
    models = _models() if str(bundle) == "store" else None
    settings = ServiceSettings(
        host=host,
        token=_token(token_file, needed=not is_loopback(host)),
        certificate=None if certificate is None or key is None else (certificate, key),
        mqtt=target,
        bundle=bundle if models is None else models.opened.bundle,
        version=__version__,
        **options,
    )
    serve(
        settings,
        offers or found_cameras(),
        start=offers[0].key if offers else None,
        say=lambda text: click.echo(printable(text), err=True),
        models=models,
    )
    return 0


def _models() -> Running:
    """The models of the store, which may be on trial: this start counts."""
    from edgeface.store import Running, Store, store_path

    models = Running(Store.at(store_path()))
    if models.opened.trouble:
        click.echo(printable(f"edgeface: {models.opened.trouble}"), err=True)
    return models


def _token(file: Path | None, *, needed: bool) -> str:
    """Read the token, or make one where it is needed."""
    if file is not None:
        return secret(file, "token")
    token = os.environ.get(_VARIABLE, "").strip()
    if not token and needed:
        import secrets

        token = secrets.token_urlsafe(24)
    return token
