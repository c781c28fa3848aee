"""Lines of students: one of each task, that ship together in one built-in bundle.

A line's recipes and weights lie among all the others, ``TASK-NAME`` each, those of the first one ``TASK``.
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
        name: As `edgeface.bundle.SIZES` calls it.
        results: Folder of its figures: ``metrics.json``, ``curves.json``, ``robustness.json``.
        bundle: The file of the package that it ships in.
    """

    name: str
    results: Path
    bundle: Path

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
}
"""Every line by its name."""

BASE = LINES["base"]
