"""Which plots a student gets, from what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeface import Bundle
from edgeface.labels import IBUG68

from . import plots, robustness, trade_plots
from .graded import BINS
from .measured import Measured, Sources, size_of, stages
from .plots import Plot

__all__ = ["HEADLINES", "NOTES", "graded_plots", "student_plots"]

# Task -> figure, what it is, whether higher is better: what int8 is compared by.
HEADLINES = {
    "detection": (
        ("recall_50", "faces found, IoU >= 0.5", True),
        ("recall_70", "faces found, IoU >= 0.7", True),
        ("ap_50", "AP, IoU 0.5", True),
        ("ap", "AP, IoU 0.5 to 0.95", True),
        ("false_positives_per_image", "false faces a picture", False),
    ),
    "landmarks": (
        ("nme", "NME, outer eye corners", False),
        ("nme_pupil", "NME, pupils", False),
        ("fr10", "NME above 10 %", False),
        ("auc10", "area under the curve", True),
        ("blendshapes", "blendshapes, correlation with MediaPipe's", True),
    ),
    "parsing": (
        ("mean_f1", "mean F1 of the parts", True),
        ("miou", "mean IoU with background", True),
    ),
    "expression": (
        ("accuracy", "accuracy", True),
        ("balanced_accuracy", "accuracy, mean over classes", True),
        ("ece", "calibration error (ECE)", False),
        ("aurc", "risk over coverage (AURC)", False),
    ),
}
# Task -> figure by which networks are compared with their size, and the published teacher beside them.
_COMPARED = {
    "detection": ("ap", "AP, IoU 0.5 to 0.95", True),
    "landmarks": ("nme", "NME, outer eye corners", False),
    "parsing": ("mean_f1", "mean F1 of the parts", True),
    "expression": ("accuracy", "accuracy", True),
}
_PUBLISHED = {"landmarks": "MediaPipe's face mesh"}
_LEARNED = {
    "detection": ("val_recall", "val_false_cells"),
    "landmarks": ("val_nme",),
    "parsing": ("val_f1",),
    "expression": ("val_accuracy", "val_balanced", "val_left_accuracy"),
}
# Where the teacher's figures are no measure of it: said beside the table, and left out of the plots.
NOTES = {
    "detection": "The teacher's own boxes are what is to be found: its recall, IoU and AP are 1 by "
    "definition, so no plot shows it. Its false faces are measured.",
}


def student_plots(student: Measured, sources: Sources, bundle: Bundle) -> Iterator[Plot]:
    """All that there is something to draw of, students and teachers together."""
    task, figures = student.task, student.metrics
    drawn = [kind for kind in figures if kind != "teacher" or task not in NOTES]
    kinds = {kind: student.curves[kind] for kind in drawn if kind in student.curves}
    if "int8" in figures and "fp32" in figures:
        pair = figures["int8"], figures["fp32"]
        rows = [
            (w, pair[0][k], pair[1][k], up) for k, w, up in HEADLINES[task] if k in pair[0] and k in pair[1]
        ]
        yield plots.int8_cost(task, rows)
    yield from graded_plots(task, figures, kinds)
    yield from _damaged(task, bundle)
    yield from _learning(task, student.stages, "", sources.logs)
    for name in student.taught:
        short = name.removeprefix(f"{task}-") + "-"
        yield from _learning(task, stages(sources.recipes, name), short, sources.logs)
    yield from _size(student, sources, bundle)


def graded_plots(
    task: str, figures: Mapping[str, Mapping[str, float]], kinds: Mapping[str, Mapping[str, Any]]
) -> Iterator[Plot]:
    """The plots of a grading: ``figures`` and, in ``kinds``, curves of each kind that was graded."""
    of = {
        k: {key: v.get(key, float("nan")) for key in ("auc10", "ap_50", "aurc", "ece")}
        for k, v in figures.items()
    }

    def each(key: str) -> dict[str, Any]:
        return {kind: curves[key] for kind, curves in kinds.items() if key in curves}

    def figure(key: str) -> dict[str, float]:
        return {kind: values[key] for kind, values in of.items()}

    if each("ced"):
        yield plots.curve(task, "ced", each("ced"), figure("auc10"))
        parts = {
            kind: {p.replace("_", " "): errors[p] for p in IBUG68.parts}
            for kind, errors in each("nme_per_part").items()
        }
        yield plots.bars(f"{task}-parts", "Error per part", "NME, outer eye corners", parts)
    if each("blendshapes"):
        moves = {
            kind: dict(zip(told["names"], told["correlation"], strict=True))
            for kind, told in each("blendshapes").items()
        }
        yield plots.bars(f"{task}-blendshapes", "Blendshapes", "correlation with MediaPipe's", moves)
    if each("precision_recall"):
        yield plots.curve(task, "precision-recall", each("precision_recall"), figure("ap_50"))
    if each("reliability"):
        yield plots.reliability(task, each("reliability"), figure("ece"))
        yield plots.curve(task, "risk-coverage", each("risk"), figure("aurc"))
    for prefix, what in (("f1", "F1"), ("iou", "IoU"), ("recall", "recall")):
        classes = next(iter(kinds.values())).get("classes", ())
        found = {
            kind: {c: values[f"{prefix}_{c}"] for c in classes if f"{prefix}_{c}" in values}
            for kind, values in figures.items()
        }
        if any(found.values()):
            yield plots.bars(f"{task}-{prefix}", f"{what} per class", what, found)
    kind, first = next(iter(kinds.items()))
    if "confusion" in first:
        yield plots.confusion(task, first["classes"], first["confusion"], kind)
    if any(each("subgroups").values()):
        yield _subgroups(task, each("subgroups"))


def _damaged(task: str, bundle: Bundle) -> Iterator[Plot]:
    """What the student in the bundle keeps of its figure on damaged pictures, where that was measured."""
    digests = {artifact.name: artifact.sha256 for artifact in bundle.artifacts}
    found = robustness.known(task, digests[bundle.model(task).artifact]) if task in bundle.models else None
    if found:
        yield robustness.plot_of(task, found)


def _subgroups(task: str, kinds: Mapping[str, Any]) -> Plot:
    """The one figure that all bins have, with how many faces are in each."""
    title = {key: what for key, what, _ in HEADLINES[task]}
    figure = ""
    told: dict[str, dict[str, float]] = {}
    for kind, groups in kinds.items():
        for by, name in [(by, name) for by, names in BINS.items() for name in names]:
            values = groups.get(by, {}).get(name)
            if values is not None:
                (figure,) = values.keys() - {"count"}
                label = f"{by} {name.replace('_', '-')} ({values['count']})"
                told.setdefault(kind, {})[label] = values[figure]
    return plots.bars(f"{task}-subgroups", "By subgroup, with how many faces", title[figure], told)


def _log(logs: Path, name: str) -> list[dict[str, float]]:
    path = logs / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _size(student: Measured, sources: Sources, bundle: Bundle) -> Iterator[Plot]:
    """What each network of the task reached on the validation split, over the bytes it is stored in."""
    task = student.task
    key, what, up = _COMPARED[task]
    points = {}
    for kind, figures in student.metrics.items():
        count = size_of(student, kind, sources, bundle)
        if count and np.isfinite(figures.get(key, np.nan)) and not (kind == "teacher" and task in NOTES):
            points[kind] = (_PUBLISHED[task] if kind == "teacher" else kind, float(count), figures[key])
    if len(points) > 1:
        yield trade_plots.size(task, what, points, up)


def _learning(task: str, names: Sequence[str], prefix: str, logs: Path) -> Iterator[Plot]:
    """The curves of one training's stages; ``prefix`` of their plots' names says whose."""
    courses = [(name, rows) for name in names if (rows := _log(logs, name))]
    if not courses:
        return
    known = set.intersection(*(set(row) for _, rows in courses for row in rows))
    graded = [key for key in _LEARNED[task] if key in known]
    losses = [
        key
        for key in courses[0][1][0]
        if key in known and not key.startswith("val_") and key not in {"step", "seconds", "iou", "accuracy"}
    ]
    if graded:
        yield plots.learning(task, f"{prefix}learning", courses, graded)
    if losses:
        yield plots.learning(task, f"{prefix}losses", courses, losses[:4])
