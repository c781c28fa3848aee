"""One page of all that was measured of each student, and where it comes from: figures, plots, provenance.

The page loads nothing: plots are inside it as PNG, for a light and a dark screen, and each has its numbers
as a table. It holds no image and no file name of a data set, because `evaluate` writes none.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tomllib

from edgeface import Bundle
from edgeface.labels import IBUG68

from . import plots
from .graded import BINS
from .page import figure, fold, page, table
from .plots import Plot
from .recipe import is_teacher

__all__ = ["Sources", "write_report"]

_HERE = Path(__file__).parent
_ORDER = ("int8", "fp32", "teacher")
_TITLES = {
    "detection": "Detection",
    "landmarks": "Landmarks",
    "parsing": "Parsing",
    "expression": "Expression",
}
# Task -> figure, what it is, whether higher is better: what int8 is compared by.
_HEADLINES = {
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
_COUNTS = ("photos", "images", "faces", "missed", "face_free_images")
_LEARNED = {
    "detection": ("val_recall", "val_false_cells"),
    "landmarks": ("val_nme",),
    "parsing": ("val_f1",),
    "expression": ("val_accuracy", "val_balanced"),
}
_PACKAGES = ("numpy", "torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "onnxruntime",
             "opencv-python-headless", "pycocotools", "matplotlib")  # fmt: skip
# Where the teacher's figures are no measure of it: said beside the table, and left out of the plots.
_NOTES = {
    "detection": "The teacher's own boxes are what is to be found: its recall, IoU and AP are 1 by "
    "definition, so no plot shows it. Its false faces are measured.",
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the measured lies: ``results`` holds metrics.json and curves.json, ``weights`` TASK.npz."""

    results: Path
    weights: Path
    bundle: Path
    recipes: Path = _HERE / "recipes"
    logs: Path = _HERE / "logs"
    benchmarks: Path = _HERE.parent / "benchmarks" / "results"


@dataclass(frozen=True, slots=True)
class _Student:
    """What is known of one task, by kind in ``_ORDER``."""

    task: str
    metrics: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Mapping[str, Any]]
    stages: Sequence[str]
    """Recipes in the order they were trained."""


def write_report(sources: Sources, out: Path) -> Path:
    """Writes ``report.html`` and a PNG per plot into ``out``; returns the page's path.

    Raises:
        FileNotFoundError: nothing was graded yet.
    """
    metrics, curves = (_load(sources.results / name) for name in ("metrics.json", "curves.json"))
    bundle = Bundle.load(sources.bundle)
    students = [
        _Student(task, _kinds(metrics, task), _kinds(curves, task), _stages(sources.recipes, task))
        for task in _TITLES
        if task in curves and task in metrics
    ]
    out.mkdir(parents=True, exist_ok=True)
    sections = [_overview(sources, bundle, out)]
    sections += [_section(student, sources, bundle, out) for student in students]
    path = out / "report.html"
    links = {student.task: _TITLES[student.task] for student in students}
    path.write_text(page("EdgeFace students, measured", links, "".join(sections)), encoding="utf-8")
    return path


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there; `python -m quantization evaluate` writes it")
    return json.loads(path.read_text())


def _kinds(results: Mapping[str, Any], task: str) -> dict[str, Any]:
    return {kind: results[task][kind] for kind in _ORDER if kind in results[task]}


def _stages(recipes: Path, task: str) -> list[str]:
    """The recipe of a task after those it went on from (``schedule.start``)."""
    chain: list[str] = []
    name: str | None = task
    while name and name not in chain and (recipes / f"{name}.toml").exists():
        chain.insert(0, name)
        name = tomllib.loads((recipes / f"{name}.toml").read_text()).get("schedule", {}).get("start")
    return chain


def _plots(student: _Student, sources: Sources) -> Iterator[Plot]:
    task, figures = student.task, student.metrics
    of = {
        k: {key: v.get(key, float("nan")) for key in ("auc10", "ap_50", "aurc", "ece")}
        for k, v in figures.items()
    }
    drawn = [kind for kind in figures if kind != "teacher" or task not in _NOTES]
    kinds = {kind: student.curves[kind] for kind in drawn if kind in student.curves}

    def each(key: str) -> dict[str, Any]:
        return {kind: curves[key] for kind, curves in kinds.items() if key in curves}

    def figure(key: str) -> dict[str, float]:
        return {kind: values[key] for kind, values in of.items()}

    if "int8" in figures and "fp32" in figures:
        pair = figures["int8"], figures["fp32"]
        rows = [
            (w, pair[0][k], pair[1][k], up) for k, w, up in _HEADLINES[task] if k in pair[0] and k in pair[1]
        ]
        yield plots.int8_cost(task, rows)
    if each("ced"):
        yield plots.curve(task, "ced", each("ced"), figure("auc10"))
        parts = {
            kind: {p.replace("_", " "): errors[p] for p in IBUG68.parts}
            for kind, errors in each("nme_per_part").items()
        }
        yield plots.bars(f"{task}-parts", "Error per part", "NME, outer eye corners", parts)
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
    yield from _learning(task, student.stages, "", sources.logs)
    trained = _teachers(sources.recipes, task)
    for name in trained:
        short = name.removeprefix(f"{task}-") + "-"
        yield from _learning(task, _stages(sources.recipes, name), short, sources.logs)
    yield from _size(task, (task, *trained), sources)


def _subgroups(task: str, kinds: Mapping[str, Any]) -> Plot:
    """The one figure that all bins have, with how many faces are in each."""
    title = {key: what for key, what, _ in _HEADLINES[task]}
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


