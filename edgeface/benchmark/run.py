"""One benchmark in progress: what was asked for, what was measured so far, and the loop around a call."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from edgeface.benchmark.pictures import check
from edgeface.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeface.analyzer import FaceAnalyzer
    from edgeface.benchmark.gauge import Gauge
    from edgeface.benchmark.pictures import Scene, Sitter
    from edgeface.benchmark.samples import Series
    from edgeface.benchmark.subject import Subject, Watched
    from edgeface.results import BBox, FrameResult, Ran

__all__ = ["Asked", "Call", "Run", "stage_of"]

_TURN = 0.2  # seconds that one case has before the next: all of them see the same weather
# Warm-up: at least so many calls of each case, then until so many seconds or that part of the run are over.
_WARM_CALLS, _WARM_SECONDS, _WARM_SHARE = 10, 1.0, 0.1


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants.

    Attributes:
        scenario: A name of `edgeface.benchmark.scenarios.SCENARIOS`.
        tasks: Heads beside the detector.
        threads: Per model.
        backend: As `edgeface.FaceAnalyzer` takes it.
        bundle: None: the built-in models.
        image: A photo whose largest face is shown; None: the drawn one.
        seconds: How long is measured, all cases together; None: as the scenario says.
        rates: Frames per second of "stream" (one case each) and "multi" (the first).
        streams: How many at once in "multi".
    """

    scenario: str
    tasks: tuple[str, ...] = ("landmarks", "parsing", "expression")
    threads: int = 1
    backend: str = "auto"
    bundle: Path | None = None
    image: Path | None = None
    seconds: float | None = None
    rates: tuple[float, ...] = (30.0,)
    streams: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One kind of call: an analyzer on a scene, with boxes if it should not look for them itself."""

    series: Series
    analyzer: FaceAnalyzer
    watched: Watched
    scene: Scene
    boxes: Sequence[BBox] | None = None


@dataclass(slots=True, eq=False)
class Run:
    """What the scenarios add to.

    Attributes:
        tell: Shows progress: what is done, how much of it, out of how much (seconds, rounded).
        scenes: Every picture that was looked at.
        cases: What was measured.
        ran: What really ran each model.
        results: What belongs to one scenario alone: "fruits", "mlperf".
    """

    asked: Asked
    seconds: float
    subject: Subject
    sitter: Sitter
    gauge: Gauge
    tell: Callable[[str, int, int | None], None]
    scenes: list[Scene] = field(default_factory=list)
    cases: list[Series] = field(default_factory=list)
    ran: dict[str, Ran] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)

    def begin(self, series: Series, *scenes: Scene) -> Series:
        """Take up a case and what it looks at."""
        self.cases.append(series)
        self.scenes += scenes
        return series

    def clock(self) -> int:
        """Nanoseconds since the benchmark began, as `Series.add` takes them."""
        return round(self.gauge.seconds() * 1e9)

    def saw(self, result: FrameResult, scene: Scene | None) -> None:
        """Note what ran, and refuse an answer that is not what the scene shows (None: not checked).

        Raises:
            DeviceError: the faces are not those of the scene.
        """
        for task, told in result.ran.items():
            if task not in self.ran or told.degraded:
                self.ran[task] = told
        wrong = check(scene, result.faces) if scene is not None else ""
        if wrong:
            raise DeviceError(
                f"backend {self.subject.backend.name!r}: {wrong} ({self.sitter.what}), so there is no "
                "result; if its models are sound, give a photo with --image"
            )

    def once(self, call: Call) -> dict[str, int]:
        """Make one call and check its answer; nanoseconds by stage.

        "total" is the whole call as its caller sees it, "landmarks" one stage of it, and "landmarks.run" the
        bare run of the model in that stage.
        """
        call.watched.spent.clear()
        start = perf_counter_ns()
        result = call.analyzer.analyze(call.scene.rgb, call.boxes)
        total = perf_counter_ns() - start
        bare = {f"{stage_of(name)}.run": took for name, took in call.watched.spent.items()}
        stages = {**result.timings, **bare, "total": total}
        self.saw(result, call.scene)
        return stages

    def warm(self, calls: Sequence[Call]) -> None:
        """Open the models and let caches and clocks settle; counted, not kept."""
        end = time.monotonic() + min(_WARM_SECONDS, _WARM_SHARE * self.seconds)
        made = 0
        while made < _WARM_CALLS or time.monotonic() < end:
            for call in calls:
                self.once(call)
                call.series.warm_up += 1
            made += 1
        self.gauge.settle()

    def in_turns(self, calls: Sequence[Call], seconds: float) -> None:
        """Call each for a fifth of a second, one after the other, until the time is over.

        The first call of a turn finds the caches full of the others' data; it counts as warm-up where there
        are others.
        """
        self.warm(calls)
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            for call in calls:
                self.tell(call.series.name, round(time.monotonic() - begin), round(seconds))
                if len(calls) > 1:
                    self.once(call)
                    call.series.warm_up += 1
                turn = time.monotonic() + min(_TURN, seconds / len(calls))
                kept = False
                while not kept or time.monotonic() < turn:
                    stages = self.once(call)
                    call.series.add(self.clock(), stages)
                    kept = True


def stage_of(name: str) -> str:
    """The stage of a model: a second detector, for upright frames, is the same stage."""
    return "detection" if name.startswith("detection") else name
