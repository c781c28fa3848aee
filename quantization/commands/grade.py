"""Figures and what is written of them: `evaluate`, `report`, `tables`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..recipe import TASKS
from . import options

__all__ = ["evaluate", "report", "tables"]


@click.command()
@options.data
@options.labels
@options.model
@options.weights
@click.option("--precision", type=click.Choice(["int8", "fp32"]), multiple=True, default=("int8", "fp32"))
@click.option("--teacher", is_flag=True, help="Grade YuNet and the face mesh too, under `teacher`.")
@options.some_teachers
@options.only_tasks
@options.file_out(options.METRICS, "The figures, merged into what is there.")
def evaluate(
    data: Path,
    labels: Path,
    model: Path,
    weights: Path,
    precision: tuple[str, ...],
    teacher: bool,
    teachers: Path,
    tasks: tuple[str, ...],
    out: Path,
) -> None:
    """Grade a bundle on the validation splits, int8 and the float networks it came from.

    Merges the figures into OUT and what their plots are drawn from into `curves.json` beside it.
    """
    from ..evaluate import graders, record

    made = graders(model, weights, data, labels, precision, teachers if teacher else None)
    for kind, graded_tasks, grader in made:
        for task in [t for t in tasks or TASKS if t in graded_tasks]:
            graded = grader.measure(task)
            record(out, task, kind, graded.metrics)
            record(out.with_name("curves.json"), task, kind, graded.curves)
            click.echo(f"{task} {kind}: " + json.dumps(graded.metrics))


@click.command()
@options.folder_out(Path("runs/report"), "Folder of the page and its plots.")
@click.option(
    "--results",
    type=options.FOLDER,
    default=options.METRICS.parent,
    show_default="quantization/results",
    help="Where `evaluate` wrote.",
)
@options.weights
@options.model
def report(out: Path, results: Path, weights: Path, model: Path) -> None:
    """Write a page of what was measured: figures and plots per student, and where they come from."""
    from ..report import Sources, write_report

    try:
        page = write_report(Sources(results=results, weights=weights, bundle=model), out)
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{page}: {page.stat().st_size:,} bytes")


@click.command()
@options.bundle
@click.option(
    "--benchmark",
    type=options.FILE,
    default=options.HERE.parent / "benchmarks" / "results" / "facemesh-x86-64.json",
    show_default=True,
)
def tables(bundle: Path, benchmark: Path) -> None:
    """Rewrite the README's tables from the metrics, the bundle and the benchmark's result."""
    from ..tables import rewrite

    readme = options.HERE.parent / "README.md"
    readme.write_text(rewrite(readme.read_text(), options.METRICS, bundle, benchmark))
