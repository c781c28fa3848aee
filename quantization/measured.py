"""What was measured of each student, and where it lies: figures, curves, logs, the files themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib

from edgeface import Bundle

from .recipe import is_teacher
from .taught import weights_bytes

__all__ = ["KINDS", "Measured", "Sources", "measured", "size_of", "stages"]

_HERE = Path(__file__).parent
KINDS = ("int8", "fp32", "teacher")  # and then the teachers that were trained here, by name


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
class Measured:
    """What is known of one task, by kind: `KINDS`, and the teachers trained here by their recipes' names."""

    task: str
    metrics: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Mapping[str, Any]]
    stages: Sequence[str]
    """Recipes in the order they were trained."""
    taught: Sequence[str]
    """Recipes of the teachers that are trained here."""


def measured(sources: Sources, tasks: Sequence[str]) -> list[Measured]:
    """What is known of those of the tasks that were graded.

    Raises:
        FileNotFoundError: nothing was graded yet.
    """
    metrics, curves = (_load(sources.results / name) for name in ("metrics.json", "curves.json"))
    found = []
    for task in (task for task in tasks if task in curves and task in metrics):
        taught = _teachers(sources.recipes, task)
        told = (_kinds(results[task], (*KINDS, *taught)) for results in (metrics, curves))
        found.append(Measured(task, *told, stages(sources.recipes, task), taught))
    return found


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there; `python -m quantization evaluate` writes it")
    return json.loads(path.read_text())


def _kinds(results: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    return {kind: results[kind] for kind in kinds if kind in results}


def stages(recipes: Path, task: str) -> list[str]:
    """The recipe of a task after those it went on from (``schedule.start``)."""
    chain: list[str] = []
    name: str | None = task
    while name and name not in chain and (recipes / f"{name}.toml").exists():
        chain.insert(0, name)
        name = tomllib.loads((recipes / f"{name}.toml").read_text()).get("schedule", {}).get("start")
    return chain


def _teachers(recipes: Path, task: str) -> list[str]:
    """The recipes that train teachers of a task."""
    found = []
    for path in sorted(recipes.glob("*.toml")):
        recipe = tomllib.loads(path.read_text())
        if recipe.get("task") == task and "student" in recipe and is_teacher(recipe):
            found.append(path.stem)
    return found


def size_of(student: Measured, kind: str, sources: Sources, bundle: Bundle) -> int:
    """Bytes of a network: of the file at hand, or as it was when it was graded; 0 where nobody knows."""
    task = student.task
    if kind == "int8":
        spec = bundle.models.get(task)
        return next((a.size for a in bundle.artifacts if spec and a.name == spec.artifact), 0)
    weights = sources.weights / f"{task if kind == 'fp32' else kind}.npz"
    return weights_bytes(weights) if weights.exists() else int(student.curves.get(kind, {}).get("bytes", 0))
