"""Limits for continuous integration: ``p95>33ms`` and what else may follow `--fail-if`."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Limit"]

_FIGURES = ("p50", "p90", "p95", "p99", "min", "max", "mean")
_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}  # milliseconds
_SIZES = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(
    r"(?:(?P<case>[^/<>]+)/)?(?P<figure>[\w.]+)(?P<sign>[<>]=?)(?P<value>\d+(?:\.\d+)?)(?P<unit>%|\w*)"
)
_HELP = (
    "write a figure, a comparison and a value with its unit: p95>33ms, landmarks.p50>2ms, age.p95>100ms, "
    "fps<15, dropped>1%, memory_peak>120MB, memory_growth>2MB; CASE/ before it names one case: "
    "'4 faces/p95>50ms'"
)


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit; it is broken where the comparison holds.

    Attributes:
        text: As it was written.
        case: Of which case; None: of every one, but of cold starts only where there is nothing else.
        figure: ``p95``, ``landmarks.p95``, ``fps``, ``dropped``, ``memory_peak``, ``memory_growth``.
        sign: How the value measured is compared with this one.
        value: Milliseconds, frames per second, percent or bytes.
    """

    text: str
    case: str | None
    figure: str
    sign: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read a limit.

        Raises:
            ArgumentError: it is not one; the message shows some.
        """
        found = _FORM.fullmatch(text.replace(" ", "") if "/" not in text else text.strip())
        if found is None:
            raise ArgumentError(f"--fail-if {text!r}: {_HELP}")
        figure, unit = found["figure"], found["unit"]
        if figure.rpartition(".")[2] in _FIGURES:
            units = _TIMES
        else:
            units = {"fps": {"": 1.0}, "dropped": {"%": 1.0}}.get(figure, {})
            if figure in ("memory_peak", "memory_growth"):
                units = _SIZES
        if unit not in units:
            raise ArgumentError(f"--fail-if {text!r}: {_HELP}")
        return cls(text, found["case"], figure, found["sign"], float(found["value"]) * units[unit])

    def broken(self, record: dict[str, Any]) -> list[str]:
        """Where the limit is broken, or too few calls were made to tell; one line each.

        Raises:
            ArgumentError: the record has no such case or figure; a limit that is never looked at guards
                nothing.
        """
        measured = self._measured(record)
        if not measured:
            names = ", ".join(case["name"] for case in record["cases"])
            raise ArgumentError(f"--fail-if {self.text!r}: was not measured in any of these cases: {names}")
        told = []
        for where, value in measured:
            if value is None:
                told.append(f"{self.text}: {where} has too few calls to tell; measure longer with --seconds")
            elif _COMPARED[self.sign](value, self.value):
                told.append(f"{self.text}: {where} has {value:.6g}")
        return told

    def _measured(self, record: dict[str, Any]) -> list[tuple[str, float | None]]:
        if self.figure.startswith("memory_"):
            told = record["memory"]
            value = told[f"{self.figure.removeprefix('memory_')}_bytes"]
            # A quick machine gathers megabytes of samples: no leak of what is measured.
            own = told.get("samples_bytes", 0) if self.figure == "memory_growth" else 0
            return [] if value is None else [("the process", value - own)]
        cases = record["cases"]
        if self.case is not None:
            cases = [case for case in cases if case["name"] == self.case]
        elif any(case["kind"] != "process" for case in cases):
            cases = [case for case in cases if case["kind"] != "process"]
        return [(f"case {case['name']!r}", value) for case in cases for value in self._of(case)]

    def _of(self, case: dict[str, Any]) -> list[float | None]:
        """The figure of a case: none at all where it has no such stage, None for too few calls."""
        if self.figure == "fps":
            return [case["fps"]]
        if self.figure == "dropped":
            frames = case["frames"]
            return [100 * frames["dropped"] / frames["came"]] if frames and frames["came"] else []
        stage, _, figure = self.figure.rpartition(".")
        told = case["stages_ms"].get(stage or "total")
        return [] if told is None else [told[figure]]
