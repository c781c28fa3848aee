"""The README's tables, written from what was measured: metrics file, bundle and benchmark results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgeface import Bundle

__all__ = ["rewrite"]

# Task, figure, what the README calls it, in percent or as it is.
_FIGURES = (
    ("detection", "recall_50", "faces of two teachers found, IoU >= 0.5", True),
    ("detection", "recall_50_any_teacher", "faces of YuNet alone found, IoU >= 0.5", True),
    ("detection", "recall_70", "faces of two teachers found, IoU >= 0.7", True),
    ("detection", "false_positives_per_image", "false faces per face-free picture", False),
    ("landmarks", "nme", "NME by the outer eye corners", True),
    ("landmarks", "missed", "faces missed by the detector", False),
    ("landmarks", "fr10", "faces with NME above 10 %", True),
    ("parsing", "mean_f1", "mean F1 of 18 parts", True),
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


def rewrite(readme: str, metrics: Path, bundle: Path, benchmark: Path) -> str:
    """The README with the text between ``<!-- table: NAME -->`` and ``<!-- /table -->`` made anew."""
    figures = json.loads(metrics.read_text())
    tables = {
        "accuracy": _accuracy(figures),
        "size": _size(Bundle.load(bundle)),
        "latency": _latency(json.loads(benchmark.read_text())),
    }
    for name, rows in tables.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- /table -->)", re.DOTALL)
        readme, count = pattern.subn(lambda m, rows=rows: m[1] + "\n".join(rows) + "\n" + m[2], readme)
        if count != 1:
            raise ValueError(f"the README has {count} places for the table {name!r}; it needs exactly one")
    return readme


def _accuracy(figures: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    rows = ["| student | figure | int8 | fp32 | graded on |", "|---|---|---|---|---|"]
    for task, key, title, percent in _FIGURES:
        values = [figures[task][kind][key] for kind in ("int8", "fp32")]
        shown = [f"{100 * v:.2f} %" if percent else f"{v:.3f}" for v in values]
        rows.append(f"| {task} | {title} | {shown[0]} | {shown[1]} | {_DATA[task]} |")
    return rows


def _size(bundle: Bundle) -> list[str]:
    sizes = {a.name: a.size for a in bundle.artifacts}
    rows = ["| student | input | file |", "|---|---|---|"]
    for task in _DATA:
        spec = bundle.model(task)
        rows.append(
            f"| {task} | {spec.input.width} x {spec.input.height} | {sizes[spec.artifact] / 1e6:.2f} MB |"
        )
    return [*rows, f"| all, with their cards | | {sum(sizes.values()) / 1e6:.2f} MB |"]


def _latency(result: dict[str, Any]) -> list[str]:
    rows = ["| EdgeFace | against | ratio | 95 % interval |", "|---|---|---|---|"]
    for key, what, against in _RATIOS:
        r = result["ratios"][key]
        rows.append(f"| {what} | {against} | **{r['value']:.2f}** | {r['low']:.2f} to {r['high']:.2f} |")
    return rows
