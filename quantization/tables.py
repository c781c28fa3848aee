"""The README's tables: what was measured (metrics, comparisons, bundle, benchmark), and the data's terms."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeface import Bundle
from edgeface.bundle import ModelSpec

from .damaged import KINDS
from .datasets import Terms
from .lines import LINES, Line
from .robustness import breaks_at, known
from .shrunk import SIZES
from .tasks import RECIPES
from .tasks.seen import data_terms, seen
from .teachers.catalogue import terms_of
from .verdicts import verdicts

__all__ = ["fill", "rewrite"]

_Figures = dict[str, dict[str, dict[str, float]]]  # task, kind, figure

# Task, figure, what the README calls it, in percent or as it is.
_FIGURES = (
    ("detection", "recall_50", "faces of two teachers found, IoU >= 0.5", True),
    ("detection", "recall_50_any_teacher", "faces of YuNet alone found, IoU >= 0.5", True),
    ("detection", "recall_70", "faces of two teachers found, IoU >= 0.7", True),
    *(("detection", f"recall_at_{side}px", f"faces shrunk to {side} px found", True) for side in SIZES),
    ("detection", "false_positives_per_image", "false faces per face-free picture", False),
    ("detection", "recall_50_confirmed", "faces of two teachers found, and confirmed by landmarks", True),
    ("detection", "false_positives_confirmed", "false faces per face-free picture, confirmed too", False),
    ("landmarks", "nme", "NME by the outer eye corners", True),
    ("landmarks", "nme_eyes", "NME of the eyes' points", True),
    ("landmarks", "nme_lips", "NME of the lips' points", True),
    ("landmarks", "missed", "faces missed by the detector", False),
    ("landmarks", "fr10", "faces with NME above 10 %", True),
    ("landmarks", "visibility_auc_covered", "covered points told from open ones, area under ROC", True),
    ("landmarks", "visibility_auc_turned", "points that a head itself hides, area under ROC", True),
    ("landmarks", "presence_auc", "faces told from backgrounds, area under ROC", True),
    ("landmarks", "presence_auc_mistaken", "faces told from the detector's mistakes, area under ROC", True),
    ("landmarks", "blendshapes", "blendshapes of sd >= 0.01, mean correlation with MediaPipe's", False),
    ("landmarks", "pose_error", "head pose within 45 degrees, mean error in degrees", False),
    ("parsing", "mean_f1", "mean F1 of 18 parts", True),
    ("parsing", "mean_f1_as_annotated", "the same, left and right as annotated", True),
    ("expression", "accuracy", "accuracy", True),
    ("expression", "balanced_accuracy", "accuracy, mean over classes", True),
    ("expression", "ece", "calibration error", True),
)
_DATA = {
    "detection": "105 LFPW photos",
    "landmarks": "105 LFPW photos",
    "parsing": "100 CelebAMask-HQ photos",
    "expression": "3,234 FER+ images",
}
# Figure, what it is graded on instead of whole photos, and the figure that says how many there were.
_PIECES = {
    "false_positives_per_image": ("windows without a face of {}", "face_free_images"),
    "false_positives_confirmed": ("windows without a face of {}", "face_free_images"),
    **{f"recall_at_{side}px": ("faces of {}", "faces_shrunk") for side in SIZES},
    "visibility_auc_covered": ("points behind hands, masks, glasses and pieces on {}", "points_covered"),
    "visibility_auc_turned": ("rendered heads", "heads_found"),
    "presence_auc": ("backgrounds of {}", "backgrounds"),
    "presence_auc_mistaken": (
        "false faces of the detector, also doubtful ones, on {}",
        "backgrounds_mistaken",
    ),
    "blendshapes": ("faces of {}", "blendshapes_faces"),
    "pose_error": ("rendered heads", "heads_posed"),
}
_BESIDE = {"nme", "nme_eyes", "nme_lips"}  # figures that say the teacher's, too
_RATIOS = (
    ("detect_and_landmarks", "detection + landmarks, time per frame", "FaceMesh, static mode"),
    (
        "detect_and_all_three",
        "detection + landmarks + parsing + expression, time per frame",
        "FaceMesh, static mode",
    ),
    ("landmarks_to_video_mode", "detection + landmarks, time per frame", "FaceMesh, video mode (tracks)"),
    ("all_three_to_video_mode", "all four networks, time per frame", "FaceMesh, video mode (tracks)"),
    ("cold_start", "process start to first result, all outputs", "FaceMesh"),
    ("peak_memory", "peak memory, all outputs", "FaceMesh"),
)


def rewrite(
    readme: str,
    metrics: Path,
    bundle: Path,
    benchmark: Path,
    recipes: Path = RECIPES,
    beside: Sequence[Line] = (LINES["nano"], LINES["clean"]),
) -> str:
    """The README with the text between ``<!-- table: NAME -->`` and ``<!-- /table -->`` made anew.

    ``metrics``: what `evaluate` wrote; beside it ``robustness.json`` by `robustness` and, in
    ``comparisons/``, what `compare` wrote. ``recipes``: the folder with the TASK.toml of every student, which
    say what it learned from. ``beside``: the lines that stand beside the bundle's, nano first.
    ``benchmark``: the result against FaceMesh; beside it ``arm-instructions.json``.

    Raises:
        ValueError: A table has no place, or more than one.
    """
    figures = json.loads(metrics.read_text())
    tables = {
        "accuracy": _accuracy(figures, {line.name: json.loads(line.metrics.read_text()) for line in beside}),
        "size": _size(Bundle.load(bundle), Bundle.load(beside[0].bundle), _instructions(benchmark)),
        "latency": _latency(json.loads(benchmark.read_text())),
        "comparisons": _comparisons(metrics.with_name("comparisons")),
        "robustness": _robustness(metrics.with_name("robustness.json"), Bundle.load(bundle)),
        "terms": _terms(recipes),
    }
    return fill(readme, tables)


def fill(page: str, tables: Mapping[str, Sequence[str]]) -> str:
    """The page with the rows of each table between its marks.

    Raises:
        ValueError: A table has no place, or more than one.
    """
    for name, rows in tables.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- /table -->)", re.DOTALL)
        page, count = pattern.subn(lambda m, rows=rows: m[1] + "\n".join(rows) + "\n" + m[2], page)
        if count != 1:
            raise ValueError(f"the README has {count} places for the table {name!r}; it needs exactly one")
    return page


def _accuracy(figures: _Figures, beside: Mapping[str, _Figures]) -> list[str]:
    """A row per figure; a dash: that line's student was not asked, or not with care."""
    titles = ["student", "figure", "int8", "asked with care", "fp32"]
    titles += [*(f"{name}, int8" for name in beside), "graded on"]
    rows = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for task, key, title, percent in _FIGURES:
        if not all(key in figures[task][kind] for kind in ("int8", "fp32")):
            continue  # graded before there was such a figure
        values = [figures[task].get(kind, {}).get(key) for kind in ("int8", "careful", "fp32")]
        values += [others[task]["int8"].get(key) for others in beside.values()]
        teacher = figures[task].get("teacher", {}).get(key) if key in _BESIDE else None
        taught = "" if teacher is None else f" (the mesh that taught it: {100 * teacher:.2f} %)"
        shown = ["-" if v is None else f"{100 * v:.2f} %" if percent else f"{v:.3f}" for v in values]
        rows.append(f"| {task} | {title}{taught} | {' | '.join(shown)} | {_graded_on(task, key, figures)} |")
    return rows


