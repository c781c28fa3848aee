"""The raw numbers of one case: every call, nothing dropped but the warm-up, and that is counted."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Literal

from edgeface.benchmark.statistics import summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Series"]

_ABSENT = -1  # the stage did not run in this call; time is never negative
_MINUTE = 60_000_000_000


class Series:
    """Nanoseconds per stage and call, in the order of the calls.

    Eight bytes a number, so that a run of hours does not look like a leak.

    Attributes:
        name: What was measured, for people: "1 face".
        kind: "call": as fast as it goes; "stream": frames come in their own time; "process": each sample is a
            process of its own.
        warm_up: Calls that were made and not kept.
        dropped: Frames of a stream that nobody took, because a newer one came.
        came: Frames that a stream's camera gave; None for other kinds.
        extra: What belongs to this kind of case alone.
    """

    def __init__(self, name: str, kind: Literal["call", "stream", "process"] = "call") -> None:
        self.name, self.kind = name, kind
        self.warm_up = self.dropped = 0
        self.came: int | None = None
        self.extra: dict[str, Any] = {}
        self._at = array("q")
        self._stages: dict[str, array[int]] = {}

    def __len__(self) -> int:
        return len(self._at)

    def add(self, at_ns: int, stages: Mapping[str, int]) -> None:
        """Keep one call.

        Args:
            at_ns: when it ended, nanoseconds since the benchmark began.
            stages: nanoseconds by stage, with "total" among them.
        """
        for stage in stages.keys() - self._stages.keys():
            self._stages[stage] = array("q", [_ABSENT] * len(self._at))
        for stage, values in self._stages.items():
            values.append(stages.get(stage, _ABSENT))
        self._at.append(at_ns)

    def milliseconds(self, stage: str = "total") -> list[float]:
        """Of the calls in which the stage ran."""
        return [value / 1e6 for value in self._stages.get(stage, ()) if value != _ABSENT]

    @property
    def size(self) -> int:
        """Bytes that the numbers take in memory."""
        return sum(len(values) * values.itemsize for values in (self._at, *self._stages.values()))

    def seconds(self) -> float:
        """From the beginning of the first call to the end of the last."""
        return (self._at[-1] - self._at[0] + self._stages["total"][0]) / 1e9 if self._at else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The case as it stands in a record."""
        # Cut to the shortest, because an interruption may come in the middle of `add`.
        count = min([len(self._at), *(len(values) for values in self._stages.values())])
        at = list(self._at[:count])
        raw = {stage: _with_none(values[:count]) for stage, values in sorted(self._stages.items())}
        total = [value for value in raw.get("total", []) if value is not None]
        return {
            "name": self.name,
            "kind": self.kind,
            "warm_up": self.warm_up,
            "count": count,
            "fps": self._rate(at, total),
            "frames": None if self.came is None else {"came": self.came, "dropped": self.dropped},
            "stages_ms": {
                stage: summary([value / 1e6 for value in values if value is not None])
                for stage, values in raw.items()
            },
            "minutes": self._minutes(at, total),
            "extra": self.extra,
            "raw_ns": {"at": at, **raw},
        }

    def _rate(self, at: list[int], total: list[int]) -> float | None:
        """Frames per second: of a stream those that came out, otherwise those that there is time for."""
        spent = at[-1] - at[0] if self.kind == "stream" and at else sum(total)
        count = len(total) - (self.kind == "stream")
        return round(count / spent * 1e9, 3) if spent > 0 else None

    def _minutes(self, at: list[int], total: list[int]) -> list[dict[str, Any]]:
        """Frames per second and the p90 of each minute of the benchmark in which there was a call."""
        grouped: dict[int, tuple[list[int], list[int]]] = {}
        for moment, value in zip(at, total, strict=True):
            moments, values = grouped.setdefault(moment // _MINUTE, ([], []))
            moments.append(moment)
            values.append(value)
        return [
            {
                "minute": minute,
                "count": len(values),
                "fps": self._rate(moments, values),
                "p90_ms": summary([value / 1e6 for value in values])["p90"],
            }
            for minute, (moments, values) in sorted(grouped.items())
        ]


def _with_none(values: Iterable[int]) -> list[int | None]:
    return [None if value == _ABSENT else value for value in values]
