"""Numbers for Prometheus, in its text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).

Written here, because the few kinds that a kiosk needs are shorter than a library for all of them. No label
ever comes from a client as it is: paths are those of the routes, so that nobody can make the page grow.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Histogram", "Metrics", "Sample", "exposition"]

_SECONDS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)

Sample = tuple[str, str, str, "Mapping[str, str]", float]
"""Name, kind ("counter", "gauge"), help, labels, value."""


class Histogram:
    """Counts seconds into fixed ranges. Safe for several threads."""

    def __init__(self, bounds: Sequence[float] = _SECONDS) -> None:
        self._bounds = (*bounds, math.inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count one."""
        place = next(i for i, bound in enumerate(self._bounds) if seconds <= bound)
        with self._lock:
            self._counts[place] += 1
            self._sum += seconds

    def lines(self, name: str, text: str) -> list[str]:
        """Write it: each range holds what the ones below it hold too."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        lines, below = [f"# HELP {name} {text}", f"# TYPE {name} histogram"], 0
        for bound, count in zip(self._bounds, counts, strict=True):
            below += count
            lines.append(f'{name}_bucket{{le="{_number(bound)}"}} {below}')
        return [*lines, f"{name}_sum {_number(total)}", f"{name}_count {below}"]


class Metrics:
    """What the service counts. Safe for several threads.

    Attributes:
        age: From the camera's time of a frame to its result.
        took: Analysis of a frame of the camera.
    """

    def __init__(self) -> None:
        self.age, self.took = Histogram(), Histogram()
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._lock = threading.Lock()

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Count an event: "frames", "requests" with its labels, ..."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] += by

    def total(self, name: str, **labels: str) -> int:
        """Return what was counted under this name and exactly these labels."""
        with self._lock:
            return self._counts[name, tuple(sorted(labels.items()))]

    def samples(self) -> list[Sample]:
        """Return every count as a sample."""
        with self._lock:
            counts = dict(self._counts)
        # What was never counted stands at 0, so that a rate over it exists from the first event on.
        named = {name for name, _ in counts}
        counts |= {(name, ()): 0 for name in _HELP if name not in named}
        return [
            (f"edgeface_{name}_total", "counter", _HELP[name], dict(labels), value)
            for (name, labels), value in sorted(counts.items())
        ]


_HELP = {
    "frames": "Frames of the camera that were analysed.",
    "frames_dropped": "Frames that came while another was analysed, and were replaced by a newer one.",
    "frames_broken": "Pictures of the camera that could not be used.",
    "faces_appeared": "Faces that came and stayed long enough to be no flicker.",
    "faces_disappeared": "Faces that had appeared and went.",
    "pictures": "Pictures that clients sent and that were analysed.",
    "results_written": "Results that left by themselves, by way.",
    "results_skipped": "Results that a newer one replaced before the way was free, by way.",
    "requests": "HTTP requests by route and status.",
    "refused": "Requests that were refused, by reason.",
}


def exposition(samples: Iterable[Sample], histograms: Mapping[str, tuple[str, Histogram]]) -> str:
    """Write samples and histograms (name -> help, histogram) as a page for Prometheus."""
    lines: list[str] = []
    told: set[str] = set()
    for name, kind, text, labels, value in samples:
        if name not in told:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            told.add(name)
        written = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{written}}} {_number(value)}" if written else f"{name} {_number(value)}")
    for name, (text, histogram) in histograms.items():
        lines += histogram.lines(name, text)
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else f"{value:.10g}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
