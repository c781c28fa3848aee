"""Training: `teach` a teacher, `distill` a student, in one process or in several under ``torchrun``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from ..courses import Course, Report
from ..recipe import RecipeError, is_teacher
from . import options

__all__ = ["distill", "teach", "watching"]


def _training(command: Any) -> Any:
    """The arguments of both commands."""
    for part in (
        options.threads,
        options.device,
        click.option("--run", type=options.NEW_FOLDER, help="Folder of the run (default: runs/NAME)."),
        options.some_teachers,
        options.labels,
        options.data,
        options.recipe,
    ):
        command = part(command)
    return click.command()(command)


@_training
def teach(
    recipe: Path, data: Path, labels: Path, teachers: Path, run: Path | None, device: str, threads: int
) -> None:
    """Train the teacher of RECIPE; goes on with a run that was cut off."""
    _train(True, recipe, data, labels, teachers, run, device, threads)


@_training
def distill(
    recipe: Path, data: Path, labels: Path, teachers: Path, run: Path | None, device: str, threads: int
) -> None:
    """Train the student of RECIPE; goes on with a run that was cut off.

    A run of another recipe, other labels or other data in the same folder is set aside, not continued. With
    `data.shards` in RECIPE the student learns from labelled shards and needs no --data and no --labels.
    `torchrun --nproc-per-node 2 -m -- quantization distill RECIPE` shares every batch among two processes;
    without the bare `--` torchrun would take --run for one of its own options.
    """
    _train(False, recipe, data, labels, teachers, run, device, threads)


def _train(
    teacher: bool,
    recipe: Path,
    data: Path,
    labels: Path,
    teachers: Path,
    run: Path | None,
    device: str,
    threads: int,
) -> None:
    from ..convert import ExportError
    from ..datasets import DataSetError
    from ..team import Team, TeamError

    try:
        team = Team.of_environment(device)
        course = Course.of(recipe, data, labels, teachers, run or Path("runs") / recipe.stem)
        if is_teacher(course.recipe) is not teacher:
            other = "distill" if teacher else "teach"
            raise click.UsageError(f"{recipe} trains a {'student' if teacher else 'teacher'}: use `{other}`")
        steps = int(course.recipe["schedule"]["steps"])
        with team.joined(), watching(recipe.stem, steps) if team.leads else nullcontext() as report:
            course.train(threads, report, lambda line: click.echo(line, err=True), team)
    except (DataSetError, ExportError, RecipeError, TeamError) as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def watching(name: str, steps: int) -> Iterator[Report]:
    """What a training reports to: a bar with the time left where somebody looks, else a line per log row."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    text = TextColumn("{task.description}", markup=False)
    # Drawn by hand: a thread of its own would take the time of the training's.
    bar = Progress(
        text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, auto_refresh=False
    )
    item = bar.add_task(name, total=steps)
    start, begun, drawn = time.monotonic(), 0, 0.0

    def report(done: int, row: Any) -> None:
        nonlocal begun, drawn
        now = time.monotonic()
        if drawn == 0.0:
            begun = done
            bar.reset(item, completed=done)
        if row is not None and not console.is_terminal:
            left = (now - start) / max(1, done - begun) * (steps - done)
            click.echo(f"{name}: {done} of {steps} steps, about {left / 60:.1f} min left", err=True)
        if now - drawn > 0.5 or done == steps:
            bar.update(item, completed=done)
            bar.refresh()
            drawn = now

    if not console.is_terminal:
        bar.disable = True
    with bar:
        yield report
