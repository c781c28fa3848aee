"""`edgeface bench`: measures this device, and compares what was measured before."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeface import __version__
from edgeface.benchmark import ABOUT
from edgeface.cli.inputs import printable
from edgeface.cli.options import backend_option, bundle_option, tasks_option, threads_option
from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeface.benchmark.run import Asked

__all__ = ["Outputs", "bench_command"]

_BROKEN = 6
_INTERRUPTED = 130
_LISTED = "\n".join(f"  {name:<8} {about}" for name, about in ABOUT.items())
_EPILOG = f"""\b
Scenarios:
{_LISTED}

\b
Exit codes:
  0    measured, or compared; no limit of --fail-if is broken
  2    the command line is wrong
  3    the picture of --image cannot be used
  4    the models or the device are at fault, or answer wrongly: there is no result then
  5    something could not be written
  6    a limit of --fail-if is broken; the files were written
  70   internal fault, please report it
  130  interrupted; what was measured was written
"""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the record goes besides the terminal; None: nowhere.

    Attributes:
        json: All of it.
        csv: Every sample.
        markdown: Tables.
        html: A page with plots.
    """

    json: Path | None = None
    csv: Path | None = None
    markdown: Path | None = None
    html: Path | None = None

    def check(self) -> None:
        """Find out before minutes are spent whether the files can be written.

        Raises:
            ArgumentError: a folder is not there, or a name is that of a folder.
        """
        for path in (self.json, self.csv, self.markdown, self.html):
            if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
                raise ArgumentError(f"{path}: is no file in a folder that exists; make the folder first")

    def write(self, record: dict[str, Any]) -> list[Path]:
        """Write what was asked for; the paths.

        Raises:
            OSError: one cannot be written.
        """
        from edgeface.benchmark import page, tables
        from edgeface.benchmark.record import csv_text, save

        makers: list[tuple[Path | None, Callable[[], str]]] = [
            (self.json, lambda: json.dumps(record, allow_nan=False) + "\n"),
            (self.csv, lambda: csv_text(record)),
            (self.markdown, lambda: tables.markdown(record)),
            (self.html, lambda: page.html(record)),
        ]
        wanted = [(path, text) for path, text in makers if path is not None]
        for path, text in wanted:
            save(path, text())
        return [path for path, _ in wanted]


def _measured(asked: Asked, outputs: Outputs, limits: tuple[str, ...]) -> int:
    from edgeface.benchmark import tables
    from edgeface.benchmark.limits import Limit
    from edgeface.benchmark.measure import measure
    from edgeface.cli.quiet import without_remarks

    bounds = [Limit.parse(text) for text in limits]
    outputs.check()
    with _progress() as tell:
        record = measure(asked, __version__, tell, opening=without_remarks())
    written = outputs.write(record)
    click.echo(_printable_lines(tables.plain(record)))
    for path in written:
        click.echo(f"written: {printable(str(path))}")
    if record["interrupted"]:
        click.echo("interrupted: what was measured until then is above", err=True)
        return _INTERRUPTED
    broken = [line for bound in bounds for line in bound.broken(record)]
    for line in broken:
        click.echo(f"edgeface: --fail-if {line}", err=True)
    return _BROKEN if broken else 0


def _compared(paths: tuple[Path, Path]) -> int:
    from edgeface.benchmark import tables
    from edgeface.benchmark.compare import compare, differences
    from edgeface.benchmark.record import load

    first, second = (load(path) for path in paths)
    click.echo(_printable_lines(tables.comparison(compare(first, second), differences(first, second))))
    return 0


def _printable_lines(text: str) -> str:
    """Text of several lines without anything that a terminal would obey."""
    return "\n".join(printable(line) for line in text.splitlines())


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on a terminal; elsewhere a line whenever something else begins."""
    from edgeface.cli.report import progress

    if sys.stderr.isatty():
        with progress(wanted=True, drawn_alone=False) as tell:
            yield tell
        return
    told: set[str] = set()

    def say(what: str, _done: int, _total: int | None) -> None:
        if what not in told:
            told.add(what)
            click.echo(f"{printable(what)} ...", err=True)

    yield say


def _file(name: str, about: str) -> Callable[[Any], Any]:
    return click.option(
        f"--{name}", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=about
    )


@click.command("bench", epilog=_EPILOG)
@click.argument("scenario", required=False, type=click.Choice(list(ABOUT)), metavar="[SCENARIO]")
@_file("json", "Write everything here, raw samples and conditions (edgeface.bench/1).")
@_file("csv", "Write every sample here.")
@_file("markdown", "Write the tables here.")
@_file("html", "Write a page with plots here; it needs nothing else.")
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="A B",
    help="Measure nothing; compare two files of --json.",
)
@click.option(
    "--fail-if",
    "limits",
    multiple=True,
    metavar="LIMIT",
    help="End with code 6 if this holds, for example 'p95>33ms'; may be given more than once.",
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="How long is measured.")
@click.option(
    "--fps",
    "rates",
    type=click.FloatRange(1, 240),
    multiple=True,
    help="Of stream (a case each) and multi.  [default: 30]",
)
@click.option("--streams", type=click.IntRange(1, 64), help="How many in multi.  [default: 2]")
@click.option(
    "--image",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Show the largest face of this photo in place of the drawn one.",
)
@tasks_option("What to find in each face; none for boxes alone.")
@threads_option
@backend_option
@bundle_option
def bench_command(
    scenario: str | None,
    compare: tuple[Path, Path] | None,
    limits: tuple[str, ...],
    rates: tuple[float, ...],
    streams: int | None,
    **options: Any,
) -> int:
    """Measure how long the analysis takes on this device, or compare two measurements.

    Every answer is checked while it is measured: a runtime that answers wrongly gives no result. Warm-up is
    left out and counted, outliers stay in. The conditions (clocks, heat, throttling, load, versions, what
    really ran) are recorded, and what casts doubt on the numbers is flagged. Ctrl-C keeps what was measured.
    """
    outputs = Outputs(**{name: options.pop(name) for name in ("json", "csv", "markdown", "html")})
    if compare:
        if scenario is not None or limits or outputs != Outputs():
            raise click.UsageError("--compare measures nothing and writes nothing; leave the others out")
        return _compared(compare)
    if scenario is None:
        raise click.UsageError(f"name a SCENARIO ({', '.join(ABOUT)}), or two files with --compare")
    if rates and scenario not in ("stream", "multi"):
        raise click.UsageError(f"--fps is for stream and multi; leave it out of {scenario}")
    if len(rates) > 1 and scenario == "multi":
        raise click.UsageError("--fps: multi has one rate for all streams")
    if streams is not None and scenario != "multi":
        raise click.UsageError(f"--streams is for multi; leave it out of {scenario}")
    from edgeface.benchmark.run import Asked

    asked = Asked(scenario, rates=rates or (30.0,), streams=streams or 2, **options)
    return _measured(asked, outputs, limits)
