"""What `analyze` says: a table for people on a terminal, aligned plain lines for everything else."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import click

from edgeface.cli.inputs import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeface.results import Face, FrameResult

__all__ = ["NoReport", "PlainReport", "Report", "TableReport", "Tally", "VideoTally", "progress"]

_NOTHING = "no face found"
_FILE_AND_FACE = 26  # columns of text that these two need at least


class Report(Protocol):
    """Takes the results one by one and shows them."""

    def picture(self, source: str, result: FrameResult) -> None:
        """One picture was analysed."""

    def video(self, source: str, seen: VideoTally) -> None:
        """One video was analysed, or a part of it."""

    def finish(self) -> None:
        """Show what has not been shown yet."""


class NoReport:
    """Says nothing: the results go elsewhere."""

    def picture(self, source: str, result: FrameResult) -> None:
        """Say nothing about a picture."""

    def video(self, source: str, seen: VideoTally) -> None:
        """Say nothing about a video."""

    def finish(self) -> None:
        """Say nothing more."""


@dataclass(slots=True)
class Tally:
    """What a whole run came to, for the last line."""

    pictures: int = 0
    videos: int = 0
    frames: int = 0
    faces: int = 0
    degraded: int = 0
    milliseconds: list[float] = field(default_factory=list)

    def add(self, result: FrameResult) -> None:
        """Count one picture or frame."""
        self.frames += 1
        self.faces += len(result.faces)
        self.degraded += result.degraded
        self.milliseconds.append(result.timings.get("total", 0) / 1e6)

    def line(self) -> str:
        """The run in one line."""
        parts = [_count(self.pictures, "picture")] if self.pictures or not self.videos else []
        if self.videos:
            parts.append(f"{_count(self.videos, 'video')} ({_count(self.frames - self.pictures, 'frame')})")
        parts.append(_count(self.faces, "face") if self.faces else _NOTHING)
        if self.milliseconds:
            middle = sorted(self.milliseconds)[len(self.milliseconds) // 2]
            parts.append(f"median {middle:.1f} ms each")
        if self.degraded:
            parts.append(f"in {self.degraded} of {self.frames} the CPU stood in for the lost accelerator")
        return ", ".join(parts)


@dataclass(slots=True)
class VideoTally:
    """What a video came to; its frames are too many for a table."""

    frames: int = 0
    with_face: int = 0
    most: int = 0
    expressions: Counter[str] = field(default_factory=Counter)

    def add(self, result: FrameResult) -> None:
        """Count one frame."""
        self.frames += 1
        self.with_face += bool(result.faces)
        self.most = max(self.most, len(result.faces))
        self.expressions.update(face.expression.label for face in result.faces if face.expression)

    def line(self) -> str:
        """The video in one line."""
        if not self.with_face:
            return f"{_count(self.frames, 'frame')}, {_NOTHING}"
        said = f"{_count(self.frames, 'frame')}, faces in {self.with_face}, at most {self.most} at once"
        if self.expressions:
            label, times = self.expressions.most_common(1)[0]
            said += f", mostly {label} ({100 * times // self.expressions.total()}%)"
        return said


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: int
    right: bool
    cell: Callable[[Face], str]


def _columns(tasks: Sequence[str]) -> list[_Column]:
    columns = [
        _Column("box x y w h", 19, True, _box),
        _Column("score", 5, True, lambda face: f"{face.bbox.score:.2f}"),
        _Column("roll", 5, True, lambda face: "" if face.roll is None else f"{face.roll:+.0f}°"),
    ]
    if "landmarks" in tasks:
        columns.append(_Column("points seen", 11, True, _seen))
    if "expression" in tasks:
        columns.append(_Column("expression", 14, False, _expression))
    if "parsing" in tasks:
        columns.append(_Column("largest parts", 36, False, _parts))
    return columns


def _box(face: Face) -> str:
    box = face.bbox
    return " ".join(f"{round(value):4d}" for value in (box.x, box.y, box.width, box.height))


def _seen(face: Face) -> str:
    if face.landmarks is None:
        return ""
    return f"{int((face.landmarks.visibility >= 0.5).sum())} of 68"


def _expression(face: Face) -> str:
    return "" if face.expression is None else f"{face.expression.label} {100 * face.expression.score:.0f}%"


def _parts(face: Face) -> str:
    if face.parsing is None:
        return ""
    shares = {name: share for name, share in face.parsing.fractions().items() if name != "background"}
    largest = sorted(shares, key=lambda name: -shares[name])[:3]
    return ", ".join(f"{name} {100 * shares[name]:.0f}%" for name in largest if shares[name] >= 0.005)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


class PlainReport:
    """Aligned columns, each line written as soon as it is known, so that it can be piped."""

    def __init__(self, tasks: Sequence[str], names: Sequence[str]) -> None:
        self._columns = _columns(tasks)
        self._wide = max([4, *(len(printable(name)) for name in names)])
        self._begun = False

    def picture(self, source: str, result: FrameResult) -> None:
        """One picture was analysed."""
        if not self._begun:
            self._line("file", "face", [column.title for column in self._columns])
            self._begun = True
        name = printable(source)
        if not result.faces:
            self._line(name, "-", [_NOTHING])
        for number, face in enumerate(result.faces, 1):
            self._line(name, str(number), [column.cell(face) for column in self._columns])

    def video(self, source: str, seen: VideoTally) -> None:
        """One video was analysed, or a part of it."""
        click.echo(f"{printable(source)}: {seen.line()}")

    def finish(self) -> None:
        """Nothing is held back."""

    def _line(self, name: str, number: str, cells: Sequence[str]) -> None:
        shown = [name.ljust(self._wide), number.rjust(4)]
        for column, cell in zip(self._columns, cells, strict=False):
            shown.append(cell.rjust(column.width) if column.right else cell.ljust(column.width))
        click.echo("  ".join(shown).rstrip())


class TableReport:
    """A rich table, shown when the run is over; its width is only known then."""

    def __init__(self, tasks: Sequence[str]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table

        self._columns = _columns(tasks)
        self._videos: list[str] = []
        self._console = Console(file=sys.stdout)
        self._drop_what_does_not_fit()
        self._table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        self._table.add_column("file", overflow="fold", style="cyan")
        self._table.add_column("face", justify="right")
        for column in self._columns:
            justify: Literal["left", "right"] = "right" if column.right else "left"
            self._table.add_column(column.title, justify=justify, no_wrap=bool(column.width))

    def _drop_what_does_not_fit(self) -> None:
        """On a narrow terminal a table of fewer columns is read better than one of broken words."""
        for title in ("largest parts", "points seen", "roll"):
            taken = sum(max(column.width, len(column.title)) + 2 for column in self._columns)
            if taken + _FILE_AND_FACE > self._console.width:
                self._columns = [column for column in self._columns if column.title != title]

    def picture(self, source: str, result: FrameResult) -> None:
        """One picture was analysed."""
        from rich.text import Text  # not markup: a file may be called [red].jpg

        name = Text(printable(source))
        if not result.faces:
            self._table.add_row(name, "-", Text(_NOTHING, style="dim"))
        for number, face in enumerate(result.faces, 1):
            cells = (Text(column.cell(face)) for column in self._columns)
            self._table.add_row(name if number == 1 else "", str(number), *cells)

    def video(self, source: str, seen: VideoTally) -> None:
        """One video was analysed, or a part of it."""
        self._videos.append(f"{printable(source)}: {seen.line()}")

    def finish(self) -> None:
        """Print the table, and a line per video."""
        if self._table.row_count:
            self._console.print(self._table)
        for line in self._videos:
            click.echo(line)


@contextlib.contextmanager
def progress(wanted: bool, *, drawn_alone: bool = True) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar on stderr where somebody looks at it; gives a function (what, done, of how many).

    ``drawn_alone``: by a thread of its own, ten times a second; otherwise by the function, where it tells
    something new: what is timed meanwhile is not disturbed.
    """
    if not wanted or not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=drawn_alone) as bar:
        task = bar.add_task("", total=None)
        shown: tuple[str, int, int | None] | None = None

        def show(what: str, done: int, total: int | None) -> None:
            nonlocal shown
            if shown == (what, done, total):
                return
            shown = what, done, total
            short = Text(printable(what)[-40:]).plain
            bar.update(task, description=short, completed=done, total=total, refresh=not drawn_alone)

        yield show
