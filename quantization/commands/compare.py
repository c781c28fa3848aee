"""`compare`: whether a loss, an augmentation or a share of data helps."""

from __future__ import annotations

from pathlib import Path

import click

from ..recipe import RecipeError
from . import options
from .train import watching

__all__ = ["compare"]


@click.command()
@click.argument("comparison", type=options.FILE)
@options.data
@options.labels
@options.some_teachers
@click.option(
    "--runs", type=options.NEW_FOLDER, default=Path("runs"), show_default=True, help="Where the runs go."
)
@options.file_out(None, "The JSON (default: quantization/results/comparisons/NAME.json).")
@options.threads
def compare(
    comparison: Path, data: Path, labels: Path, teachers: Path, runs: Path, out: Path | None, threads: int
) -> None:
    """Train COMPARISON's base and variants on the same seeds, and tell by confidence intervals what helps.

    Runs that are finished are not repeated, and one that was cut off is gone on with. Its figures are of the
    tuning part; the hold-out stays for `evaluate`.
    """
    from .. import compare as comparing
    from ..comparison import ComparisonError, load_comparison
    from ..provenance import write_json

    path = out or options.METRICS.parent / "comparisons" / f"{comparison.stem}.json"

    def say(line: str) -> None:
        click.echo(line, err=True)

    try:
        loaded = load_comparison(comparison)
        place = comparing.Place(data, labels, teachers, runs, threads, say, watching)
        result = comparing.compare(loaded, place)
    except (RecipeError, ComparisonError) as error:
        raise click.ClickException(str(error)) from error
    write_json(path, result)
    click.echo(comparing.table(result))
    say(f"{path}: written")
