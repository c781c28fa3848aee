"""`edgeface doctor`: what ails this device, as a table, lines or JSON, and what can be mended at once."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeface.cli.inputs import printable
from edgeface.cli.options import bundle_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeface.doctor import Check, Report, System, Verdict
    from edgeface.doctor.repairs import Mended, Repair

__all__ = ["EXIT_CODES", "Request", "doctor_command", "run"]

EXIT_CODES = {"ok": 0, "warning": 1, "fault": 4}
"""The worst verdict -> the exit code. 4 is that of every command for a bundle or device at fault."""

_MARKS = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "fault": ("✗", "bold red"),
    "not here": ("·", "dim"),
}
_HELP_CODES = """\b
Exit codes:
  0    all is in order (what is not here does not count)
  1    warnings: it works, but slower or less surely than it could
  2    the command line is wrong
  4    faults: something does not work
  5    the support bundle could not be written
  70   internal fault, please report it
  130  interrupted
"""
_SUMMARY: tuple[tuple[Verdict, str, str], ...] = (
    ("fault", "fault", "faults"),
    ("warning", "warning", "warnings"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

    as_json: bool = False
    everything: bool = False
    bundle: Path | None = None
    fix: bool = False
    yes: bool = False
    support: Path | None = None


def run(request: Request, system: System | None = None) -> int:
    """Examine this device (or another `System`), show it and mend what was agreed to; the exit code.

    Raises:
        ArgumentError: the file for the support bundle exists.
    """
    from edgeface import __version__
    from edgeface.doctor import examine, this_system
    from edgeface.doctor.repairs import plan

    seen = system or this_system()
    with _waiting():
        report = examine(seen, __version__, request.bundle)
    mended: list[Mended] = []
    if not request.as_json:
        _show(report, request.everything)
    if request.fix:
        mended = _mend(plan(report.checks, seen), seen, request)
        if any(one.done for one in mended):
            seen = system or this_system()
            with _waiting():
                report = examine(seen, __version__, request.bundle)
            if not request.as_json:
                click.echo("after that:")
                _show(report, request.everything)
    if request.as_json:
        told = report.to_dict()
        if request.fix:
            told["repairs"] = [one.to_dict() for one in mended]
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    if request.support is not None:
        from edgeface.doctor.support import write_support

        write_support(request.support, seen, report)
        click.echo(
            f"wrote {printable(str(request.support))}: look through it before you pass it on", err=True
        )
    return EXIT_CODES[report.verdict]


@contextlib.contextmanager
def _waiting() -> Iterator[None]:
    """A moving line on a terminal: the first look at a slow card takes a while."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("looking at this device"):
        yield


def _show(report: Report, everything: bool) -> None:
    shown = [check for check in report.checks if everything or check.verdict != "not here"]
    (_table if sys.stdout.isatty() else _plain)(report, shown)
    if not everything and report.count("not here"):
        click.echo(f"--all shows {report.count('not here')} more, about what is not here")
    counts = [
        f"{report.count(verdict)} {one if report.count(verdict) == 1 else many}"
        for verdict, one, many in _SUMMARY
    ]
    repairs = ", ".join(dict.fromkeys(check.repair for check in report.checks if check.repair))
    click.echo(f"{', '.join(counts)}" + (f"; edgeface doctor --fix can mend: {repairs}" if repairs else ""))


def _head(report: Report) -> str:
    board = report.board
    return printable(
        f"{board.name} ({board.kind}), {board.system}, Linux {board.kernel} {board.machine}, "
        f"Python {board.python}, EdgeFace {report.version}"
    )


def _plain(report: Report, checks: Sequence[Check]) -> None:
    click.echo(_head(report))
    wide = max(len(check.name) for check in checks)
    for check in checks:
        click.echo(f"{check.verdict:8}  {check.name.ljust(wide)}  {printable(check.evidence)}")
        if check.mend:
            click.echo(f"{'':8}  {'':{wide}}  mend: {printable(check.mend)} [{check.source}]")


def _table(report: Report, checks: Sequence[Check]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # not markup: what a device says of itself may hold [brackets]

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("check", no_wrap=True)
    table.add_column("what was seen, and the mend")
    for number, check in enumerate(checks):
        mark, style = _MARKS[check.verdict]
        told = Text(printable(check.evidence), style="dim" if check.verdict == "not here" else "")
        if check.mend:
            told.append(f"\n→ {printable(check.mend)}", style="cyan")
            told.append(f"\n  {check.source}", style="dim")
        last = number + 1 == len(checks) or checks[number + 1].family != check.family
        table.add_row(Text(mark, style=style), Text(check.name, style=style), told, end_section=last)
    console = Console(file=sys.stdout)
    console.print(Text(_head(report), style="bold"))
    console.print(table)


def _mend(repairs: Sequence[Repair], system: System, request: Request) -> list[Mended]:
    """Say what will be done, ask, do it."""
    from edgeface.doctor.repairs import apply

    if not repairs and not request.as_json:
        click.echo("there is nothing that --fix could mend")
    done = []
    for repair in repairs:
        click.echo(f"{repair.name}{' (needs root)' if repair.needs_root else ''}:", err=request.as_json)
        for step in repair.steps:
            click.echo(f"  {printable(step)}", err=request.as_json)
        allowed = system.uid == 0 or not repair.needs_root
        if allowed and not (request.yes or _agreed()):
            click.echo("  left as it is", err=request.as_json)
            continue
        mended = apply(repair, system)
        done.append(mended)
        verdict = "done" if mended.done else "not done"
        click.echo(f"  {verdict}{': ' if mended.told else ''}{printable(mended.told)}", err=request.as_json)
    return done


def _agreed() -> bool:
    if not sys.stdin.isatty():
        click.echo("  nobody can be asked here; --yes agrees beforehand")
        return False
    return click.confirm("  do this?", default=False)


def _new(_ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.exists():  # told before the examination, not after it
        raise click.BadParameter(f"{value} exists; name a new file")
    return value


@click.command("doctor", epilog=_HELP_CODES)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON (edgeface.doctor/1).")
@click.option("--all", "everything", is_flag=True, help="Show also what is not on this device.")
@click.option("--fix", is_flag=True, help="Mend what is safe to mend: udev rules, a group, the cache folder.")
@click.option("--yes", is_flag=True, help="Agree to what --fix says it will do.")
@click.option(
    "--support",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_new,
    metavar="FILE",
    help="Write a zip file for whoever helps; it must not exist.",
)
@bundle_option
def doctor_command(**options: Any) -> int:
    """Tell what is wrong with this device, and how to mend it.

    Looks at the power supply, the heat, the storage, the installed runtimes, a Coral, a GPU and the cameras,
    and runs every model once. What may crash or hang is tried in a process of its own; nothing is sent
    anywhere.

    --fix says what it will do and asks before each step. It never overwrites a file that it did not write,
    and says so where it needs root. A support bundle holds no pictures, and no names, serial numbers,
    addresses or secrets of this device; look through it before you pass it on.
    """
    request = Request(**options)
    if request.yes and not request.fix:
        raise click.UsageError("--yes agrees to --fix; write both")
    if request.fix and request.as_json and not request.yes:
        raise click.UsageError("--fix --json cannot ask; add --yes")
    return run(request)