def _teachers(recipes: Path, task: str) -> list[str]:
    """The recipes that train teachers of a task."""
    found = []
    for path in sorted(recipes.glob("*.toml")):
        recipe = tomllib.loads(path.read_text())
        if recipe.get("task") == task and "student" in recipe and is_teacher(recipe):
            found.append(path.stem)
    return found


def _size(task: str, names: Sequence[str], sources: Sources) -> Iterator[Plot]:
    """What a network of the task reached on the tuning part, over how large it is: student and teachers."""
    key, points = _LEARNED[task][0], {}
    for name in names:
        rows, path = _log(sources.logs, name), sources.weights / f"{name}.npz"
        if rows and key in rows[-1] and path.exists():
            with np.load(path) as arrays:
                points[name] = (2.0 * sum(arrays[k].size for k in arrays.files), float(rows[-1][key]))
    if len(points) > 1:
        what = key.removeprefix("val_") + " on the tuning part, float"
        yield plots.size(task, what, points, up=key != "val_nme")


def _learning(task: str, names: Sequence[str], prefix: str, logs: Path) -> Iterator[Plot]:
    """The curves of one training's stages; ``prefix`` of their plots' names says whose."""
    stages = [(name, rows) for name in names if (rows := _log(logs, name))]
    if not stages:
        return
    known = set.intersection(*(set(row) for _, rows in stages for row in rows))
    graded = [key for key in _LEARNED[task] if key in known]
    losses = [
        key
        for key in stages[0][1][0]
        if key in known and not key.startswith("val_") and key not in {"step", "seconds", "iou", "accuracy"}
    ]
    if graded:
        yield plots.learning(task, f"{prefix}learning", stages, graded)
    if losses:
        yield plots.learning(task, f"{prefix}losses", stages, losses[:4])


def _overview(sources: Sources, bundle: Bundle, out: Path) -> str:
    sizes = [
        ("file", "bytes", "SHA-256"),
        *((a.name, f"{a.size:,}", a.sha256[:16]) for a in bundle.artifacts),
    ]
    versions = [("package", "version"), *((p, _version(p)) for p in _PACKAGES)]
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return (
        f'<p class="soft">Bundle {escape(bundle.name)} {escape(bundle.version)} ({bundle.digest[:16]}); '
        f"{escape(bundle.licence)}. Reported at {escape(_commit())}, {escape(where)}.</p>"
        f'<div class="plots">{"".join(figure(plot, out) for plot in _frontiers(sources.benchmarks))}</div>'
        + table("Sizes", sizes)
        + fold("Package versions", table("Package versions", versions))
    )


def _frontiers(benchmarks: Path) -> Iterator[Plot]:
    for path in sorted(benchmarks.glob("*.json")):
        result = json.loads(path.read_text())
        time, memory = result.get("latency_ms", {}), result.get("peak_memory_mib", {})
        points = {k: (time[k]["median"], memory[k]["median"]) for k in time if k in memory}
        if points:
            yield plots.frontier(f"frontier-{path.stem}", f"Time and memory, {path.stem}", points)


def _section(student: _Student, sources: Sources, bundle: Bundle, out: Path) -> str:
    task = student.task
    drawn = "".join(figure(plot, out) for plot in _plots(student, sources))
    noted = task in _NOTES and "teacher" in student.metrics
    return (
        f'\n<h2 id="{task}">{_TITLES[task]}</h2>'
        + _figures(student)
        + (f'<p class="soft">{escape(_NOTES[task])}</p>' if noted else "")
        + f'<div class="plots">{drawn}</div>'
        + _provenance(student, sources, bundle)
    )


def _figures(student: _Student) -> str:
    rows = [(key, key.replace("_", " "), ".0f") for key in _COUNTS]
    for key, what, up in _HEADLINES[student.task]:
        rows.append((key, f"{what} ({'higher' if up else 'lower'} is better)", ".4f"))
    kinds = student.metrics.values()
    cells = [
        (what, *(format(v[key], form) if key in v else "-" for v in kinds))
        for key, what, form in rows
        if any(key in v for v in kinds)
    ]
    return table("On the validation split, through the public API", [("", *student.metrics), *cells])


def _provenance(student: _Student, sources: Sources, bundle: Bundle) -> str:
    task, parts = student.task, []
    weights, spec = sources.weights / f"{task}.npz", bundle.models.get(task)
    have = {"fp32": hashlib.sha256(weights.read_bytes()).hexdigest()} if weights.exists() else {}
    if spec is not None:
        have |= {"int8": next(a.sha256 for a in bundle.artifacts if a.name == spec.artifact)}
        parts.append(f"<p>Terms of the weights: {escape(spec.licence)}.</p>")
    graded = {kind: curves.get("sha256", "") for kind, curves in student.curves.items()}
    rows: list[Sequence[str]] = [("graded", "SHA-256 of its file", "the file at hand")]
    for kind, digest in graded.items():
        same = "-" if kind not in have or not digest else "the same" if digest == have[kind] else "another"
        rows.append((kind, digest or "unknown", same))
    parts.append(table("What was graded", rows))
    for name in student.stages:
        text = (sources.recipes / f"{name}.toml").read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        parts.append(fold(f"Recipe {name}, SHA-256 {digest[:16]}", f"<pre>{escape(text)}</pre>"))
    if task in bundle.models and bundle.card(task):
        parts.append(fold("Model card in the bundle", f"<pre>{escape(bundle.card(task))}</pre>"))
    return "<h3>Where it comes from</h3>" + "".join(parts)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The checkout's commit, as far as there is one."""
    try:
        told = subprocess.run(
            ("git", "describe", "--always", "--dirty"), cwd=_HERE, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "an unknown commit"
    return f"commit {told.stdout.strip()}"
