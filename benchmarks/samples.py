"""Medians, percentiles and ratios of repeated measurements. Nothing is clipped: an outlier happened too."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Ratio", "ratio", "spread", "summary"]


@dataclass(frozen=True)
class Ratio:
    """`value` = median of one side over that of the other; [`low`, `high`] = its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The three numbers, rounded to four digits."""
        return {name: round(number, 4) for name, number in asdict(self).items()}


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, p90, p95, p99, least and number of `samples`, in their own unit."""
    values = np.asarray(samples, np.float64)
    if not values.size:
        raise ValueError("there are no samples to summarise")
    p50, p90, p95, p99 = np.percentile(values, [50, 90, 95, 99])
    named = {"median": p50, "p90": p90, "p95": p95, "p99": p99, "min": values.min()}
    return {"count": int(values.size), **{name: round(float(value), 4) for name, value in named.items()}}


def spread(samples: Sequence[float]) -> float:
    """Interquartile range over the median: above 0.2 a run is noisy."""
    low, middle, high = np.percentile(np.asarray(samples, np.float64), [25, 50, 75])
    return float((high - low) / middle)


def ratio(ours: Sequence[float], theirs: Sequence[float], *, draws: int = 2000, seed: int = 0) -> Ratio:
    """The ratio of medians of two sides that were measured in the same rounds, one value per round and side.

    The interval comes from drawing whole rounds with replacement: what disturbed a round disturbed both
    sides, and a draw keeps them together (paired percentile bootstrap, Efron and Tibshirani 1993, ch. 13).
    """
    first, second = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(f"both sides need one value per round, not {first.shape} and {second.shape}")
    picks = np.random.default_rng(seed).integers(0, first.size, (draws, first.size))
    drawn = np.median(first[picks], axis=1) / np.median(second[picks], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Ratio(float(np.median(first) / np.median(second)), float(low), float(high))
