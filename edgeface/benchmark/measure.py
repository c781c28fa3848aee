"""A benchmark from what was asked for to its record."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import cv2

from edgeface.benchmark import pictures
from edgeface.benchmark.answers import check_answers
from edgeface.benchmark.gauge import Gauge
from edgeface.benchmark.machine import Machine
from edgeface.benchmark.record import assemble
from edgeface.benchmark.run import Run
from edgeface.benchmark.scenarios import SCENARIOS
from edgeface.benchmark.subject import Subject
from edgeface.errors import ArgumentError, DeviceError, FrameError
from edgeface.frame import read_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeface.benchmark.run import Asked

__all__ = ["measure"]

_WARM = 10.0  # seconds: a scenario without a length warms up as one of this length does


def measure(
    asked: Asked,
    version: str,
    tell: Callable[[str, int, int | None], None] = lambda _what, _done, _total: None,
    machine: Machine | None = None,
    opening: contextlib.AbstractContextManager[None] | None = None,
) -> dict[str, Any]:
    """Run a scenario and return its record.

    Ctrl-C ends the measuring, not the record: what was measured is kept, and ``interrupted`` says so.

    Args:
        asked: what and how.
        version: of EdgeFace, for the record.
        tell: shows progress: what is done, how much of it, out of how much.
        machine: what is read for the conditions; None: this one.
        opening: entered while the models are opened for the first time, when runtimes talk about themselves.

    Raises:
        ArgumentError: the scenario or an option does not exist, or makes no sense.
        BundleError: the models cannot be used.
        DeviceError: the backend failed or answered wrongly; what was measured is thrown away.
        FrameError: the photo cannot be used.
        KeyboardInterrupt: Ctrl-C came before anything was measured.
    """
    scenario = SCENARIOS.get(asked.scenario)
    if scenario is None:
        raise ArgumentError(f"scenario {asked.scenario!r}: unknown; choose from {', '.join(SCENARIOS)}")
    if asked.seconds is not None and scenario.seconds is None:
        raise ArgumentError(f"scenario {asked.scenario!r}: has no length to choose; leave the seconds out")
    if asked.seconds is not None and not asked.seconds > 0:
        raise ArgumentError(f"seconds must be above 0, not {asked.seconds}")
    tell("checking the answers", 0, None)
    with opening or contextlib.nullcontext():
        subject = Subject.of(asked.bundle, asked.backend, asked.tasks, asked.threads)
        before = check_answers(subject)
    sitter = pictures.drawn() if asked.image is None else _sitter(subject, asked.image)
    seconds = scenario.seconds if asked.seconds is None else asked.seconds
    interrupted = False
    with Gauge(machine or Machine()) as gauge:
        run = Run(asked, seconds or _WARM, subject, sitter, gauge, tell)
        try:
            scenario.measure(run)
        except KeyboardInterrupt:
            interrupted = True
    run.cases = [case for case in run.cases if len(case)]
    if not run.cases:
        raise KeyboardInterrupt
    tell("checking the answers", 0, None)
    if check_answers(subject) != before:
        raise DeviceError(
            f"backend {subject.backend.name!r}: answers otherwise after the benchmark than before, so there "
            "is no result; is the device too hot, or its supply too weak?"
        )
    settings = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(asked).items()
    }
    # Paths name people; what was used is told by digests.
    settings["bundle"] = asked.bundle is not None
    settings["image"] = asked.image is not None
    settings["seconds"] = seconds
    settings["opencv_threads"] = 1 if asked.scenario == "fruits" else cv2.getNumThreads()
    device = (machine or Machine()).describe()
    return assemble(run, version, settings, device, before, interrupted=interrupted)


def _sitter(subject: Subject, path: Path) -> pictures.Sitter:
    photo = read_image(path)
    analyzer, _ = subject.analyzer(())
    with contextlib.closing(analyzer):
        faces = analyzer.analyze(photo).faces
    if not faces:
        raise FrameError(
            f"{path}: no face was found in it; give a photo with one, or none for the drawn face"
        )
    return pictures.sitting(photo.rgb, faces[0])
