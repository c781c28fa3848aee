"""`edgeface watch`: results of a camera for other programs, without a page and without a port."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from edgeface.cli.inputs import printable
from edgeface.cli.options import (
    backend_option,
    bundle_option,
    max_faces_option,
    smallest_face_option,
    strict_option,
    tasks_option,
    threads_option,
)
from edgeface.cli.outlets import mqtt_target, outlet_options

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["watch_command"]

_STDOUT = 1

_EPILOG = """\b
Exit codes:
  0    it was stopped (Ctrl-C, SIGTERM), the film ended, or nobody reads the output any more
  2    the command line is wrong
  3    the camera cannot be opened or was lost for good; the extra `mqtt` is missing
  4    the bundle of models or the device is at fault
  5    the output cannot be written: no room
  70   internal fault, please report it
"""


@click.command("watch", epilog=_EPILOG)
@click.option(
    "--camera",
    default="0",
    show_default=True,
    metavar="SOURCE",
    help="0, /dev/video0, picamera, rtsp://..., a film, a folder; synthetic:PHOTO to try it without one.",
)
@click.option("--loop", is_flag=True, help="Begin a film or folder again at its end.")
@click.option(
    "--json",
    "json_",
    is_flag=True,
    help="Write results to the standard output; so it is without --pipe and --mqtt.",
)
@outlet_options
@tasks_option("What to find in each face; none for boxes alone.")
@click.option(
    "--privacy",
    type=click.Choice(["off", "counts"]),
    default="off",
    show_default=True,
    help="Let counts and events alone leave, nothing about any face.",
)
@max_faces_option
@smallest_face_option
@threads_option
@backend_option
@strict_option
@bundle_option
def watch_command(
    *,
    camera: str,
    loop: bool,
    json_: bool,
    mqtt: str | None,
    mqtt_password_file: Path | None,
    mqtt_ca: str | None,
    pipe: Path | None,
    **options: Any,
) -> int:
    """Follow the faces of a camera and write one JSON object per frame, as `edgeface serve` sends them.

    A reader who is slow gets fewer results and never old ones; the events of those that he missed stand in
    the next. One who leaves a pipe, or a broker that is away, may come back. Nothing is stored.
    """
    target = mqtt_target(mqtt, mqtt_password_file, mqtt_ca)
    from edgeface.service import ServiceSettings, named_camera, watch

    alone = pipe is None and target is None
    settings = ServiceSettings(mqtt=target, pipe=pipe, **options)
    stop = threading.Event()
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stopping(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])  # whoever says it twice does not want to wait

    for number in before:
        signal.signal(number, stopping)
    try:
        watch(
            settings,
            named_camera(camera, loop=loop),
            output=_STDOUT if json_ or alone else None,
            stop=stop,
            say=lambda text: click.echo(printable(text), err=True),
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0
