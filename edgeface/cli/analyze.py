"""`edgeface analyze`: the main job from the command line."""

from __future__ import annotations

import sys
import traceback
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from edgeface.cli.inputs import Failure, expand, printable
from edgeface.cli.outputs import DestinationError, JsonLines, OutputError, OutputFolder, save_picture
from edgeface.cli.quiet import without_remarks
from edgeface.cli.report import NoReport, PlainReport, TableReport, Tally, VideoTally, progress
from edgeface.errors import BundleError, DeviceError, EdgeFaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeface.analyzer import FaceAnalyzer
    from edgeface.cli.inputs import Item
    from edgeface.cli.report import Report
    from edgeface.cli.video import VideoWriter
    from edgeface.frame import Frame
    from edgeface.results import FrameResult

__all__ = ["Request", "run"]

UNREADABLE, DEVICE, UNWRITABLE, INTERRUPTED, INTERNAL = 3, 4, 5, 130, 70


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for, checked."""

    paths: tuple[str, ...]
    out: Path | None
    json: str | None
    tasks: tuple[str, ...]
    threads: int
    max_faces: int | None
    min_score: float | None
    smallest_face: float | None
    mirror: bool
    backend: str
    strict: bool
    bundle: Path | None
    recursive: bool
    quiet: bool


def run(request: Request) -> int:
    """Analyse what `request` names, one input after the other, and return the exit code."""
    items, failures = expand(request.paths, request.recursive)
    job = _Job(request, _report(request, items), failures)
    try:
        if items:
            job.work(items)
    except KeyboardInterrupt:
        click.echo("interrupted; what was written until now is complete", err=True)
        job.code = INTERRUPTED
    except (BundleError, DeviceError) as error:
        click.echo(f"edgeface: {printable(str(error))}", err=True)
        job.code = DEVICE
    except DestinationError as error:
        click.echo(f"edgeface: cannot write {error}", err=True)
        job.code = UNWRITABLE
    job.finish()
    return job.code or (UNWRITABLE if job.unwritten else UNREADABLE if job.failures else 0)


@dataclass(slots=True)
class _Job:
    """A run in progress."""

    request: Request
    report: Report
    failures: list[Failure]
    unwritten: list[Failure] = field(default_factory=list)
    code: int = 0
    tally: Tally = field(default_factory=Tally)
    written: list[Path] = field(default_factory=list)
    lines: JsonLines | None = None

    def work(self, items: Sequence[Item]) -> None:
        """Analyse all items; only faults that the next item would meet too are raised."""
        from edgeface.analyzer import FaceAnalyzer

        asked = self.request
        with ExitStack() as stack:
            analyzer = stack.enter_context(
                FaceAnalyzer(
                    asked.tasks,
                    max_faces=asked.max_faces,
                    threads=asked.threads,
                    backend=asked.backend,
                    strict=asked.strict,
                    bundle=asked.bundle,
                    min_score=asked.min_score,
                    smallest_face=asked.smallest_face,
                    mirror=asked.mirror,
                )
            )
            folder = OutputFolder(asked.out, items) if asked.out is not None else None
            if asked.json is not None:
                self.lines = stack.enter_context(JsonLines(asked.json))
            long = len(items) > 1 or any(item.video for item in items)
            show = stack.enter_context(progress(long and not asked.quiet))
            for done, item in enumerate(items):
                show(item.source, done, len(items))
                self._guarded(item, _Tools(analyzer, folder, show))

    def finish(self) -> None:
        """Show the results, what was written, and what could not be used."""
        to_stderr = self.request.json == "-"
        if not self.request.quiet:
            self.report.finish()
            if self.tally.frames:
                click.echo(self.tally.line(), err=to_stderr)
            if len(self.written) == 1:
                click.echo(f"wrote {printable(str(self.written[0]))}", err=to_stderr)
            elif self.written:
                click.echo(
                    f"wrote {len(self.written)} overlays to {printable(str(self.request.out))}", err=to_stderr
                )
            if self.lines is not None and not to_stderr:
                click.echo(self.lines.summary(), err=True)
        _tell(self.failures, "input", "used")
        _tell(self.unwritten, "overlay", "written")

    def _guarded(self, item: Item, tools: _Tools) -> None:
        try:
            if item.video:
                self._video(item, tools)
            else:
                self._picture(item, tools)
        except (BundleError, DeviceError, DestinationError, BrokenPipeError):
            raise
        except OutputError as error:
            self.unwritten.append(Failure(item.source, str(error)))
        except EdgeFaceError as error:
            self.failures.append(Failure(item.source, str(error)))
        except OSError as error:
            if error.filename is None:  # not about a file: it is what we print that finds no room
                raise
            self.failures.append(Failure(item.source, error.strerror or str(error)))
        except Exception as error:  # noqa: BLE001  a defect met in one file must not cost the results of the others
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
            self.failures.append(Failure(item.source, f"internal fault, please report it: {error!r}"))
            self.code = INTERNAL

    def _picture(self, item: Item, tools: _Tools) -> None:
        from edgeface.frame import read_image

        frame = read_image(item.path)
        result = self._analyze(frame, tools)
        self._take(result)
        self.tally.pictures += 1
        self.report.picture(item.source, result)
        if tools.folder is not None:
            path = self._target(item, tools.folder, ".png" if item.path.suffix.lower() == ".png" else ".jpg")
            save_picture(path, _overlay(frame, result))
            self.written.append(path)

    def _video(self, item: Item, tools: _Tools) -> None:
        from edgeface.camera import VideoFile
        from edgeface.cli.video import VideoWriter

        seen = VideoTally()
        with ExitStack() as stack:
            film = stack.enter_context(closing(VideoFile(item.path)))
            self.tally.videos += 1
            stack.callback(lambda: self.report.video(item.source, seen))  # also of a video that ends early
            writer: VideoWriter | None = None
            while (frame := film.read()) is not None:
                result = self._analyze(frame, tools)
                self._take(result)
                seen.add(result)
                if tools.folder is not None:
                    if writer is None:
                        path = self._target(item, tools.folder, ".mp4")
                        writer = VideoWriter(path, film.rate)
                        stack.callback(self._close_video, writer, item)
                    writer.write(_overlay(frame, result))
                tools.show(item.source, seen.frames, film.count)

    def _analyze(self, frame: Frame, tools: _Tools) -> FrameResult:
        if self.tally.frames:
            return tools.analyzer.analyze(frame)
        with without_remarks():  # the runtime is loaded with the first frame
            return tools.analyzer.analyze(frame)

    def _close_video(self, writer: VideoWriter, item: Item) -> None:
        try:
            writer.close()
        except OutputError as error:  # kept here, so that it hides no interruption
            self.unwritten.append(Failure(item.source, str(error)))
        else:
            self.written.append(writer.path)

    def _take(self, result: FrameResult) -> None:
        self.tally.add(result)
        if self.lines is not None:
            self.lines.write(result)

    def _target(self, item: Item, folder: OutputFolder, suffix: str) -> Path:
        path = folder.path(item, suffix)
        if path.name != f"{item.path.stem}.faces{suffix}" and not self.request.quiet:
            said = f"{item.source}: its overlay is {path}, the name without a number is taken"
            click.echo(printable(said), err=True)
        return path


@dataclass(frozen=True, slots=True)
class _Tools:
    """What is open during a run."""

    analyzer: FaceAnalyzer
    folder: OutputFolder | None
    show: Callable[[str, int, int | None], None]


def _tell(failures: Sequence[Failure], what: str, not_done: str) -> None:
    if failures:
        count = len(failures)
        click.echo(f"{count} {what}{'' if count == 1 else 's'} could not be {not_done}:", err=True)
    for failure in failures:
        source, reason = printable(failure.source), printable(failure.reason)
        said = reason if reason.startswith(source) else f"{source}: {reason}"
        click.echo(f"  {said}", err=True)


def _overlay(frame: Frame, result: FrameResult) -> NDArray[np.uint8]:
    from edgeface.render import draw_overlay

    return draw_overlay(frame, result)


def _report(request: Request, items: Sequence[Item]) -> Report:
    if request.quiet or request.json == "-":
        return NoReport()
    if sys.stdout.isatty():
        return TableReport(request.tasks)
    return PlainReport(request.tasks, [item.source for item in items if not item.video])
