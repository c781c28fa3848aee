"""Steadier points and scores over time, whatever the time between two frames.

Points and blendshapes: the One-Euro filter (Casiez, Roussel and Vogel, CHI 2012, "1 Euro Filter: A Simple
Speed-based Low-pass Filter for Noisy Input in Interactive Systems"): a low-pass filter whose cutoff rises
with the speed, so that what is still does not tremble and what moves, an eyelid too, does not lag. Scores of
an expression: an exponential mean and a label that changes only when another one is clearly ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeface.errors import ArgumentError
from edgeface.results import Expression

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ExpressionSmoother", "OneEuro", "PointSmoother"]

_Cutoff = TypeVar("_Cutoff", float, "NDArray[np.float64]")


@dataclass(frozen=True, slots=True)
class OneEuro:
    """How points are smoothed. Speeds are in sizes of the face per second, so that near and far faces agree.

    Attributes:
        min_cutoff: Cutoff of a point at rest, Hz. Lower: steadier, and slower to begin a movement.
        beta: How much the cutoff rises with the speed, Hz per face size per second. Higher: less lag.
        speed_cutoff: Cutoff of the speed itself, Hz.

    Raises:
        ArgumentError: a cutoff is not above 0 or `beta` is below 0.
    """

    min_cutoff: float = 0.5
    beta: float = 15.0
    speed_cutoff: float = 1.0

    def __post_init__(self) -> None:
        values = (self.min_cutoff, self.beta, self.speed_cutoff)
        if (
            not all(map(math.isfinite, values))
            or min(self.min_cutoff, self.speed_cutoff) <= 0
            or self.beta < 0
        ):
            raise ArgumentError(f"{self}: cutoffs must be above 0 Hz and beta at least 0")


class PointSmoother:
    """The filter of one face's points; each point has its own speed and cutoff."""

    def __init__(self, settings: OneEuro) -> None:
        self._settings = settings
        self._time_ns = 0
        self._points: NDArray[np.float64] | None = None
        self._velocity: NDArray[np.float64] = np.zeros((0, 2))

    def smooth(self, points: NDArray[np.float32], size: float, time_ns: int) -> NDArray[np.float32]:
        """Return float32 [N, D]: the points of this moment, smoothed with those before.

        Args:
            points: float32 [N, D], pixels; N stays the same. Blendshapes are [N, 1], of a face of size 1.
            size: size of the face in pixels, above 0.
            time_ns: when they were seen. Not later than the last call: the last answer is given again,
                because no time has passed in which anything could have moved.
        """
        now = points.astype(np.float64)
        if self._points is None:
            self._points, self._velocity = now, np.zeros_like(now)
        elif time_ns > self._time_ns:
            step = (time_ns - self._time_ns) * 1e-9
            velocity = (now - self._points) / (size * step)
            self._velocity += _share(self._settings.speed_cutoff, step) * (velocity - self._velocity)
            speed = np.sqrt((self._velocity**2).sum(-1, keepdims=True))
            cutoff = self._settings.min_cutoff + self._settings.beta * speed
            self._points = self._points + _share(cutoff, step) * (now - self._points)
        else:
            return self._points.astype(np.float32)
        self._time_ns = time_ns
        return self._points.astype(np.float32)

    def reset(self) -> None:
        """Forget what was seen; the next points stand as they are."""
        self._points = None


class ExpressionSmoother:
    """The expression of one face over time.

    Args:
        time_constant: seconds after which two thirds of a change are taken over; 0: no smoothing.
        margin: how far another expression must be ahead before the label changes.

    Raises:
        ArgumentError: an argument is below 0 or no number.
    """

    def __init__(self, time_constant: float, margin: float) -> None:
        if not (0 <= time_constant < math.inf and 0 <= margin <= 1):
            raise ArgumentError(
                f"a time constant of {time_constant} s and a margin of {margin}: use numbers from 0, "
                "the margin at most 1"
            )
        self._constant, self._margin = time_constant, margin
        self._time_ns = 0
        self._scores: dict[str, float] = {}
        self.label = ""
        """The held label; empty before the first expression."""

    def smooth(self, expression: Expression, time_ns: int) -> Expression:
        """Return the mean over time, and set `label`. A time not later than the last one changes nothing."""
        if not self._scores:
            self._scores = dict(expression.scores)
        elif time_ns > self._time_ns:
            step = (time_ns - self._time_ns) * 1e-9
            share = 1.0 if self._constant == 0 else -math.expm1(-step / self._constant)
            for name, score in expression.scores.items():
                self._scores[name] += share * (score - self._scores[name])
        self._time_ns = max(time_ns, self._time_ns)
        mean = Expression({name: min(1.0, max(0.0, score)) for name, score in self._scores.items()})
        if not self.label or mean.score > mean.scores[self.label] + self._margin:
            self.label = mean.label
        return mean


def _share(cutoff: _Cutoff, step: float) -> _Cutoff:
    """How much of the new value a low-pass filter of this cutoff takes after this step (Casiez, eq. 5)."""
    turns = 2 * math.pi * step * cutoff
    return turns / (turns + 1)
