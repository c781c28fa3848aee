"""`build`: the whole way of one recipe, from labels to a graded bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgeface import EdgeFaceError

from ..card import CardError
from ..chain import ChainError, Planned, only_one, plan, run
from ..datasets import DataSetError
from ..recipe import RecipeError
from ..steps import Workplace, steps_of
from ..terms import TermsError
from . import options
from .train import watching

__all__ = ["build"]


@click.command()
@options.recipe
@options.data
@click.option("--labels", type=options.NEW_FOLDER, help="What `label` writes (default: labels/ in --runs).")
@options.some_teachers
@click.option(
    "--runs", type=options.NEW_FOLDER, default=Path("runs"), show_default=True, help="Where all of it goes."
)
@options.bundle
@options.threads
@options.device
@click.option("--frames", default=64, show_default=True, help="Validation photos that parity looks at.")
@options.python_tflite_runtime
@options.python_tflite_micro
@click.option(
    "--dry-run", is_flag=True, help="Only say what would be done, and why; and what is missing for it."
)
def build(
    recipe: Path,
    data: Path,
    labels: Path | None,
    teachers: Path,
    runs: Path,
    bundle: Path,
    threads: int,
    device: str,
    frames: int,
    tflite_runtime: Path | None,
    tflite_micro: Path | None,
    dry_run: bool,
) -> None:
    """Make all that RECIPE says: labels, teacher, training, files, checks, figures, a bundle, a page.

    Whatever is up to date stays; what was cut off is gone on with. --bundle lends its detector to grade
    landmarks and parsing. Exit code 1 when a gate fails, or before anything is done when something is missing
    that no step makes: pictures, shards, published networks, packages.
    """
    stored = labels or runs / "labels"
    pythons = options.interpreters(tflite_runtime, tflite_micro)
    place = Workplace(
        data, stored, teachers, runs, bundle, threads, frames, click.echo, watching, device, pythons
    )
    try:
        steps = steps_of(recipe, place)
        planned = plan(steps, place.states)
        if dry_run:
            _tell(planned)
        _refuse(planned)
        if dry_run:
            return
        if not _alone(device):
            raise click.UsageError(f"`build` is one process: train with `torchrun`, then build: {recipe}")
        with only_one(place.states):
            run(steps, place.states, click.echo)
    except (RecipeError, ChainError, DataSetError, TermsError, CardError, EdgeFaceError) as error:
        raise click.ClickException(str(error)) from error


def _alone(device: str) -> bool:
    from ..team import Team, TeamError

    try:
        return Team.of_environment(device).alone
    except TeamError as error:
        raise click.ClickException(str(error)) from error


def _refuse(planned: Sequence[Planned]) -> None:
    """Ends the command where something is missing: now, and not after hours of training."""
    found: dict[str, str] = {}  # what is missing -> the first step that wants it
    for one in planned:
        for told in one.missing:
            found.setdefault(told, one.step.name)
    if found:
        things = "1 thing is" if len(found) == 1 else f"{len(found)} things are"
        lines = "\n".join(f"  {name}: {told}" for told, name in found.items())
        raise click.ClickException(f"{things} missing, and nothing was done:\n{lines}")


def _tell(planned: Sequence[Planned]) -> None:
    width = max(len(one.step.name) for one in planned)
    for one in planned:
        time = "" if one.seconds is None or one.reason is None else f"  (about {_duration(one.seconds)})"
        click.echo(f"{one.step.name:<{width}}  {one.reason or 'up to date'}{time}")
    to_do = [one for one in planned if one.reason is not None]
    known = [one.seconds for one in to_do if one.seconds is not None]
    unknown = len(to_do) - len(known)
    more = f" and {unknown} step{'s' * (unknown > 1)} of unknown length" if unknown else ""
    click.echo(f"{len(to_do)} of {len(planned)} steps to do; about {_duration(sum(known))}{more}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
