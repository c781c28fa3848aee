"""The options that several commands have, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "backend_option",
    "bundle_option",
    "max_faces_option",
    "picture_option",
    "service_bundle_option",
    "smallest_face_option",
    "strict_option",
    "tasks_option",
    "threads_option",
    "waits_option",
]

_TASKS = ("landmarks", "parsing", "expression")
_NO_TASK = ("none", "detection")


def _chosen(_context: click.Context, _option: click.Parameter, named: Path | None) -> Path | None:
    if named is None or str(named) != "store":
        return named
    from edgeface.store import chosen_path

    return chosen_path(named)


def _bundle(callback: Callable[..., Any] | None) -> Callable[[Any], Any]:
    return click.option(
        "--bundle",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=callback,
        help="Models other than the built-in base ones: `nano`, built in too, for a Pi 3 or a Zero 2 W; a "
        "bundle file, not a link to one; or `store` for what `edgeface models install` put there.",
    )


bundle_option = _bundle(_chosen)
service_bundle_option = _bundle(None)
"""For what confirms that the store's models work, and so needs to know that they are the store's."""

waits_option = click.option(
    "--wait-for-service",
    "waits",
    is_flag=True,
    help="Keep it on trial until the service that runs it confirms it; after three starts it is left.",
)

picture_option = click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A photo of this device's camera in which the models must find a face.",
)

threads_option = click.option(
    "--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Threads per model."
)

max_faces_option = click.option(
    "--max-faces", type=click.IntRange(1), metavar="N", help="Keep only the N largest faces."
)

smallest_face_option = click.option(
    "--smallest-face",
    type=click.FloatRange(8, 100_000),
    metavar="PX",
    help="Find faces down to this size in pixels, where need be in overlapping tiles of the frame: 20 in "
    "640 x 480 takes ten looks.",
)

backend_option = click.option(
    "--backend",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="What runs the models: a name that `edgeface devices` lists.",
)

strict_option = click.option(
    "--strict", is_flag=True, help="Fail where a slower device would quietly stand in."
)


def _tasks(_ctx: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    names = [name.strip().lower() for name in value.split(",") if name.strip()]
    for name in names:
        if name not in (*_TASKS, *_NO_TASK):
            raise click.BadParameter(
                f"{name!r} is unknown; name some of {', '.join(_TASKS)}, separated by commas, "
                "or none for boxes alone"
            )
    return tuple(task for task in _TASKS if task in names)


def tasks_option(told: str) -> Callable[[Any], Any]:
    """``--tasks``, with its own help: what a command finds them for."""
    return click.option(
        "--tasks", default=",".join(_TASKS), show_default=True, callback=_tasks, metavar="NAMES", help=told
    )
