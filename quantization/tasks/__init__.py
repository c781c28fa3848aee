"""What each student is taught and graded on: its batches, loss and validation figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..recipe import RECIPES, TASKS, RecipeError, load_recipe, sets_of
from ..training import Task
from .shards import Shards

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
    say: Callable[[str], None] = lambda _: None,
) -> StudentTask:
    """The task of a recipe over the data; ``labels`` is what ``python -m quantization label`` wrote.

    ``teachers`` holds the file that an ``encoder`` starts from; only a teacher's recipe has one. ``asked``
    are recipe and weights of the teachers that ``student.losses`` ask, by name; what only looks at the data
    does without. ``say`` is told what the recipe's shards gave, and what of them was left out.

    Raises:
        RecipeError: the recipe reads built-in data sets, and there is no such folder.
        DataSetError: too much of the shards is broken, or they lack what the task learns.
    """
    if sets_of(recipe) and not data.is_dir():
        raise RecipeError(f"{data}: there is no such folder of data sets; say where it is: --data")
    shards = Shards.of(recipe)
    task = _load(recipe, data, labels, teachers, asked, shards)
    for line in shards.told if shards else ():
        say(line)
    return task


def _load(
    recipe: dict[str, Any],
    data: Path,
    labels: Path,
    teachers: Path | None,
    asked: Mapping[str, tuple[Mapping[str, Any], Path]] | None,
    shards: Shards | None,
) -> StudentTask:
    settings = recipe["student"] | {
        "crop": recipe["deploy"].get("crop"),
        "teachers": teachers,
        "asked": asked or {},
        "labels": recipe["deploy"].get("labels"),
        "shards": shards,
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
