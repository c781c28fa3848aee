"""Two records side by side: which is faster, and whether the samples allow to say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.benchmark.statistics import Interval, ratio
from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Compared", "compare", "differences"]

_LEAST = 20  # calls of a case on each side; an interval from fewer means nothing
_PERCENTILES = {"p50": 0.5, "p90": 0.9}
_ENOUGH = 0.02  # a smaller change is not called one: two runs of one program differ by as much


@dataclass(frozen=True, slots=True)
class Compared:
    """One percentile of one case, B over A.

    Attributes:
        case: Its name.
        figure: "p50" or "p90" of whole calls.
        first: Of A, milliseconds.
        second: Of B, milliseconds.
        interval: B over A with its 99 % interval; None where there are too few calls.
        verdict: "B is slower", "B is faster", "no difference shown", or "too few calls".
    """

    case: str
    figure: str
    first: float
    second: float
    interval: Interval | None
    verdict: str


def compare(first: dict[str, Any], second: dict[str, Any]) -> list[Compared]:
    """Compare the cases that both records have.

    A verdict needs the whole interval on one side of 1, and a change of 2 % at least. The interval covers
    what varied within the two runs, not what varies between runs: where it matters, measure each side more
    than once.

    Raises:
        ArgumentError: they are of different scenarios, or share no case.
    """
    if first["scenario"] != second["scenario"]:
        raise ArgumentError(
            f"--compare: A is of {first['scenario']!r}, B of {second['scenario']!r}; measure both alike"
        )
    others = {case["name"]: case for case in second["cases"]}
    shared = [(case, others[case["name"]]) for case in first["cases"] if case["name"] in others]
    if not shared:
        raise ArgumentError("--compare: the records share no case; measure both with the same options")
    return [
        _compared(early["name"], figure, early["raw_ns"]["total"], late["raw_ns"]["total"])
        for early, late in shared
        for figure in _PERCENTILES
        if early["raw_ns"]["total"] and late["raw_ns"]["total"]
    ]


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """What else differs between the records, one line each: a reader must not take it for progress."""
    looked_at: dict[str, Callable[[dict[str, Any]], object]] = {
        "device": lambda record: (record["device"]["board"], record["device"]["cpu"]),
        "kernel": lambda record: record["device"]["kernel"],
        "software": lambda record: record["software"],
        "backend": lambda record: record["models"]["backend"],
        "threads": lambda record: record["models"]["threads"],
        "models": lambda record: record["models"]["bundle"]["digest"],
        "pictures": lambda record: record["picture"]["sha256"],
        "governor": lambda record: record["conditions"]["before"]["governor"],
        "flags": lambda record: record["flags"],
    }
    found = []
    for name, value in looked_at.items():
        try:
            early, late = value(first), value(second)
        except (KeyError, TypeError):
            found.append(f"{name}: not recorded on both sides")
            continue
        if early != late:
            found.append(f"{name}: A {_shown(early)}, B {_shown(late)}")
    return found


def _compared(case: str, figure: str, first: Sequence[int], second: Sequence[int]) -> Compared:
    share = _PERCENTILES[figure]
    early, late = (float(np.quantile(side, share)) / 1e6 for side in (first, second))
    if min(len(first), len(second)) < _LEAST:
        return Compared(case, figure, early, late, None, f"too few calls: {_LEAST} are needed on each side")
    interval = ratio(first, second, share)
    verdict = "no difference shown"
    if interval.low > 1 and interval.value > 1 + _ENOUGH:
        verdict = "B is slower"
    elif interval.high < 1 and interval.value < 1 - _ENOUGH:
        verdict = "B is faster"
    return Compared(case, figure, early, late, interval, verdict)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)[:64]
