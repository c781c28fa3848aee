"""Recipes: all that one may say, in one table, and the reader that holds a file to it.

::

    RecipeError(ValueError)    names the file, the key, and what may be written there

A recipe is TOML: the task, and tables. ``[student]`` is the network, its losses and its augmentation;
``[schedule]`` the training; ``[deploy]`` calibration, crop and what the manifest says; ``[data]`` pins the
data, ``[seen]`` names what else was learned from, for the terms; ``[targets]`` are told of and never stop
anything, ``[gates]`` stop the chain. ``teacher`` names the recipe beside it, or recipes, whose network draws
the maps of ``student.taught`` and is asked about every batch that ``student.losses`` weighs;
``schedule.start`` the one beside it whose weights this one begins with. A recipe with ``role = "teacher"``
or ``student.encoder`` trains a teacher.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib

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
    "teachers_of",
]

TASKS = ("detection", "landmarks", "parsing", "expression")
RECIPES = Path(__file__).parent / "recipes"
LABELLED = ("lfpw", "celebamask", "celeba_hq", "utkface", "youtube_faces")
SETS = (*LABELLED, "ferplus")

_BOUND = re.compile(r"\s*(<=|>=)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*")
_ASKS_NOBODY = {"temperature", "yunet"}  # keys of student.losses that need no teacher trained here
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


class RecipeError(ValueError):
    """A recipe cannot be used as it is; the message names the file, the key and what may be written there."""


@dataclass(frozen=True, slots=True)
class Key:
    """What may stand under a key: a kind of value, its range, the words allowed, what is inside."""

    kind: str
    """``text``, ``whole``, ``number``, ``flag``, ``bound``, ``names``, ``list`` or ``table``."""
    required: bool = False
    least: float = -math.inf
    most: float = math.inf
    allowed: tuple[str, ...] = ()
    """Of a text the words, of a table the names."""
    of: Key | Mapping[str, Key] | None = None
    """Of a list every item; of a table its keys, or what stands under any name; None: anything."""
    count: int | None = None
    """Of a list: how many items."""

    def __str__(self) -> str:
        if self.kind == "list":
            many = "" if self.count is None else f"{self.count} of: "
            return f"a list: {many}{self.of}"
        if self.kind == "text" and self.allowed:
            return f"one of {', '.join(self.allowed)}"
        if self.kind == "bound":
            return '">= NUMBER" or "<= NUMBER"'
        if self.kind == "names":
            return "a name or a list of names"
        said = {"whole": "a whole number", "flag": "true or false"}.get(self.kind, f"a {self.kind}")
        low = f" of at least {self.least:g}" if self.least > -math.inf else ""
        high = f"{' and' if low else ' of'} at most {self.most:g}" if self.most < math.inf else ""
        return said + low + high


def _need(key: Key) -> Key:
    return Key(key.kind, True, key.least, key.most, key.allowed, key.of, key.count)


_SHARE, _AMOUNT = Key("number", least=0, most=1), Key("number", least=0)
_COUNT, _TEXT, _FLAG = Key("whole", least=1), Key("text"), Key("flag")
_WIDTHS = Key("list", True, of=_COUNT)
_TEMPERATURE = Key("number", least=0.1)
_MIX = (
    "photo",
    "mosaic",
    "pasted",
    "natural",
    "bystander",
    "largest",
    "smallest",
    "soft",
    "strength",
    "hard",
    "squeezed",
    "couples",
    "written",
    "decoys",
    "beside",
)
_SCENES = dict.fromkeys(_MIX, _AMOUNT) | dict.fromkeys(("rendered", "turned"), Key("whole", least=0))
_CROP = {
    "scale": Key("number", True, least=0.1),
    "shift": Key("list", True, of=Key("number", least=-2, most=2), count=2),
    "align_above": Key("number", least=0, most=180),
}
_PARSING = {
    "size": _need(_COUNT),
    "sizes": Key("list", of=_COUNT),
    "decoder": _WIDTHS,
    "rare": _need(_AMOUNT),
    "turned": _need(_SHARE),
    "strength": _need(_AMOUNT),
    "dice": _need(_AMOUNT),
    "taught": Key("list", of=Key("text", allowed=LABELLED)),
    "taught_share": _SHARE,
}
_LANDMARKS = {
    "size": _need(_COUNT),
    "code": _need(_COUNT),
    "negatives": _need(_SHARE),
    "turned": _need(_SHARE),
    "covered": _need(_SHARE),
    "strength": _need(_AMOUNT),
    "share": Key("table", True, of=dict.fromkeys(LABELLED, _SHARE)),
    "also_validation": Key("list", of=Key("text", allowed=LABELLED[1:])),  # LFPW's grades this very task
    "rendered": _COUNT,
    "rendered_share": _SHARE,
}
_DETECTION = {
    "width": _need(_COUNT),
    "height": _need(_COUNT),
    "widths": _WIDTHS,
    "blocks": _WIDTHS,
    "neck": _need(_COUNT),
    "quality_floor": _need(_SHARE),
    "scenes": Key("table", True, of=_SCENES),
    "album": _COUNT,
    "album_share": _SHARE,
    "smallest": _need(_AMOUNT),
}
_STUDENTS: Mapping[str, Mapping[str, Key]] = {
    "detection": _DETECTION | {"losses": Key("table", of={"scores": _AMOUNT, "yunet": _AMOUNT})},
    "detection teacher": _DETECTION,
    "landmarks": {"widths": _WIDTHS, **_LANDMARKS, "losses": Key("table", of={"kd": _AMOUNT})},
    "landmarks teacher": {
        "encoder": _need(_TEXT),
        "widths": Key("list", True, of=_COUNT, count=3),
        "softened": _SHARE,
        **_LANDMARKS,
    },
    "parsing": {"widths": _WIDTHS, **_PARSING, "losses": Key("table", of={"features": _AMOUNT})},
    "parsing teacher": {"encoder": _need(_TEXT), **_PARSING},
    "expression": {
        "widths": _WIDTHS,
        "balance": _need(_AMOUNT),
        "losses": Key("table", of={"soft": _AMOUNT, "decoupled": _AMOUNT, "temperature": _TEMPERATURE}),
    },
    "expression teacher": {"widths": _WIDTHS, "blocks": _WIDTHS, "balance": _need(_AMOUNT)},
}
_SCHEDULE = {
    "steps": _need(_COUNT),
    "batch": _need(_COUNT),
    "rate": Key("number", True, least=0),
    "weight_decay": _AMOUNT,
    "warmup": Key("whole", least=0),
    "ema": _SHARE,
    "seed": Key("whole", least=0),
    "validate_every": _COUNT,
    "workers": _COUNT,
    "start": _TEXT,
    "encoder_rate": _AMOUNT,
    "quantised": _FLAG,
}
_DEPLOY = {
    "licence": _TEXT,
    "labels": _TEXT,
    "description": _need(_TEXT),
    "calibration": _need(_COUNT),
    "percentile": Key("number", least=50, most=100),
    "false_per_window": _AMOUNT,
    "min_sqnr_db": Key("number"),
    "precision": Key("text", allowed=("int8",)),
    "crop": Key("table", of=_CROP),
    "head": Key("table", True),
}


def schema(kind: str) -> Mapping[str, Key]:
    """The keys of a recipe for one of `TASKS`, or for the teacher of one, as ``parsing teacher``."""
    deploy = {} if kind.endswith(" teacher") else dict(_DEPLOY)
    if not kind.startswith("detection"):
        deploy["crop"] = Key("table", True, of=_CROP)
    return {
        "task": Key("text", True, allowed=TASKS),
        "role": Key("text", allowed=("teacher", "student")),
        "teacher": Key("names"),
        "student": Key("table", True, of=_STUDENTS[kind]),
        "schedule": Key("table", True, of=_SCHEDULE),
        "deploy": Key("table", True, of=deploy),
        "data": Key(
            "table",
            of={
                "sets": Key("list", of=Key("text", allowed=SETS)),
                "lists": Key("table", of=dict.fromkeys(SETS, _TEXT)),
            },
        ),
        "seen": Key("table", of={"data": Key("list", of=_TEXT), "teachers": Key("list", of=_TEXT)}),
        "targets": Key("table", of=Key("bound")),
        "gates": Key(
            "table",
            of={"edgetpu": _FLAG, "parity": _FLAG, "lost": _FLAG, "figures": Key("table", of=Key("bound"))},
        ),
    }


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
        if "encoder" in recipe.get("student", {}) and "encoder" not in _STUDENTS.get(kind, {}):
            raise RecipeError(f"{path}: student.encoder: only teachers of landmarks and parsing have one")
        if kind not in _STUDENTS:
            known = ", ".join(name.removesuffix(" teacher") for name in _STUDENTS if " " in name)
            raise RecipeError(f"{path}: role: no teacher for {task} is trained here, only for {known}")
    try:
        check_table("", recipe, schema(kind))
        _check_together(recipe)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def is_teacher(recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe trains a teacher."""
    return recipe.get("role") == "teacher" or "encoder" in recipe["student"]


