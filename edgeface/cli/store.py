"""`edgeface models install | status | verify | rollback`: the models that are installed on this device."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeface.cli.inputs import printable
from edgeface.cli.options import picture_option, waits_option
from edgeface.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeface.store import Opened, State, Store

__all__ = ["COMMANDS"]

_EXIT_CODES = """\b
Exit codes:
  0    it was done; what runs is sound
  2    the command line is wrong
  4    the bundle is damaged, or this device does not take it
  5    the store is busy or damaged, or its disk refuses; what ran before runs
"""
_MOST_RELEASE = 1 << 20

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON (edgeface.store/1).")


def _told(command: Callable[..., int]) -> Callable[..., int]:
    """Give the errors of the store their exit code."""

    @functools.wraps(command)
    def run(**options: Any) -> int:
        from edgeface.store import StoreError

        try:
            return command(**options)
        except StoreError as error:
            click.echo(f"edgeface: {printable(str(error))}", err=True)
            return 5

    return run


@click.command("install", epilog=_EXIT_CODES)
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False), metavar="BUNDLE")
@click.option(
    "--release",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What the publisher signed.  [default: BUNDLE.release]",
)
@click.option("--unsigned", is_flag=True, help="Take the bundle without a signature; the status says so.")
@click.option(
    "--allow-older", is_flag=True, help="Take a version that is not newer, or one that failed here before."
)
@waits_option
@picture_option
@_told
def _install(bundle: Path, release: Path | None, picture: Path | None, **switches: bool) -> int:
    """Verify a bundle, try it, and run it from now on.

    The publisher's public keys are in /etc/edgeface/keys.json, or where EDGEFACE_KEYS says; the models go to
    EDGEFACE_STORE, or edgeface/store in XDG_DATA_HOME or ~/.local/share. A bundle that crashes, hangs or
    answers wrongly is left again, and what ran before goes on running.
    """
    from edgeface.bundle import Bundle
    from edgeface.store import Store, store_path

    Bundle.load(bundle)  # names the file, and what is wrong with it
    signed = _release(release, bundle)
    store = Store.at(store_path(), picture=None if picture is None else picture.absolute())
    slot = store.install(bundle.read_bytes(), signed, **switches)
    by = f"signed by {', '.join(slot.signers)}" if slot.signers else "taken without a signature"
    click.echo(printable(f"installed {slot.name} {slot.version}, digest {slot.digest[:12]}, {by}"))
    if store.status().state.trial is not None:
        click.echo("it is on trial until the service confirms it")
    return 0


@click.command("status", epilog=_EXIT_CODES)
@_json_option
@_told
def _status(as_json: bool) -> int:
    """Tell what runs, what it can go back to, and what failed."""
    store = _store()
    status, opened = store.status(), store.open()
    if as_json:
        click.echo(json.dumps(_plain(status.where, status.state, opened), indent=2))
    else:
        for line in _lines(status.where, status.state, opened, status.builtin):
            click.echo(printable(line))
    return 5 if opened.trouble else 0


@click.command("verify", epilog=_EXIT_CODES)
@_json_option
@_told
def _verify(as_json: bool) -> int:
    """Read what is installed again: every byte, and the signatures."""
    verdicts = _store().verify()
    if as_json:
        found = [{"slot": v.slot, "sound": v.sound, "text": v.text} for v in verdicts]
        click.echo(json.dumps({"schema": "edgeface.store/1", "verdicts": found}, indent=2))
    else:
        for verdict in verdicts:
            click.echo(printable(f"slot {verdict.slot}: {verdict.text}"))
        if not verdicts:
            click.echo("nothing is installed; the built-in models run")
    return 0 if all(verdict.sound for verdict in verdicts) else 5


@click.command("rollback", epilog=_EXIT_CODES)
@_told
def _rollback() -> int:
    """Go back to the models that ran before, or to those that are built in."""
    click.echo(printable(f"from now on: {_named(_store().rollback())}"))
    return 0


COMMANDS = (_install, _status, _verify, _rollback)
"""What `edgeface models` has of this file."""


def _store() -> Store:
    from edgeface.store import Store, store_path

    return Store.at(store_path())


def _release(named: Path | None, bundle: Path) -> bytes | None:
    path = bundle.with_name(f"{bundle.name}.release") if named is None else named
    try:
        with path.open("rb") as file:
            return file.read(_MOST_RELEASE)
    except FileNotFoundError:
        if named is None:
            return None
        raise BundleError(f"--release {path}: there is no such file; check the path") from None
    except OSError as error:
        raise BundleError(f"release {path}: cannot be read ({error.strerror}); check the path") from error


def _named(opened: Opened) -> str:
    where = "built in" if opened.slot is None else f"slot {opened.slot}"
    return f"{opened.bundle.name} {opened.bundle.version}, digest {opened.bundle.digest[:12]}, {where}"


def _lines(where: str, state: State, opened: Opened, builtin: str) -> list[str]:
    lines = [f"store    {where}", f"runs     {_named(opened)}"]
    if opened.trouble:
        lines.append(f"trouble  {opened.trouble}")
    for name, slot in state.slots.items():
        by = f"signed by {', '.join(slot.signers)}" if slot.signers else "UNSIGNED"
        lines.append(f"slot {name}   {slot.name} {slot.version}, {by}, installed {slot.installed}")
    if state.trial is not None:
        kind = "runs until the service confirms it" if state.trial.checked else "was not tried to the end"
        lines.append(f"trial    slot {state.trial.slot} {kind}; {state.trial.failures} of 3 tries are used")
    if state.floor is not None:
        lines.append(f"floor    the next version must be above {state.floor}")
    lines += [f"failed   {item.version}, digest {item.digest[:12]}: {item.reason}" for item in state.failed]
    return [*lines, f"built in {builtin}"]


def _plain(where: str, state: State, opened: Opened) -> dict[str, Any]:
    return {
        "schema": "edgeface.store/1",
        "store": where,
        "runs": {
            "name": opened.bundle.name,
            "version": opened.bundle.version,
            "digest": opened.bundle.digest,
            "slot": opened.slot,
            "trial": opened.trial,
            "trouble": opened.trouble,
        },
        "slots": {
            name: {
                "name": slot.name,
                "version": slot.version,
                "digest": slot.digest,
                "signers": list(slot.signers),
                "installed": slot.installed,
            }
            for name, slot in state.slots.items()
        },
        "trial": None
        if state.trial is None
        else {
            "slot": state.trial.slot,
            "failures": state.trial.failures,
            "checked": state.trial.checked,
        },
        "floor": state.floor,
        "failed": [
            {"version": item.version, "digest": item.digest, "reason": item.reason} for item in state.failed
        ],
    }
