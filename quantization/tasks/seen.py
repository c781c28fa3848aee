"""What a student saw: the data sets and teachers that its task's code loads, course after course.

A recipe that teaches by more than its task's code says so in a table of its own::

    [seen]
    data = ["wflw"]  # kinds of quantization.datasets, or names of split lists, or webdataset:FOLDER
    teachers = ["farl-landmarks"]  # names of `python -m quantization teachers`, or .toml files

Nothing that the code loads can be left out there, so the terms that follow can only become stricter. Shards
state their own terms, those of whoever labelled them included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets import KINDS, UNSTATED, Terms, folder, lfpw
from ..datasets.shards import read_notes, shard_files, stated_terms
from ..recipe import asked, shards_of, shards_share
from ..splits import parts
from ..teachers.catalogue import terms_of
from ..teachers.folds import split_by_fold
from ..terms import TermsError, WeightsTerms, weights_terms
from . import RECIPES, load_recipe

__all__ = ["SHARDS", "Seen", "data_terms", "seen", "seen_in", "stages"]

SHARDS = "webdataset:"  # of the name of shards, whose role says who labelled them
_SPLITS: Mapping[str, Terms] = {"lfpw": lfpw.TERMS, **folder.TERMS}


@dataclass(frozen=True, slots=True)
class Seen:
    """Names and what each was used for, in the order of the courses.

    Attributes:
        data: What a data set gave, by its name.
        teachers: What a teacher said, by its name.
    """

    data: Mapping[str, str]
    teachers: Mapping[str, str]

    @property
    def terms(self) -> WeightsTerms:
        """The terms of the weights.

        Raises:
            TermsError: Nobody declared those of a set or teacher.
        """
        return weights_terms(*map(data_terms, self.data), *map(terms_of, self.teachers))


def data_terms(name: str) -> Terms:
    """The terms of a data set, by the name of its split list or its layout, or of shards by their path.

    Raises:
        TermsError: Nobody declared any for this name, or the shards are not there.
    """
    if name.startswith(SHARDS):
        root = Path(name.removeprefix(SHARDS))
        if not root.exists():
            raise TermsError(f"{root}: the shards are not there, so nobody can say what their terms are")
        return stated_terms(root) or UNSTATED
    if name in _SPLITS:
        return _SPLITS[name]
    if name not in KINDS:
        raise TermsError(
            f"nobody declared the terms of a data set called {name!r}: use one of "
            f"{', '.join([*_SPLITS, *KINDS])}, or give it a reader in quantization/datasets with its Terms"
        )
    return KINDS[name].terms or UNSTATED


def stages(path: Path) -> list[Path]:
    """The recipe after those it went on from (``schedule.start``), which lie beside it or in `RECIPES`.

    Raises:
        TermsError: One of them is not there: what it was taught cannot be said.
    """
    chain: list[Path] = []
    while path not in chain:
        chain.insert(0, path)
        start = load_recipe(path).get("schedule", {}).get("start")
        if not start:
            break
        path = _named(path, start)
        if not path.exists():
            raise TermsError(
                f"{chain[0]}: starts from {start!r}, but there is no {chain[0].with_name(f'{start}.toml')}: "
                "put the recipe of that run there, so that what it learned from can be named"
            )
    return chain


def _named(path: Path, name: str) -> Path:
    """The recipe that another names: beside it, or in `RECIPES`."""
    beside = path.with_name(f"{name}.toml")
    return beside if beside.exists() else RECIPES / f"{name}.toml"


def seen(path: Path) -> Seen:
    """What the student of a recipe saw, its earlier courses included, and what a student that taught it saw.

    Raises:
        TermsError: An earlier course's recipe is missing, or a set has no declared terms.
    """
    courses = dict.fromkeys(course for stage in stages(path) for course in (*_refiners(stage), stage))
    return seen_in([_with_teachers(course) for course in courses])


def _refiners(path: Path) -> list[Path]:
    """The courses of the students that corrected points for a recipe (``student.refined``)."""
    recipe = load_recipe(path)
    named = asked(recipe) if recipe["student"].get("refined") else ()
    return [stage for name in named for stage in stages(_named(path, name))]


def _with_teachers(path: Path) -> dict[str, Any]:
    """A recipe and, as ``asked``, those of the teachers that it asks, as far as they are there."""
    recipe = load_recipe(path)
    known = [_named(path, name) for name in asked(recipe)]
    return recipe | {"asked": [load_recipe(teacher) for teacher in known if teacher.exists()]}


def seen_in(courses: Sequence[Mapping[str, Any]]) -> Seen:
    """What the recipes of ``courses``, in their order, taught.

    A recipe may hold its teachers' under ``asked``, as :func:`seen` adds them; else they left out no fold.

    Raises:
        TermsError: A set has no declared terms.
    """
    data: dict[str, str] = {}
    teachers: dict[str, str] = {}
    for recipe in courses:
        loaded = _loaded(recipe)
        more = recipe.get("seen", {})
        for found, told, key in zip((data, teachers), loaded, ("data", "teachers"), strict=True):
            named = dict.fromkeys(more.get(key, ()), "as the recipe says")
            found.update({name: role for name, role in (named | told).items() if name not in found})
    return Seen(data, teachers)


_Loaded = tuple[dict[str, str], dict[str, str]]


def _loaded(recipe: Mapping[str, Any]) -> _Loaded:
    """What the task's code loads: of the built-in data, where it reads any, and the shards."""
    data, teachers = dict[str, str](), dict[str, str]()
    if shards_share(recipe) < 1:
        student = recipe["student"] | {"asked": recipe.get("asked", ())}
        data, teachers = _LOADED[recipe["task"]](student)
    elif recipe["student"].get("face3d"):
        teachers["face3d"] = "which points the head hides"
    data |= {f"{SHARDS}{root}": _labelled(root) for root in shards_of(recipe)}
    return data, teachers


