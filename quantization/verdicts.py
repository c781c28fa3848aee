"""What `compare` found, one row per variant, for the page and the README."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Verdict", "verdicts"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A variant of a comparison against its base, on ``seeds`` paired seeds.

    Attributes:
        comparison: Name of its file in ``comparisons/``.
        variant: The variant's name there.
        task: What was trained.
        figure: Of the tuning part.
        higher: Whether a higher figure is better.
        base: Mean figure of the base.
        own: The same of the variant.
        low: Lower end of the 95 % interval of the mean difference to the base.
        mean: The mean difference.
        high: Upper end.
        verdict: ``helps``, ``hurts`` or ``not shown``.
        seeds: How many pairs.
        steps: Of each training.
    """

    comparison: str
    variant: str
    task: str
    figure: str
    higher: bool
    base: float
    own: float
    low: float
    mean: float
    high: float
    verdict: str
    seeds: int
    steps: int


def verdicts(folder: Path) -> list[Verdict]:
    """All that `compare` wrote into a folder, by comparison; none where there is no folder.

    Raises:
        ValueError: A file is not what `compare` writes.
    """
    return [verdict for path in sorted(folder.glob("*.json")) for verdict in _of(path)]


def _of(path: Path) -> list[Verdict]:
    try:
        result = json.loads(path.read_text())
        return [_verdict(result, name, told) for name, told in result["variants"].items()]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not what `compare` writes ({error!r}); run it again") from error


def _verdict(result: Mapping[str, Any], name: str, told: Mapping[str, Any]) -> Verdict:
    figure, inputs = result["figure"], result["base"]["inputs"]
    return Verdict(
        comparison=result["comparison"],
        variant=name,
        task=inputs["task"],
        figure=figure,
        higher=result["better"] == "higher",
        base=_mean(result["base"], figure),
        own=_mean(told, figure),
        low=told["low"],
        mean=told["mean"],
        high=told["high"],
        verdict=told["verdict"],
        seeds=len(result["seeds"]),
        steps=inputs["schedule.steps"],
    )


def _mean(entry: Mapping[str, Any], figure: str) -> float:
    return statistics.fmean(run["figures"][figure] for run in entry["runs"])
