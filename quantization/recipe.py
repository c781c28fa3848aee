"""Recipes: all that one may say, in one table, and the reader that holds a file to it (:mod:`.keys`).

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
]

TASKS = ("detection", "landmarks", "parsing", "expression")
RECIPES = Path(__file__).parent / "recipes"
LABELLED = ("lfpw", "celebamask", "celeba_hq", "utkface", "youtube_faces")
SETS = (*LABELLED, "ferplus")

_ASKS_NOBODY = {"temperature", "yunet"}  # keys of student.losses that need no teacher trained here


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
# quantization.augment.DAMAGES
_DAMAGES = ("dark", "grey", "blur", "motion", "small", "noise", "jpeg")
_DAMAGE = {"damage": Key("table", of=dict.fromkeys(_DAMAGES, _SHARE))}
_TURNED_TO = Key("number", least=0, most=180)
_PARSING = {
    **_DAMAGE,
    "size": _need(_COUNT),
    "sizes": Key("list", of=_COUNT),
    "decoder": _WIDTHS,
    "rare": _AMOUNT,  # help of it is not shown (comparisons/parsing-rare.toml): new recipes leave it out
    "turned": _need(_SHARE),
    "turned_to": _TURNED_TO,
    "strength": _need(_AMOUNT),
    "dice": _need(_AMOUNT),
    "taught": Key("list", of=Key("text", allowed=LABELLED)),
    "taught_share": _SHARE,
}
_LANDMARKS = {
    **_DAMAGE,
    "size": _need(_COUNT),
    "code": _need(_COUNT),
    "negatives": _need(_SHARE),
    "face3d": _FLAG,
    "turned": _need(_SHARE),
    "turned_to": _TURNED_TO,
    "covered": _need(_SHARE),
    "strength": _need(_AMOUNT),
    "share": Key("table", of=dict.fromkeys(LABELLED, _SHARE)),
    "also_validation": Key("list", of=Key("text", allowed=LABELLED[1:])),  # LFPW's grades this very task
    "rendered": _COUNT,
    "rendered_share": _SHARE,
}
_DETECTION = {
    **_DAMAGE,
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
_EXPRESSION = {"balance": _need(_AMOUNT), "turned": _SHARE, "turned_to": _TURNED_TO, **_DAMAGE}
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
        **_EXPRESSION,
        "losses": Key("table", of={"soft": _AMOUNT, "decoupled": _AMOUNT, "temperature": _TEMPERATURE}),
    },
    "expression teacher": {"widths": _WIDTHS, "blocks": _WIDTHS, **_EXPRESSION},
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
                "shards": Key("list", of=_TEXT),
                "validation": Key("number", least=0.01, most=0.9),
                "share": Key("number", least=0.01, most=1),
                "lossy": _FLAG,
            },
        ),
        "seen": Key("table", of={"data": Key("list", of=_TEXT), "teachers": Key("list", of=_TEXT)}),
        "targets": Key("table", of=Key("bound")),
        "gates": Key(
            "table",
            of={
                "bytes": _COUNT,
                "edgetpu": _FLAG,
                "parity": _FLAG,
                "lost": _FLAG,
                "figures": Key("table", of=Key("bound")),
            },
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
    _check_shards(recipe)
    read = sets_of(recipe)
    if "sets" in data and set(data["sets"]) != set(read):
        raise RecipeError(f"data.sets is {data['sets']}; the task reads {', '.join(read)}")
    for name in data.get("lists", {}):
        if name not in read:
            raise RecipeError(f"data.lists.{name}: the task reads {', '.join(read)}")


def _check_shards(recipe: Mapping[str, Any]) -> None:
    """Shards alone have nothing of what the built-in data sets' own labels are read for."""
    task, student, data = recipe["task"], recipe["student"], recipe.get("data", {})
    if "shards" not in data:
        for name in ("validation", "share", "lossy"):
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
    }
    for name, value in built_in.items():
        if value:
            raise RecipeError(
                f"{name} is of the built-in data sets, and data.shards alone are read: leave it out, or "
                "write data.share below 1"
            )
