"""What the doctor says about one thing, and about a whole machine: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from edgeface.doctor.board import Board

__all__ = ["SCHEMA", "Check", "Report", "Topic", "Verdict"]

SCHEMA = "edgeface.doctor/1"
"""The form of `Report.to_dict`; ``edgeface/doctor/schema.json`` describes it."""

Verdict: TypeAlias = Literal["ok", "warning", "fault", "not here"]
"""``not here``: what is asked about is not on this machine, or cannot be seen; the evidence says which."""

_WORST_FIRST: tuple[Verdict, ...] = ("fault", "warning", "ok")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Short and stable, for scripts: ``"coral-rules"``.
        family: What it is a part of: ``"machine"``, ``"power"``, ``"runtimes"``, ``"models"``, ``"coral"``,
            ``"nvidia"``.
        verdict: What came out.
        evidence: What was seen, one sentence without a full stop.
        mend: What to do about it; empty where nothing is to be done.
        source: Where the pain is told: an address, or a page of the repository.
        repair: Name of the repair of `edgeface.doctor.repairs` that mends it; empty if only people can.
    """

    name: str
    family: str
    verdict: Verdict
    evidence: str
    mend: str = ""
    source: str = ""
    repair: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return all of it as JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be looked at; makes the `Check` that says how it was found."""

    name: str
    family: str
    source: str

    def ok(self, evidence: str) -> Check:
        """It is in order."""
        return Check(self.name, self.family, "ok", evidence, source=self.source)

    def absent(self, evidence: str) -> Check:
        """It is not on this machine, or cannot be seen."""
        return Check(self.name, self.family, "not here", evidence, source=self.source)

    def warning(self, evidence: str, mend: str, repair: str = "") -> Check:
        """It works, but slower or less surely than it could."""
        return Check(self.name, self.family, "warning", evidence, mend, self.source, repair)

    def fault(self, evidence: str, mend: str, repair: str = "") -> Check:
        """It does not work."""
        return Check(self.name, self.family, "fault", evidence, mend, self.source, repair)


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one machine, in the order in which they are shown."""

    version: str
    """Of EdgeFace."""
    board: Board
    checks: tuple[Check, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The worst of all checks; what is not here does not count."""
        found = {check.verdict for check in self.checks}
        return next((verdict for verdict in _WORST_FIRST if verdict in found), "ok")

    def count(self, verdict: Verdict) -> int:
        """How many checks came out so."""
        return sum(check.verdict == verdict for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values, as the schema ``edgeface.doctor/1`` says."""
        return {
            "schema": SCHEMA,
            "version": self.version,
            "verdict": self.verdict,
            "board": self.board.to_dict(),
            "seconds": round(self.seconds, 3),
            "checks": [check.to_dict() for check in self.checks],
        }
