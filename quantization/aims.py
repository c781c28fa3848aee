"""What the students are to reach, and how far they are: the table of ``results/README.md``.

The nano students are to stay within `NANO` of the others, figure by figure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .tables import fill

__all__ = ["AIMS", "NANO", "Aim", "rewrite"]

_Figures = Mapping[str, Mapping[str, Mapping[str, float]]]  # task, kind, figure

NANO = 0.12
"""The share of a figure that a nano student may lack, or have too much of."""


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure of the int8 file, and its bound.

    Attributes:
        task: Of the student.
        figure: Key of the metrics; ``f1_*``: the least of all parts but the background.
        what: In words.
        bound: A number, or ``teacher``: what the face mesh reaches on the same photos.
        most: Whether the bound is an upper one.
        percent: Whether it is told in percent.
    """

    task: str
    figure: str
    what: str
    bound: float | str
    most: bool = False
    percent: bool = True

    def value(self, figures: _Figures, kind: str = "int8") -> float:
        """The figure of a line's metrics."""
        told = figures[self.task][kind]
        if self.figure != "f1_*":
            return told[self.figure]
        return min(v for k, v in told.items() if k.startswith("f1_") and k != "f1_background")

    def limit(self, figures: _Figures) -> float:
        """The bound as a number."""
        return self.value(figures, "teacher") if self.bound == "teacher" else float(self.bound)

    def met(self, value: float, limit: float) -> bool:
        """Whether a value keeps to a limit."""
        return value <= limit if self.most else value >= limit

    def near(self, base: float) -> float:
        """The limit of the nano student beside a base one's figure."""
        return base * (1 + NANO if self.most else 1 - NANO)

    def shown(self, value: float) -> str:
        """The value as the table tells it."""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.3f}"


AIMS = (
    Aim("detection", "recall_50", "faces found, IoU >= 0.5", 0.99),
    Aim("detection", "recall_70", "faces found, IoU >= 0.7", 0.95),
    Aim("detection", "recall_at_20px", "faces of 20 px found in 640 x 480", 0.99),
    Aim("detection", "false_positives_per_image", "false faces per face-free picture", 0.02, True, False),
    Aim("detection", "false_positives_confirmed", "the same, confirmed by landmarks", 0.02, True, False),
    Aim("landmarks", "nme", "NME by the outer eye corners", 0.036, True),
    Aim("landmarks", "nme_eyes", "NME of the eyes", "teacher", True),
    Aim("landmarks", "nme_lips", "NME of the lips", "teacher", True),
    Aim("landmarks", "visibility_auc_covered", "covered points, area under ROC", 0.90),
    Aim("landmarks", "visibility_auc_turned", "points a head hides itself, area under ROC", 0.90),
    Aim("landmarks", "presence_auc", "faces or backgrounds, area under ROC", 0.999),
    Aim("landmarks", "pose_error", "head pose within 45 degrees, error in degrees", 4.0, True, False),
    Aim("landmarks", "blendshapes", "blendshapes, correlation with MediaPipe's", 0.90, False, False),
    Aim("parsing", "mean_f1", "mean F1 of 18 parts", 0.80),
    Aim("parsing", "mean_f1_as_annotated", "the same, left and right as annotated", 0.80),
    Aim("parsing", "f1_*", "F1 of the worst part", 0.45),
    Aim("expression", "accuracy", "accuracy", 0.84),
    Aim("expression", "balanced_accuracy", "accuracy, mean over classes", 0.0),
    Aim("expression", "ece", "calibration error", 0.05, True),
)


def rewrite(page: str, base: Path, nano: Path) -> str:
    """The page with its table ``aims`` made anew of the two lines' metrics.

    Raises:
        ValueError: The table has no place, or more than one.
    """
    figures, small = json.loads(base.read_text()), json.loads(nano.read_text())
    rows = [
        f"| student | figure | aim | base | | asked with care | | nano, within {NANO:.0%} of base | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for aim in AIMS:
        limit = aim.limit(figures)
        bound = f"{'<=' if aim.most else '>='} {aim.shown(limit)}" if limit else "reported"
        cells = [aim.task, aim.what, bound]
        for kind in ("int8", "careful"):
            value = aim.value(figures, kind)
            cells += [aim.shown(value), _said(aim.met(value, limit)) if limit else ""]
        value = aim.value(figures)
        if aim.figure in small[aim.task]["int8"] or aim.figure == "f1_*":
            theirs = aim.value(small)
            cells += [aim.shown(theirs), _said(aim.met(theirs, aim.near(value)))]
        else:
            cells += ["-", ""]
        rows.append(f"| {' | '.join(cells)} |")
    return fill(page, {"aims": rows})


def _said(met: bool) -> str:
    return "met" if met else "**missed**"
