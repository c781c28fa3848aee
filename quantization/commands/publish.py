"""Publishing: `publish` keeps the repository from which devices take their updates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from ..publish import Repository

__all__ = ["publish"]

_REPOSITORY = click.Path(path_type=Path, file_okay=False)


@click.group()
def publish() -> None:
    """Keep the repository from which devices take their updates.

    It is a folder for any static web server, or for a USB stick. Private keys are in --keys and never go to
    a device or a server; where EDGEFACE_KEY_PASSWORD is set, they are encrypted with it. In order: begin,
    key, trust, sign, add; then stage to reach more devices, and refresh every few weeks.
    """


def _command(function: Callable[..., None]) -> click.Command:
    """The arguments of all, and what goes wrong told in a line."""

    @functools.wraps(function)
    def run(**given: Any) -> None:
        from edgeface import EdgeFaceError

        from ..publish import PublishError

        try:
            function(**given)
        except (PublishError, EdgeFaceError) as error:
            raise click.ClickException(str(error)) from error

    keys = click.option(
        "--keys",
        type=_REPOSITORY,
        default=Path("keys"),
        show_default=True,
        help="Folder of the private keys.",
    )
    return publish.command(function.__name__.strip("_"))(
        click.argument("repository", type=_REPOSITORY)(keys(run))
    )


def _opened(repository: Path, keys: Path) -> Repository:
    from ..publish import Repository

    return Repository(repository, keys)


@_command
@click.option("--root-keys", default=1, show_default=True, help="How many root keys there are.")
@click.option("--threshold", default=1, show_default=True, help="How many of them must agree.")
def _begin(repository: Path, keys: Path, root_keys: int, threshold: int) -> None:
    """Make the keys and an empty repository."""
    root = _opened(repository, keys).begin(root_keys, threshold)
    click.echo(f"{root}: onto every device, as /etc/edgeface/root.json")
    click.echo(f"{keys}/root-*.pem: into a safe; only `rotate` needs them")


@publish.command("key")
@click.argument("path", type=options.NEW_FILE, metavar="FILE")
def _key(path: Path) -> None:
    """Make somebody's key to sign releases with, release-NAME.pem; prints the public one."""
    from ..publish import PublishError, make_key

    try:
        click.echo(f"{path.stem.removeprefix('release-')}={make_key(path)}")
    except PublishError as error:
        raise click.ClickException(str(error)) from error


@publish.command("sign")
@click.argument("bundle", type=options.FILE)
@click.option("--key", "owners", type=options.FILE, multiple=True, required=True, help="release-NAME.pem.")
@click.option("--days", default=365, show_default=True, help="After which it is not installed any more.")
@click.option("--board", "boards", multiple=True, help="Only boards of this name; again for more.")
def _sign(bundle: Path, owners: tuple[Path, ...], days: int, boards: tuple[str, ...]) -> None:
    """Say in BUNDLE.release what a BUNDLE is; who signs later is added to those who did."""
    from edgeface import EdgeFaceError

    from ..publish import PublishError, sign_release

    try:
        click.echo(sign_release(bundle, owners, days, boards))
    except (PublishError, EdgeFaceError) as error:
        raise click.ClickException(str(error)) from error


@_command
@click.argument("owners", nargs=-1, required=True, metavar="NAME=PUBLIC...")
@click.option("--threshold", default=1, show_default=True, help="How many of them must have signed.")
def _trust(repository: Path, keys: Path, owners: tuple[str, ...], threshold: int) -> None:
    """Say whose releases devices believe: all of them, as `key` printed them."""
    pairs = dict(owner.partition("=")[::2] for owner in owners)
    _opened(repository, keys).trust(pairs, threshold)
    click.echo(f"{', '.join(pairs)}: {threshold} of {len(pairs)} must have signed a release")


@_command
@click.argument("bundle", type=options.FILE)
@click.option("--ring", "rings", multiple=True, help="Only devices of this ring; again for more.")
@click.option("--share", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Of the devices.")
def _add(repository: Path, keys: Path, bundle: Path, rings: tuple[str, ...], share: float) -> None:
    """Offer a BUNDLE, with the BUNDLE.release beside it."""
    offer = _opened(repository, keys).add(bundle, rings, share)
    click.echo(f"{offer.version} is offered to {share:.0%} of {' and '.join(rings) or 'all devices'}")


@_command
@click.argument("version")
@click.option("--share", type=click.FloatRange(0, 1), required=True, help="Of the devices; 0 halts.")
def _stage(repository: Path, keys: Path, version: str, share: float) -> None:
    """Let the rollout of VERSION reach more of the devices, or halt it."""
    _opened(repository, keys).stage(version, share)
    click.echo(f"{version} is offered to {share:.0%} now; who has it already keeps it")


@_command
def _refresh(repository: Path, keys: Path) -> None:
    """Say again that this is the newest there is; devices believe an old copy for a month only."""
    _opened(repository, keys).refresh()
    click.echo(f"{repository}: said anew")


@_command
@click.argument("role", type=click.Choice(["root", "targets", "snapshot", "timestamp"]))
def _rotate(repository: Path, keys: Path, role: str) -> None:
    """Replace a role's key; devices follow by themselves."""
    click.echo(f"{_opened(repository, keys).rotate(role)}: signed; the old key counts no more")
