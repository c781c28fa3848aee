"""What each student is taught and graded on: its batches, loss and validation figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..recipe import RECIPES, TASKS, load_recipe
from ..training import Task

__all__ = ["RECIPES", "TASKS", "StudentTask", "load_recipe", "load_task"]


class StudentTask(Task, Protocol):
    """A task that can also be packed: it gives the crops a quantiser calibrates on."""

    def calibration(self, count: int) -> Iterator[NDArray[np.float32]]: ...


def load_task(
    recipe: dict[str, Any],
    data: Path,
    labels: Path,
    teachers: Path | None = None,
    asked: Mapping[str, tuple[Mapping[str, Any], Path]] | None = None,
) -> StudentTask:
    """The task of a recipe over the data; ``labels`` is what ``python -m quantization label`` wrote.

    ``teachers`` holds the file that an ``encoder`` starts from; only a teacher's recipe has one. ``asked``
    are recipe and weights of the teachers that ``student.losses`` ask, by name; what only looks at the data
    does without.
    """
    settings = recipe["student"] | {
        "crop": recipe["deploy"].get("crop"),
        "teachers": teachers,
        "asked": asked or {},
    }
    if recipe["task"] == "expression":
        from .expression import ExpressionTask

        return ExpressionTask(data, settings)
    if recipe["task"] == "landmarks":
        from .landmarks import LandmarkTask, LandmarkTeacherTask

        return (LandmarkTeacherTask if "encoder" in settings else LandmarkTask)(data, labels, settings)
    if recipe["task"] == "parsing":
        from .parsing import ParsingTask, ParsingTeacherTask

        return (ParsingTeacherTask if "encoder" in settings else ParsingTask)(data, labels, settings)
    from .detection import DetectionTask

    return DetectionTask(data, labels, settings)
