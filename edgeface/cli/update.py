"""`edgeface update check | apply`: newer models from the publisher's repository."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from edgeface.cli.inputs import printable
from edgeface.cli.options import picture_option, waits_option

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeface.update import Plan, Updates

__all__ = ["update_group"]

_SCHEMA = "edgeface.update/1"
_EXIT_CODES = """\b
Exit codes:
  0    it was done, or there was nothing to do
  2    the command line is wrong
  4    what the repository gives is not to be believed, or this device does not take it
  5    the repository, the store or the disk cannot be used now; what ran before runs
"""


def _told(command: Callable[..., int]) -> Callable[..., int]:
    """The options of both commands, and the exit codes of their errors."""

    @click.option(
        "--from",
        "source",
        metavar="ADDRESS|DIR",
        help="The repository: https://..., or a folder, such as that of a USB stick.  [default: update.json]",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON (edgeface.update/1).")
    @functools.wraps(command)
    def run(**options: Any) -> int:
        from edgeface.store import StoreError
        from edgeface.update import UntrustedError, UpdateError

        try:
            return command(**options)
        except (StoreError, UpdateError) as error:
            click.echo(f"edgeface: {printable(str(error))}", err=True)
            return 4 if isinstance(error, UntrustedError) else 5

    return run


@click.group("update")
def update_group() -> None:
    """Fetch newer models that the publisher signed, from a web server or a USB stick.

    Where from and whom to believe is in /etc/edgeface/update.json and root.json beside it, or where
    EDGEFACE_UPDATE says. Nothing is looked for unless one of these commands runs.
    """


@update_group.command("check", epilog=_EXIT_CODES)
@_told
def _check(source: str | None, as_json: bool) -> int:
    """Tell what there is for this device; fetch no models."""
    plan = _updates(source).check()
    if as_json:
        click.echo(json.dumps({"schema": _SCHEMA, **asdict(plan)}, indent=2))
    else:
        _tell(plan)
        if plan.offer is not None:
            click.echo(printable(f"{plan.offer.version} is there for this device: edgeface update apply"))
    return 0


@update_group.command("apply", epilog=_EXIT_CODES)
@waits_option
@picture_option
@_told
def _apply(source: str | None, as_json: bool, waits: bool, picture: Path | None) -> int:
    """Fetch and install what there is for this device; what breaks off goes on with the next try."""
    applied = _updates(source, picture).apply(waits=waits)
    if as_json:
        slot = (
            None if applied.slot is None else {"version": applied.slot.version, "digest": applied.slot.digest}
        )
        click.echo(json.dumps({"schema": _SCHEMA, **asdict(applied.plan), "installed": slot}, indent=2))
        return 0
    _tell(applied.plan)
    if applied.slot is not None:
        by = ", ".join(applied.slot.signers)
        click.echo(printable(f"installed {applied.slot.name} {applied.slot.version}, signed by {by}"))
    return 0


def _updates(source: str | None, picture: Path | None = None) -> Updates:
    from edgeface.update import Settings, Updates, settings_path

    settings = Settings.load(settings_path(), source)
    return Updates.of(settings, picture=None if picture is None else picture.absolute())


def _tell(plan: Plan) -> None:
    click.echo(printable(f"{plan.runs} runs"))
    for item in plan.kept_back:
        click.echo(printable(f"{item.version} is not for this device now: {item.reason}"))
    if plan.offer is None:
        click.echo("nothing newer is for this device")
