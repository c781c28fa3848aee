"""Recipes: the reader that holds a file to all that one may say (:mod:`.schema`), and what it says.

A recipe is TOML: the task, and tables. ``[student]`` is the network, its losses and its augmentation;
``[schedule]`` the training; ``[deploy]`` calibration, crop and what the manifest says; ``[data]`` pins the
data or names shards to learn from (:mod:`.tasks.shards`), ``[seen]`` names what else was learned from, for
the terms; ``[targets]`` are told of and never stop anything, ``[gates]`` stop the chain. ``teacher`` names
the recipe beside it, or recipes, whose network draws the maps of ``student.taught`` and is asked about every
batch that ``student.losses`` weighs; ``schedule.start`` the one beside it whose weights this one begins with.
A recipe with ``role = "teacher"`` or ``student.encoder`` trains a teacher.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomllib

from .keys import Key, RecipeError, check_table, holds
from .schema import GRID_SIZES, LABELLED, SETS, SHARE, STUDENTS, TASKS, schema

__all__ = [
    "LABELLED",
    "RECIPES",
    "SETS",
    "TASKS",
    "Key",
    "RecipeError",
    "asked",
    "check_lists",
    "check_recipe",
    "check_table",
    "flat",
    "holds",
    "is_teacher",
    "load_recipe",
    "schema",
    "sets_of",
    "shards_held_out",
    "shards_of",
    "shards_share",
    "teachers_of",
    "teaches",
]

RECIPES = Path(__file__).parent / "recipes"

# Keys of student.losses that need no teacher trained here.
_ASKS_NOBODY = {"blendshapes", "mirror", "temperature", "visibility", "yunet"}


def load_recipe(path: Path) -> dict[str, Any]:
    """Reads a recipe and holds it to :func:`schema`.

    Raises:
        RecipeError: it is no TOML, or a key is unknown, missing, or not what may stand there.
    """
    try:
        recipe = tomllib.loads(path.read_text())
    except OSError as error:
        raise RecipeError(f"{path}: not readable ({error.strerror}); name a recipe's .toml file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: no TOML: {error}") from None
    check_recipe(recipe, path)
    return recipe


def check_recipe(recipe: Mapping[str, Any], path: Path) -> None:
    """Holds a recipe, read from ``path`` or made of that one, to :func:`schema`.

    Raises:
        RecipeError: a key is unknown, missing, or not what may stand there.
    """
    task = recipe.get("task")
    if task not in TASKS:
        raise RecipeError(f"{path}: task is {task!r}; write one of {', '.join(TASKS)}")
    kind = task
    if recipe.get("role") == "teacher" or "encoder" in recipe.get("student", {}):
        kind = f"{task} teacher"
        if "encoder" in recipe.get("student", {}) and "encoder" not in STUDENTS.get(kind, {}):
            raise RecipeError(f"{path}: student.encoder: only teachers of landmarks and parsing have one")
        if kind not in STUDENTS:
            known = ", ".join(name.removesuffix(" teacher") for name in STUDENTS if " " in name)
            raise RecipeError(f"{path}: role: no teacher for {task} is trained here, only for {known}")
    try:
        check_table("", recipe, schema(kind))
        _check_together(recipe)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def is_teacher(recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe trains a teacher."""
    return recipe.get("role") == "teacher" or "encoder" in recipe["student"]


def teaches(recipe: Mapping[str, Any]) -> bool:
    """Whether students can ask its network: a teacher, or a student of expression or landmarks."""
    return is_teacher(recipe) or recipe["task"] in ("expression", "landmarks")


