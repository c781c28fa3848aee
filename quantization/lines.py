"""Lines of students: one of each task, together in one bundle.

A line's recipes and weights lie among all the others, ``TASK-NAME`` each, those of the first one ``TASK``.
The lines of `edgeface.bundle.SIZES` are built into the package. ``clean`` is not: its students learned from
rendered heads and free pictures alone, may be used for anything, and know photos less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeface.bundle import SIZES

from .recipe import RECIPES

__all__ = ["BASE", "LINES", "Line"]

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        name: As `edgeface.bundle.SIZES` calls it, where it is built in.
        results: Folder of its figures: ``metrics.json``, ``curves.json``, ``robustness.json``.
        bundle: The file that it ships in.
        card: The prose of its cards, whatever the task; None: each task's own.
    """

    name: str
    results: Path
    bundle: Path
    card: Path | None = None

    def stem(self, task: str) -> str:
        """Name of a task's recipe, and of its weights and log."""
        return task if self.name == "base" else f"{task}-{self.name}"

    @property
    def title(self) -> str:
        """What its bundle is called inside."""
        return "edgeface-students" if self.name == "base" else f"edgeface-{self.name}"

    def recipe(self, task: str) -> Path:
        """The recipe of a task's student, of its last course."""
        return RECIPES / f"{self.stem(task)}.toml"

    @property
    def metrics(self) -> Path:
        """Its figures."""
        return self.results / "metrics.json"

    @property
    def robustness(self) -> Path:
        """What of them is left on damaged pictures."""
        return self.results / "robustness.json"


LINES: Mapping[str, Line] = {
    name: Line(
        name,
        _HERE / "results" if name == "base" else _HERE / "results" / name,
        _HERE.parent / "edgeface" / "models" / file,
    )
    for name, file in SIZES.items()
} | {
    "clean": Line(
        "clean",
        _HERE / "results" / "clean",
        _HERE / "weights" / "clean.bundle",
        _HERE / "cards" / "rendered.md",
    )
}
"""Every line by its name."""

BASE = LINES["base"]
