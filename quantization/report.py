"""One page of all that was measured of each student, and where it comes from: figures, plots, provenance.

The page loads nothing: plots are inside it as PNG, for a light and a dark screen, and each has its numbers
as a table. It holds no image and no file name of a data set, because `evaluate` writes none.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from edgeface import Bundle

from . import trade_plots
from .measured import KINDS, Measured, Sources, measured
from .page import figure, fold, page, table
from .plots import Plot
from .provenance import commit, versions
from .student_plots import HEADLINES, NOTES, student_plots
from .verdicts import verdicts

__all__ = ["Sources", "write_report"]

_TITLES = {
    "detection": "Detection",
    "landmarks": "Landmarks",
    "parsing": "Parsing",
    "expression": "Expression",
}
_COUNTS = ("photos", "images", "faces", "missed", "face_free_images")
_PACKAGES = ("numpy", "torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "onnxruntime",
             "opencv-python-headless", "pycocotools", "matplotlib")  # fmt: skip


def write_report(sources: Sources, out: Path) -> Path:
    """Writes ``report.html`` and a PNG per plot into ``out``; returns the page's path.

    Raises:
        FileNotFoundError: nothing was graded yet.
    """
    bundle, students = Bundle.load(sources.bundle), measured(sources, tuple(_TITLES))
    out.mkdir(parents=True, exist_ok=True)
    sections = [_overview(sources, bundle, out)]
    sections += [_section(student, sources, bundle, out) for student in students]
    path = out / "report.html"
    links = {student.task: _TITLES[student.task] for student in students}
    if compared := _compared(sources, out):
        sections.append(compared)
        links["comparisons"] = "What helps"
    path.write_text(page("EdgeFace students, measured", links, "".join(sections)), encoding="utf-8")
    return path


def _overview(sources: Sources, bundle: Bundle, out: Path) -> str:
    sizes = [
        ("file", "bytes", "SHA-256"),
        *((a.name, f"{a.size:,}", a.sha256[:16]) for a in bundle.artifacts),
    ]
    packages = [("package", "version"), *versions(_PACKAGES).items()]
    made_at = f"commit {told}" if (told := commit()) else "an unknown commit"
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return (
        f'<p class="soft">Bundle {escape(bundle.name)} {escape(bundle.version)} ({bundle.digest[:16]}); '
        f"{escape(bundle.licence)}. Reported at {escape(made_at)}, {escape(where)}.</p>"
        f'<div class="plots">{"".join(figure(plot, out) for plot in _frontiers(sources.benchmarks))}</div>'
        + table("Sizes", sizes)
        + fold("Package versions", table("Package versions", packages))
    )


def _frontiers(benchmarks: Path) -> Iterator[Plot]:
    for path in sorted(benchmarks.glob("*.json")):
        result = json.loads(path.read_text())
        time, memory = result.get("latency_ms", {}), result.get("peak_memory_mib", {})
        points = {k: (time[k]["median"], memory[k]["median"]) for k in time if k in memory}
        if points:
            yield trade_plots.frontier(f"frontier-{path.stem}", f"Time and memory, {path.stem}", points)


def _compared(sources: Sources, out: Path) -> str:
    """What `compare` found, if anything was compared."""
    rows = verdicts(sources.results / "comparisons")
    if not rows:
        return ""
    plot = trade_plots.differences(rows)
    steps = [row.steps for row in rows]
    return (
        '\n<h2 id="comparisons">What helps</h2>'
        '<p class="soft">Each variant was trained beside its base on the same seeds '
        f"({min(row.seeds for row in rows)} at least), for {min(steps):,} to {max(steps):,} steps, and "
        "graded on the tuning part. The interval is of the mean of the paired differences; where it holds 0, "
        "help is not shown. A short training with few seeds shows large differences alone.</p>"
        f'<div class="plots">{figure(plot, out)}</div>'
    )


def _section(student: Measured, sources: Sources, bundle: Bundle, out: Path) -> str:
    task = student.task
    drawn = "".join(figure(plot, out) for plot in student_plots(student, sources, bundle))
    noted = task in NOTES and "teacher" in student.metrics
    return (
        f'\n<h2 id="{task}">{_TITLES[task]}</h2>'
        + _figures(student)
        + (f'<p class="soft">{escape(NOTES[task])}</p>' if noted else "")
        + f'<div class="plots">{drawn}</div>'
        + _provenance(student, sources, bundle)
    )


def _figures(student: Measured) -> str:
    rows = [(key, key.replace("_", " "), ".0f") for key in _COUNTS]
    for key, what, up in HEADLINES[student.task]:
        rows.append((key, f"{what} ({'higher' if up else 'lower'} is better)", ".4f"))
    kinds = student.metrics.values()
    cells = [
        (what, *(format(v[key], form) if key in v else "-" for v in kinds))
        for key, what, form in rows
        if any(key in v for v in kinds)
    ]
    return table("On the validation split, through the public API", [("", *student.metrics), *cells])


def _provenance(student: Measured, sources: Sources, bundle: Bundle) -> str:
    task, parts = student.task, []
    weights, spec = sources.weights / f"{task}.npz", bundle.models.get(task)
    files = {"fp32": weights} | {
        kind: sources.weights / f"{kind}.npz" for kind in student.curves if kind not in KINDS
    }
    have = {
        kind: hashlib.sha256(file.read_bytes()).hexdigest() for kind, file in files.items() if file.exists()
    }
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