def _labelled(root: Path) -> str:
    """What shards hold, in words: who labelled them, as far as they say."""
    files = shard_files(root) if root.exists() else []
    named = dict.fromkeys(str(read_notes(file).get("teacher", "")) for file in files)
    who = " and ".join(name for name in named if name)
    return "shards of pictures" + (f", labelled by {who}" if who else " with their labels")


def _detection(student: Mapping[str, Any]) -> _Loaded:
    scenes = student["scenes"]
    data = {"lfpw": f"{_count('lfpw', 'train')} photos"}
    for name in ("celebamask", "celeba_hq", "utkface", "youtube_faces"):
        thinned = name in {"utkface", "youtube_faces"} and not scenes.get("hard")
        data[name] = (
            f"heads cut out of{' every third of' if thinned else ''} {_count(name, 'train')} pictures"
        )
    teachers = {"yunet": "boxes and five points"}
    if count := scenes.get("rendered"):
        teachers["face3d"] = f"{count} rendered heads in profile, with their boxes and points"
    if count := scenes.get("turned"):
        told = teachers.get("face3d")
        teachers["face3d"] = (
            f"{told}; " if told else ""
        ) + f"the shape of {count} portraits' heads, turned to profile"
    if count := student.get("album"):
        teachers["yunet"] += f", again on {count:,} composed scenes"
        teachers["ultraface"] = "which of those both see"
    if student.get("losses", {}).get("yunet"):
        teachers["yunet"] += "; what its heads read of every scene"
    if student.get("losses", {}).get("scores"):
        teachers["detection"] = "how sure it is of a face, cell by cell"
    return data, teachers


def _landmarks(student: Mapping[str, Any]) -> _Loaded:
    data = {"lfpw": f"{_count('lfpw', 'train')} photos with human points"}
    for name, share in student["share"].items():
        if name != "lfpw" and share:
            lent = ("validation",) if name in student.get("also_validation", ()) else ()
            data[name] = f"{_count(name, 'train', *lent)} pictures"
    teachers = {"yunet": "boxes", "face3d": "which points the head hides, and the pose"}
    if count := student.get("rendered"):
        teachers["face3d"] += f"; {count} rendered heads with their points"
    told = bool(student.get("losses", {}).get("kd"))
    if len(data) > 1:
        teachers["facemesh"] = f"the {'pose' if told else 'points'} of the other pictures"
    if student.get("blendshapes"):
        teachers["blendshapes"] = "how the faces move: 43 coefficients"
    if told:
        teachers["landmarks"] = "a tough and a tolerant one: where the points are"
    if "encoder" in student:
        teachers["mobilenet"] = "the backbone it started from"
    return data, teachers


def _parsing(student: Mapping[str, Any]) -> _Loaded:
    data = {"celebamask": f"{_count('celebamask', 'train')} photos with human maps"}
    data |= {name: f"{_count(name, 'train')} photos" for name in student.get("taught", ())}
    teachers = {"yunet": "boxes"}
    told = {
        "the maps of the other photos": bool(student.get("taught")),
        "what its decoder makes of every crop": bool(student.get("losses", {}).get("features")),
    }
    if any(told.values()):
        teachers["parsing"] = ", and ".join(what for what, is_told in told.items() if is_told)
    if "encoder" in student:
        teachers["mobilenet"] = "the backbone it started from"
    return data, teachers


def _expression(student: Mapping[str, Any]) -> _Loaded:
    losses, teachers = student.get("losses", {}), dict[str, str]()
    if losses.get("soft") or losses.get("decoupled"):
        by_fold = ["fold" in teacher["student"] for teacher in student["asked"]]
        if not by_fold or not all(by_fold):
            teachers["expression"] = "its shares of the classes in every crop"
        if any(by_fold):
            said = "their shares of the classes in every crop, each said by those that had not seen the image"
            teachers["folds"] = said
    data_terms("ferplus")
    trained, _ = split_by_fold(parts("ferplus", "train"), student.get("fold"))
    return {"ferplus": f"{len(trained):,} images with ten taggers' votes"}, teachers


_LOADED = {
    "detection": _detection,
    "landmarks": _landmarks,
    "parsing": _parsing,
    "expression": _expression,
}


def _count(split: str, *wanted: str) -> str:
    data_terms(split)  # a set without terms has no list to count either: say which, not which file
    return f"{len(parts(split, *wanted)):,}"