def _graded_on(task: str, key: str, figures: _Figures) -> str:
    if key not in _PIECES:
        return _DATA[task]
    what, count = _PIECES[key]
    return f"{figures[task]['int8'][count]:,.0f} {what.format(_DATA[task])}"


def _size(base: Bundle, nano: Bundle, millions: Mapping[str, float]) -> list[str]:
    """Files, and instructions of one run on a Cortex-A72 (Pi 4) in millions; a dash: not counted."""
    rows = [
        "| student | input | base | nano | base, A72 instructions | nano, A72 instructions |",
        "|---|---|---|---|---|---|",
    ]
    for task in _DATA:
        inputs = " and ".join(f"{spec.input.width} x {spec.input.height}" for spec in _specs(base, task))
        counted = [millions.get(name) for name in (task, f"nano {task}")]
        cells = [inputs, _files(base, task), _files(nano, task)]
        cells += ["-" if count is None else f"{count:.1f} M" for count in counted]
        rows.append(f"| {task} | {' | '.join(cells)} |")
    whole = [f"{sum(a.size for a in bundle.artifacts) / 1e6:.2f} MB" for bundle in (base, nano)]
    return [*rows, f"| all, with their cards | | {whole[0]} | {whole[1]} | | |"]


def _files(bundle: Bundle, task: str) -> str:
    sizes = {a.name: a.size for a in bundle.artifacts}
    return f"{' + '.join(f'{sizes[spec.artifact] / 1e6:.2f}' for spec in _specs(bundle, task))} MB"