def teachers_of(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """The recipes, beside this one, that train its teachers."""
    named = recipe.get("teacher", ())
    return (named,) if isinstance(named, str) else tuple(named)


def asked(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of them that are asked about every batch: all, where a weight of ``student.losses`` is not 0."""
    losses = recipe["student"].get("losses", {})
    return teachers_of(recipe) if any(losses[name] for name in losses if name not in _ASKS_NOBODY) else ()


def sets_of(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """The data sets that training, calibration and grading of the recipe read, in the order of `SETS`."""
    task, student = recipe["task"], recipe["student"]
    if task == "expression":
        return ("ferplus",)
    wanted = {"celebamask", *student.get("taught", ())} if task == "parsing" else set(LABELLED)
    return tuple(name for name in SETS if name in wanted)


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


def holds(value: float, bound: str) -> bool:
    """Whether a figure keeps a bound such as ``">= 0.8"``; NaN keeps none."""
    matched = _BOUND.fullmatch(bound)
    if matched is None:
        raise RecipeError(f"{bound!r} is no bound; write {Key('bound')}")
    return _COMPARE[matched[1]](value, float(matched[2]))


def check_table(place: str, table: Mapping[str, Any], keys: Mapping[str, Key]) -> None:
    """Holds what stands under ``place`` (a dotted key, or nothing) of a TOML file to ``keys``.

    Raises:
        RecipeError: a key is unknown, missing, or not what may stand there.
    """
    for name, value in table.items():
        dotted = f"{place}.{name}" if place else name
        if name not in keys:
            near = difflib.get_close_matches(name, keys, 1)
            hint = f"did you mean {near[0]}?" if near else f"write one of {', '.join(keys)}"
            raise RecipeError(f"{dotted}: no such key; {hint}")
        _check(dotted, value, keys[name])
    for name, key in keys.items():
        if key.required and name not in table:
            raise RecipeError(f"{place}.{name} is missing; write {key}" if place else f"{name}: write {key}")


def _check(place: str, value: Any, key: Key) -> None:
    if not _is(value, key):
        raise RecipeError(f"{place} is {value!r}; write {key}")
    if key.kind == "list" and isinstance(key.of, Key):
        for i, item in enumerate(value):
            _check(f"{place}[{i}]", item, key.of)
    elif key.kind == "table" and isinstance(key.of, Key):
        for name, item in value.items():
            _check(f"{place}.{name}", item, key.of)
    elif key.kind == "table" and isinstance(key.of, Mapping):
        check_table(place, value, key.of)


def _is(value: Any, key: Key) -> bool:
    """Whether a value is of the key's kind and in its range; what is inside is looked at by the caller."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if key.kind in {"whole", "number"}:
        right = number and (key.kind == "number" or isinstance(value, int))
        return right and key.least <= value <= key.most
    if key.kind == "names":
        names = value if isinstance(value, list) else [value]
        return len(names) > 0 and all(isinstance(name, str) and name for name in names)
    if key.kind == "list":
        return isinstance(value, list) and len(value) == (key.count or len(value)) and len(value) > 0
    if key.kind == "text":
        return isinstance(value, str) and bool(value) and (not key.allowed or value in key.allowed)
    if key.kind == "bound":
        return isinstance(value, str) and _BOUND.fullmatch(value) is not None
    return isinstance(value, {"flag": bool, "table": dict}[key.kind])


def _check_together(recipe: Mapping[str, Any]) -> None:
    """What single keys cannot say."""
    student, data = recipe["student"], recipe.get("data", {})
    if recipe["schedule"].get("quantised") and "start" not in recipe["schedule"]:
        raise RecipeError("schedule.start is missing beside schedule.quantised; write the float recipe there")
    if student.get("taught") and "taught_share" not in student:
        raise RecipeError(f"student.taught_share is missing beside student.taught; write {_SHARE}")
    if student.get("rendered") and "rendered_share" not in student:
        raise RecipeError(f"student.rendered_share is missing beside student.rendered; write {_SHARE}")
    if student.get("album") and "album_share" not in student:
        raise RecipeError(f"student.album_share is missing beside student.album; write {_SHARE}")
    if "teacher" in recipe and not student.get("taught") and "losses" not in student:
        raise RecipeError("teacher: it draws the maps of student.taught, which is missing; no losses ask it")
    if "teacher" not in recipe and any(
        v for k, v in student.get("losses", {}).items() if k not in _ASKS_NOBODY
    ):
        raise RecipeError("teacher is missing beside student.losses; write the recipe that trains it")
    stages = len(student.get("widths", ())) - 1
    if recipe["task"] == "expression" and len(student.get("blocks", [1] * stages)) != stages:
        raise RecipeError(f"student.blocks is {student['blocks']}; write {stages}, one less than the widths")
    read = sets_of(recipe)
    if "sets" in data and set(data["sets"]) != set(read):
        raise RecipeError(f"data.sets is {data['sets']}; the task reads {', '.join(read)}")
    for name in data.get("lists", {}):
        if name not in read:
            raise RecipeError(f"data.lists.{name}: the task reads {', '.join(read)}")
