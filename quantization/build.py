"""From trained weights to the bundle: each student quantised, described, carded, and put into one file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from .pack import Student, build_bundle, export_student
from .tasks import RECIPES, StudentTask, load_recipe, load_task
from .training import load_weights

__all__ = ["build", "load_networks"]

_CARDS = Path(__file__).parent / "cards"
_VERSION = "0.1.0"
# What the manifest repeats of the metrics file: the figures that a user chooses by.
_HEADLINES = {
    "detection": ("recall_50", "recall_70", "false_positives_per_image"),
    "landmarks": ("nme", "fr10", "auc10"),
    "parsing": ("mean_f1",),
    "expression": ("accuracy", "balanced_accuracy", "ece"),
}


def load_networks(weights: Path, tasks: Iterable[str]) -> dict[str, nn.Module]:
    """The trained float networks as they are deployed, by task."""
    networks = {}
    for task in tasks:
        network = load_weights(_network(load_recipe(RECIPES / f"{task}.toml")), weights / f"{task}.npz")
        networks[task] = network.deployed() if hasattr(network, "deployed") else network
    return networks


def _network(recipe: dict[str, Any]) -> nn.Module:
    """The untrained network of a recipe; needs no data."""
    student, task = recipe["student"], recipe["task"]
    if task == "expression":
        from .students.expression import ExpressionNet

        return ExpressionNet(student["widths"])
    if task == "landmarks":
        from .students.landmarks import LandmarkNet

        return LandmarkNet(student["widths"], int(student["code"]))
    if task == "parsing":
        from .students.parsing import ParsingNet

        return ParsingNet(student["widths"], student["decoder"])
    from .students.detection import DetectionNet

    return DetectionNet(student["widths"], student["blocks"], int(student["neck"]))


def build(recipes: Sequence[Path], data: Path, labels: Path, weights: Path, metrics: Path) -> bytes:
    """The bundle of the recipes' students; figures come from ``metrics`` (by ``evaluate``), if there."""
    figures = json.loads(metrics.read_text()) if metrics.exists() else {}
    students = []
    for path in recipes:
        recipe = load_recipe(path)
        task = load_task(recipe, data, labels)
        students.append(_student(recipe, task, weights, figures.get(recipe["task"], {})))
    return build_bundle(
        students,
        name="edgeface-students",
        version=_VERSION,
        created_by="python -m quantization pack",
        licence="weights: research only, see each model's card; code: Apache-2.0",
    )


def _student(
    recipe: dict[str, Any], task: StudentTask, weights: Path, figures: dict[str, dict[str, float]]
) -> Student:
    name, deploy = recipe["task"], recipe["deploy"]
    trained = load_weights(_network(recipe), weights / f"{name}.npz")
    network = trained.deployed() if hasattr(trained, "deployed") else trained
    exported = export_student(
        network,
        type(network).outputs,
        task.calibration(int(deploy["calibration"])),
        min_sqnr_db=float(deploy.get("min_sqnr_db", 10.0)),
    )
    int8 = figures.get("int8", {})
    return Student(
        task=name,
        exported=exported,
        crop=deploy.get("crop"),
        head=deploy["head"] | _fitted(name, task, trained),
        labels=deploy.get("labels"),
        licence=deploy["licence"],
        description=deploy["description"],
        card=_card(name, figures, len(exported.tflite)),
        metrics={k: round(int8[k], 4) for k in _HEADLINES[name] if k in int8},
    )


def _fitted(name: str, task: Any, network: nn.Module) -> dict[str, Any]:
    """What a head needs that training found: the mean shape, the temperature."""
    if name == "landmarks":
        return {
            "mean_shape": [
                [round(float(v), 5) for v in point]
                for point in task.mean_shape + task.annotation_offset(network)
            ]
        }
    if name == "expression":
        return {"temperature": round(float(task.validate(network)["temperature"]), 3)}
    return {}


def _card(name: str, figures: dict[str, dict[str, float]], size: int) -> str:
    """The card's text with its table of figures filled in."""
    text = (_CARDS / f"{name}.md").read_text()
    rows = ["| figure | int8 | fp32 |", "|---|---|---|"]
    fp32 = figures.get("fp32", {})
    rows += [
        f"| {k} | {v:.4g} | {fp32[k]:.4g} |" if k in fp32 else f"| {k} | {v:.4g} | |"
        for k, v in figures.get("int8", {}).items()
    ]
    return text.replace("{figures}", "\n".join(rows)).replace("{size}", f"{size:,} bytes")