def _specs(bundle: Bundle, task: str) -> list[ModelSpec]:
    """A task's networks: one, or one for each shape of frames."""
    return [bundle.models[name] for name in (task, f"{task}_tall") if name in bundle.models]


def _instructions(benchmark: Path) -> dict[str, float]:
    """Student -> millions, of what `benchmarks.arm_instructions` counted on a Cortex-A72."""
    counted = json.loads(benchmark.with_name("arm-instructions.json").read_text())["instructions"]
    return {name: stages["invoke"] / 1e6 for name, stages in counted["cortex-a72"]["students"].items()}


def _latency(result: dict[str, Any]) -> list[str]:
    rows = ["| EdgeFace | against | ratio | 95 % interval |", "|---|---|---|---|"]
    for key, what, against in _RATIOS:
        r = result["ratios"][key]
        rows.append(f"| {what} | {against} | **{r['value']:.2f}** | {r['low']:.2f} to {r['high']:.2f} |")
    return rows


def _comparisons(folder: Path) -> list[str]:
    rows = ["| trained with it against without | figure | base | difference | 95 % interval | verdict |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    for row in verdicts(folder):
        better = "higher" if row.higher else "lower"
        low, mean, high = (f"{value:+.4f}" for value in (row.low, row.mean, row.high))
        rows.append(
            f"| {row.comparison}, {row.variant} | {row.figure}, {better} is better | {row.base:.4f} "
            f"| {mean} | {low} to {high} | {row.verdict} |"
        )
    return rows


def _robustness(results: Path, bundle: Bundle) -> list[str]:
    """A row per kind of damage: where each student breaks. A dash: this file was not shown it."""
    digests = {artifact.name: artifact.sha256 for artifact in bundle.artifacts}
    found = {task: known(task, digests[bundle.model(task).artifact], results) for task in _DATA}
    rows = ["| damage, mild to hard | " + " | ".join(_DATA) + " |", "|---" * (1 + len(_DATA)) + "|"]
    for name, kind in KINDS.items():
        cells = [_broken(task, told, name) for task, told in found.items()]
        levels = ", ".join(map(kind.show, kind.levels))
        rows.append(f"| {kind.what}: {levels} | {' | '.join(cells)} |")
    return rows


def _broken(task: str, told: dict[str, Any] | None, name: str) -> str:
    if told is None or name not in told:
        return "-"
    at = breaks_at(task, told, name)
    return "holds" if at is None else f"breaks at {KINDS[name].show(at)}"


def _terms(recipes: Path) -> list[str]:
    """A row per data set, then per teacher, in the order of the students that learned from it."""
    data: dict[str, list[str]] = {}
    teachers: dict[str, list[str]] = {}
    for task in _DATA:
        known = seen(recipes / f"{task}.toml")
        for names, taught in ((known.data, data), (known.teachers, teachers)):
            for name in names:
                taught.setdefault(name, []).append(task)
    rows = ["| data set or teacher | its terms | students |", "|---|---|---|"]
    rows += [_source(data_terms(name), "", tasks) for name, tasks in data.items()]
    return rows + [_source(terms_of(name), "teacher: ", tasks) for name, tasks in teachers.items()]


def _source(terms: Terms, kind: str, tasks: list[str]) -> str:
    title = f"[{terms.title}]({terms.source})" if terms.source.startswith("https://") else terms.title
    return f"| {kind}{title} | {terms.licence} | {', '.join(tasks)} |"