def teachers_of(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """The recipes, beside this one, that train its teachers."""
    named = recipe.get("teacher", ())
    return (named,) if isinstance(named, str) else tuple(named)


def asked(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of them that are asked about faces: all, where a weight of ``student.losses`` is not 0."""
    return teachers_of(recipe) if _asks(recipe["student"]) else ()


def _asks(student: Mapping[str, Any]) -> bool:
    losses = student.get("losses", {})
    return bool(student.get("refined")) or any(losses[name] for name in losses if name not in _ASKS_NOBODY)


def sets_of(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """The data sets that training, calibration and grading of the recipe read, in the order of `SETS`."""
    task, student = recipe["task"], recipe["student"]
    if shards_share(recipe) == 1:
        return ()
    if task == "expression":
        return ("ferplus",)
    wanted = {"celebamask", *student.get("taught", ())} if task == "parsing" else set(LABELLED)
    return tuple(name for name in SETS if name in wanted)


def shards_of(recipe: Mapping[str, Any]) -> tuple[Path, ...]:
    """The shards, files or folders of them, that the recipe learns from."""
    return tuple(Path(path).expanduser() for path in recipe.get("data", {}).get("shards", ()))


def shards_held_out(recipe: Mapping[str, Any]) -> float:
    """The share of the shards' samples that does not train."""
    return float(recipe.get("data", {}).get("validation", 0.1))


def shards_share(recipe: Mapping[str, Any]) -> float:
    """How much of what is drawn comes from the shards: at 1 no other data is read, at 0 there are none."""
    data = recipe.get("data", {})
    return float(data.get("share", 1.0)) if data.get("shards") else 0.0


def check_lists(recipe: Mapping[str, Any], path: Path, folder: Path) -> None:
    """Holds the split lists in ``folder`` to the digests that ``data.lists`` pins.

    Raises:
        RecipeError: a list is another one.
    """
    for name, pinned in recipe.get("data", {}).get("lists", {}).items():
        found = hashlib.sha256((folder / f"{name}.csv").read_bytes()).hexdigest()
        if len(pinned) < 8 or not found.startswith(pinned):
            raise RecipeError(
                f"{path}: data.lists.{name} is {pinned!r}, but the SHA-256 of {name}.csv is {found[:16]}: "
                "bring the list that the recipe was written for, or write the new digest (8 digits or more)"
            )


def flat(recipe: Mapping[str, Any], *places: str) -> dict[str, Any]:
    """``{"schedule.rate": 0.002, ...}`` of the keys at and below the named places, as plain JSON values."""
    found: dict[str, Any] = {}
    for place in places:
        value: Any = recipe
        for part in place.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            found |= flat(recipe, *(f"{place}.{name}" for name in value))
        elif value is not None:
            found[place] = value
    return found


def _check_together(recipe: Mapping[str, Any]) -> None:
    """What single keys cannot say."""
    student, data = recipe["student"], recipe.get("data", {})
    if recipe["schedule"].get("quantised") and "start" not in recipe["schedule"]:
        raise RecipeError("schedule.start is missing beside schedule.quantised; write the float recipe there")
    for what in ("taught", "rendered", "album"):
        if student.get(what) and f"{what}_share" not in student:
            raise RecipeError(f"student.{what}_share is missing beside student.{what}; write {SHARE}")
    if "teacher" in recipe and not any(key in student for key in ("taught", "losses", "refined")):
        raise RecipeError("teacher: it draws the maps of student.taught, which is missing; no losses ask it")
    if "teacher" not in recipe and _asks(student):
        key = "refined" if student.get("refined") else "losses"
        raise RecipeError(f"teacher is missing beside student.{key}; write the recipe that trains it")
    stages = len(student.get("widths", ())) - 1
    for key in ("blocks", "expand") if recipe["task"] == "expression" else ():
        if len(student.get(key, [1] * stages)) != stages:
            raise RecipeError(f"student.{key} is {student[key]}; write {stages}, one less than the widths")
    if recipe["task"] == "landmarks" and "encoder" not in student:
        _check_grid(student)
    if student.get("losses", {}).get("blendshapes") and not student.get("blendshapes"):
        raise RecipeError("student.losses.blendshapes: there are none; write student.blendshapes = true, too")
    if "fold" in student:
        _check_fold(recipe)
    _check_shards(recipe)
    read = sets_of(recipe)
    if "sets" in data and set(data["sets"]) != set(read):
        raise RecipeError(f"data.sets is {data['sets']}; the task reads {', '.join(read)}")
    for name in data.get("lists", {}):
        if name not in read:
            raise RecipeError(f"data.lists.{name}: the task reads {', '.join(read)}")


def _check_grid(student: Mapping[str, Any]) -> None:
    """One convolution reads all of a landmark student's last map, which must have its size."""
    grid, size = student.get("grid", 4), student["size"]
    if grid not in GRID_SIZES:
        raise RecipeError(f"student.grid is {grid}; write {' or '.join(map(str, GRID_SIZES))}")
    sizes = GRID_SIZES[grid]
    if size not in sizes:
        raise RecipeError(
            f"student.size is {size}; write a whole number of at least {sizes[0]} and at most {sizes[-1]}: "
            f"the network reads a map of {grid} x {grid} cells"
        )


def _check_fold(recipe: Mapping[str, Any]) -> None:
    """Whoever leaves a fold out must not have heard of it in another way either."""
    fold, folds = recipe["student"]["fold"]
    if folds < 2 or fold >= folds:
        raise RecipeError(
            f"student.fold is [{fold}, {folds}]; write [k, n] to leave out fold k of n: n of at least 2, "
            "and k from 0 to n - 1"
        )
    if "shards" in recipe.get("data", {}):
        raise RecipeError(
            "student.fold: folds are of the built-in data, and data.shards are read: leave one of them out"
        )
    heard = {"schedule.start": recipe["schedule"].get("start"), "teacher": recipe.get("teacher")}
    for name, value in heard.items():
        if value:
            raise RecipeError(
                f"{name} is {value!r} beside student.fold: it may have learned from the images that are left "
                "out; begin anew and ask nobody"
            )


def _check_shards(recipe: Mapping[str, Any]) -> None:
    """Shards alone have nothing of what the built-in data sets' own labels are read for."""
    task, student, data = recipe["task"], recipe["student"], recipe.get("data", {})
    if "shards" not in data:
        for name in ("validation", "share", "lossy", "agreement"):
            if name in data:
                raise RecipeError(f"data.{name} is of shards: write data.shards beside it, or leave it out")
    if shards_share(recipe) < 1:
        if task == "landmarks" and "share" not in student:
            raise RecipeError("student.share is missing; write a table")
        return
    built_in = {
        "student.taught": student.get("taught"),
        "student.album": student.get("album"),
        "student.share": student.get("share"),
        "student.also_validation": student.get("also_validation"),
        "student.scenes.turned": student.get("scenes", {}).get("turned"),
        "deploy.false_per_window": recipe["deploy"].get("false_per_window"),
        "deploy.faces_lost": recipe["deploy"].get("faces_lost"),
    }
    for name, value in built_in.items():
        if value:
            raise RecipeError(
                f"{name} is of the built-in data sets, and data.shards alone are read: leave it out, or "
                "write data.share below 1"
            )
