"""What is written of the figures: `report`, `tables`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options
from .grade import of_all

__all__ = ["report", "tables"]


@click.command()
@click.argument("recipe", type=options.FILE, required=False)
@click.option(
    "--out",
    type=options.NEW_FOLDER,
    help="Folder of the page and its plots (default: runs/report, of a RECIPE report/ in its run).",
)
@click.option(
    "--results",
    type=options.FOLDER,
    help="Where `evaluate` wrote (default: quantization/results, of a RECIPE results/ in its run).",
)
@options.student_weights
@options.run
@options.model
def report(
    recipe: Path | None,
    out: Path | None,
    results: Path | None,
    weights: Path | None,
    run: Path | None,
    model: Path | None,
) -> None:
    """Write a page of what was measured: figures and plots per student, and where they come from.

    With RECIPE it is the page of that run alone, with the learning curves of its courses.
    """
    from ..report import Sources, write_report

    try:
        if recipe is None:
            of_all(weights, run)
            from ..courses import WEIGHTS

            found = results or options.METRICS.parent
            sources = Sources(found, weights or WEIGHTS, model or options.BUNDLE)
            page = write_report(sources, out or Path("runs/report"))
        else:
            from ..artifacts import student_report

            student = options.student(str(recipe), weights, run)
            found = results or options.metrics_of(student).parent
            bundle = model or options.bundle_of(student)
            page = student_report(student, found, bundle, out or bundle.with_name("report"))
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
    """Rewrite the README's tables from the metrics, the bundle and the benchmark's result, and the aims'."""
    from .. import aims
    from ..lines import LINES
    from ..tables import rewrite

    readme = options.HERE.parent / "README.md"
    readme.write_text(rewrite(readme.read_text(), options.METRICS, bundle, benchmark))
    page = options.METRICS.with_name("README.md")
    page.write_text(aims.rewrite(page.read_text(), options.METRICS, LINES["nano"].metrics))
