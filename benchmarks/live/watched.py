"""The service at work: how old a frame is when a browser shows it, and what share of a core that takes.

`edgeface serve` is started as its users start it, the films its cameras; they are chosen over HTTP, first
with nobody watching, then before a browser, in rounds and in random order. The service is not pinned: a kiosk
runs it and its browser on all cores.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BenchmarkError
from benchmarks.live.browser import Clock, Painted, visiting
from benchmarks.live.clips import RATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.live.clips import Film

__all__ = ["Case", "Service", "Watched", "measure", "serving"]

_ROOT = Path(__file__).resolve().parents[2]
_SETTLE = 2.0  # seconds after a camera was chosen: models load, the faces are found
_START = 60.0  # seconds until the service says where it is
_LEAST_RIGHT = 0.9  # of the pictures painted, that tell as many faces as the film shows


@dataclass(frozen=True)
class Case:
    """One film at one rate; its name is a row of the result."""

    film: Film
    rate: int

    @property
    def name(self) -> str:
        """As in "4 faces, 30 fps"."""
        faces = "1 face" if self.film.faces == 1 else f"{self.film.faces} faces"
        return f"{faces}, {self.rate} fps"

    @property
    def camera(self) -> str:
        """What the service calls it."""
        return self.film.paths[self.rate].name


@dataclass
class Watched:
    """Raw numbers.

    Attributes:
        painted: case -> every picture that the page was painted with.
        seconds: case -> how long that was looked at, in all rounds.
        analysed: case -> how many results the service had in that time.
        cpu_share: case -> round: of one core, by the service with the page open.
        cpu_share_alone: case -> the same with nobody watching.
        memory_bytes: Of the service after each round, the one without a browser first.
        clock: Of the page, and the browser's version.
    """

    painted: dict[str, list[Painted]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    analysed: dict[str, int] = field(default_factory=dict)
    cpu_share: dict[str, list[float]] = field(default_factory=dict)
    cpu_share_alone: dict[str, float] = field(default_factory=dict)
    memory_bytes: list[int] = field(default_factory=list)
    clock: Clock | None = None
    browser: str = ""

    def note(self, case: str, painted: list[Painted], seconds: float, share: float) -> None:
        """Take what was seen of a case in one round."""
        results = painted[-1].number - painted[0].number if painted else 0
        self.painted.setdefault(case, []).extend(painted)
        self.seconds[case] = self.seconds.get(case, 0.0) + seconds
        self.analysed[case] = self.analysed.get(case, 0) + results
        self.cpu_share.setdefault(case, []).append(share)


class Service:
    """A service that runs: where it is, and what its process takes."""

    def __init__(self, address: str, pid: int) -> None:
        import psutil  # of the `dev` extra

        self.address = address
        self._process = psutil.Process(pid)

    def choose(self, camera: str) -> None:
        """Start a camera in place of the one that is on.

        Raises:
            BenchmarkError: the service refuses.
        """
        body = json.dumps({"camera": camera}).encode()
        request = urllib.request.Request(  # noqa: S310 - the address is the service's own
            f"{self.address}/camera", body, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=_START) as answer:  # noqa: S310 - as above
                answer.read()
        except OSError as error:
            raise BenchmarkError(f"the service does not start {camera}: {error}") from error

    def cpu_seconds(self) -> float:
        """Processor time that it has used, of all its threads."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        """Resident memory, bytes."""
        return int(self._process.memory_info().rss)


@contextlib.contextmanager
def serving(cameras: Sequence[Path]) -> Iterator[Service]:
    """Run `edgeface serve` on any free port while the block runs.

    Raises:
        BenchmarkError: it does not start, or ends before the block does.
    """
    words = [sys.executable, "-m", "edgeface", "serve", "--port", "0"]
    for camera in cameras:
        words += ["--camera", str(camera)]
    child = subprocess.Popen(words, cwd=_ROOT, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    try:
        for line in child.stderr or ():  # it ends where the process does
            said.append(line)
            found = re.match(r"EdgeFace serves (\S+)", line)
            if found:
                break
        else:
            raise BenchmarkError(f"the service did not start: {''.join(said)[-800:]}")
        service = Service(found[1], child.pid)
        yield service
        if child.poll() is not None:
            raise BenchmarkError(f"the service ended with code {child.returncode}")
    finally:
        child.terminate()
        try:
            child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()


def measure(
    films: Sequence[Film], rounds: int, seconds: float, tell: Callable[[str], None], seed: int = 0
) -> Watched:
    """Look at every film at every rate, `seconds` at once, in so many rounds.

    Raises:
        BenchmarkError: the service or the browser does not start or fails; a film's faces are not found.
    """
    measured = Watched()
    cases = [Case(film, rate) for film in films for rate in RATES]
    order = random.Random(seed)  # noqa: S311 - an order, not a secret
    with serving([case.film.paths[case.rate] for case in cases]) as service:
        for case in order.sample(cases, len(cases)):
            tell(f"nobody watches: {case.name}")
            service.choose(case.camera)
            time.sleep(_SETTLE)
            measured.cpu_share_alone[case.name] = _share(service, lambda: time.sleep(seconds))
        measured.memory_bytes.append(service.memory())
        with visiting(service.address) as (visitor, measured.browser):
            for number in range(rounds):
                for case in order.sample(cases, len(cases)):
                    tell(f"watched: round {number + 1} of {rounds}, {case.name}")
                    service.choose(case.camera)
                    visitor.rest(_SETTLE)
                    clock = measured.clock = visitor.clock()
                    visitor.take(clock)
                    began = time.monotonic()
                    share = _share(service, lambda: visitor.rest(seconds))
                    measured.note(case.name, visitor.take(clock), time.monotonic() - began, share)
                measured.memory_bytes.append(service.memory())
    for case in cases:
        _check(case, measured.painted[case.name])
    return measured


def _share(service: Service, wait: Callable[[], None]) -> float:
    before, began = service.cpu_seconds(), time.monotonic()
    wait()
    return (service.cpu_seconds() - before) / (time.monotonic() - began)


def _check(case: Case, painted: list[Painted]) -> None:
    right = sum(one.faces == case.film.faces for one in painted)
    if not painted or right < _LEAST_RIGHT * len(painted):
        raise BenchmarkError(f"{case.name}: {right} of {len(painted)} painted pictures tell all faces")
