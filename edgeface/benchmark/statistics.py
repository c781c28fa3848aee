"""Percentiles, MLPerf's early stopping, bootstrap intervals. Nothing is clipped: outliers happened too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "PERCENTILES",
    "EarlyStopping",
    "Interval",
    "early_stopping",
    "least_queries",
    "planned_queries",
    "ratio",
    "spread",
    "summary",
]

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

_CONFIDENCE = 0.99  # MLPerf's, of early stopping


def summary(values: Sequence[float]) -> dict[str, float | int | None]:
    """Count, p50, p90, p95, p99, least, greatest and mean, in the unit of ``values``.

    Percentiles are interpolated between order statistics (Hyndman and Fan 1996, type 7). One is None where
    fewer values than 1 / (1 - p) were seen: the p99 of 50 values would only be their greatest.
    """
    found: dict[str, float | int | None] = {"count": len(values)}
    if not len(values):
        return {**found, **dict.fromkeys((*PERCENTILES, "min", "max", "mean"))}
    sorted_values = np.sort(np.asarray(values, np.float64))
    for name, share in PERCENTILES.items():
        enough = len(values) >= round(1 / (1 - share), 6) or name == "p50"
        found[name] = round(float(np.quantile(sorted_values, share)), 6) if enough else None
    found["min"], found["max"] = round(float(sorted_values[0]), 6), round(float(sorted_values[-1]), 6)
    found["mean"] = round(float(sorted_values.mean()), 6)
    return found


def spread(values: Sequence[float]) -> float:
    """Interquartile range over the median; 0 for fewer than four values."""
    if len(values) < 4:
        return 0.0
    low, middle, high = np.quantile(np.asarray(values, np.float64), [0.25, 0.5, 0.75])
    return float((high - low) / middle) if middle else 0.0


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """MLPerf's estimate of a percentile from as many queries as there were.

    Attributes:
        percentile: Which, between 0 and 1.
        queries: How many there were.
        discarded: How many of the longest were put aside.
        estimate: The longest of the others, in the unit of the samples: with 99 % confidence the percentile
            is no longer than this.
    """

    percentile: float
    queries: int
    discarded: int
    estimate: float


def early_stopping(values: Sequence[float], percentile: float = 0.9) -> EarlyStopping | None:
    """Estimate a percentile as MLPerf Inference does; None when there are fewer than `least_queries`.

    Source: MLPerf inference rules, appendix "Early Stopping Criterion", with its tolerance d = 0 and
    confidence c = 0.99: of n queries, t may be longer than the true percentile with a chance below 1 - c; the
    t - 1 longest are discarded and the longest of the rest is reported.
    """
    count = len(values)
    over = _most_over(count, percentile)
    if over < 1:
        return None
    estimate = float(np.sort(np.asarray(values, np.float64))[count - over])
    return EarlyStopping(percentile, count, over - 1, estimate)


def least_queries(percentile: float) -> int:
    """The fewest queries from which `early_stopping` gives an estimate: 64 for 0.9, 662 for 0.99."""
    count = 1
    while _most_over(count, percentile) < 1:
        count += 1
    return count


def planned_queries(percentile: float, confidence: float = _CONFIDENCE) -> int:
    """Queries that fix a percentile to a twentieth of what lies beyond it, planned before anything is seen.

    Source: Reddi et al., "MLPerf Inference Benchmark" (2020), equations 1 and 2 and table IV: 23,886 for 0.9,
    262,742 for 0.99.
    """
    margin = (1 - percentile) / 20
    z = NormalDist().inv_cdf((1 - confidence) / 2)
    return round(z * z * percentile * (1 - percentile) / (margin * margin))


def _most_over(count: int, percentile: float) -> int:
    """The greatest t whose chance of "t or fewer of ``count`` are longer" is below 1 - confidence; -1: none.

    The terms of the binomial distribution are summed in turn, through logarithms: they underflow otherwise.
    """
    total, most = 0.0, -1
    for over in range(count):
        ways = math.lgamma(count + 1) - math.lgamma(over + 1) - math.lgamma(count - over + 1)
        total += math.exp(ways + over * math.log(1 - percentile) + (count - over) * math.log(percentile))
        if total >= 1 - _CONFIDENCE:
            break
        most = over
    return most


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 99 % bootstrap interval."""

    value: float
    low: float
    high: float


def ratio(
    first: Sequence[float], second: Sequence[float], percentile: float, *, draws: int = 1000, seed: int = 0
) -> Interval:
    """A percentile of ``second`` over the same of ``first``, both in order of time and not empty.

    Neighbouring frames are disturbed together, so whole stretches of the run are drawn, each of the square
    root of its length (moving-block bootstrap: Künsch 1989; percentile interval: Efron and Tibshirani 1993).
    99 %, because several cases and percentiles are looked at together.
    """
    rng = np.random.default_rng(seed)
    early, late = np.asarray(first, np.float64), np.asarray(second, np.float64)
    drawn = np.array(
        [
            np.quantile(_redrawn(late, rng), percentile) / np.quantile(_redrawn(early, rng), percentile)
            for _ in range(draws)
        ]
    )
    value = float(np.quantile(late, percentile) / np.quantile(early, percentile))
    low, high = np.quantile(drawn, [0.005, 0.995])
    return Interval(value, float(low), float(high))


def _redrawn(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    length = max(1, round(math.sqrt(values.size)))
    starts = rng.integers(0, values.size, -(-values.size // length))
    # Around the end to the beginning, so that the first and last values are drawn as often as the others.
    index = (starts[:, None] + np.arange(length)) % values.size
    drawn: NDArray[np.float64] = values[index.reshape(-1)[: values.size]]
    return drawn
