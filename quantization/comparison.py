"""The file of a comparison: which changes of a recipe train on the same seeds, and by what they are judged.

::

    recipe = "parsing-first"  # of quantization/recipes, or a path from this file that ends with .toml
    figure = "f1"  # what the task's `validate` tells of the tuning part; never of the hold-out
    better = "higher"  # or "lower"
    seeds = [0, 1, 2]

    [schedule]  # instead of the recipe's: a short training
    steps = 500

    [base]  # the recipe's keys, changed: without what is in question
    student.dice = 0.0

    [variants.dice]  # and with it; an empty table is the recipe as it is

    [validation]  # the recipe's keys, changed, by which all are validated; without this table
    student.size = 160  # each by its own, which is unfair where a key says what is validated on

::

    ComparisonError(ValueError)    names the file or the run, what is wrong, and the mend
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib

from . import splits
from .recipe import (
    RECIPES,
    Key,
    RecipeError,
    check_lists,
    check_recipe,
    check_table,
    is_teacher,
    load_recipe,
)

__all__ = ["BASE", "Comparison", "ComparisonError", "load_comparison", "merged"]

BASE = "base"
_KEYS = {
    "recipe": Key("text", True),
    "figure": Key("text", True),
    "better": Key("text", True, allowed=("higher", "lower")),
    "seeds": Key("list", of=Key("whole", least=0)),
    "schedule": Key("table"),
    "base": Key("table"),
    "variants": Key("table", True, of=Key("table")),
    "validation": Key("table"),
}


class ComparisonError(ValueError):
    """A comparison cannot be made; the message names the file or the run, and the mend."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared: changes of a recipe by name, `BASE` first, and by which figure."""

    path: Path
    recipe: Path
    figure: str
    better: str
    seeds: tuple[int, ...]
    changes: Mapping[str, Mapping[str, Any]]
    """Of the recipe, as nested tables."""
    recipes: Mapping[str, Mapping[str, Any]]
    """The recipes that come of them, with the comparison's schedule."""
    judge: Mapping[str, Any] | None
    """The recipe by which all are validated; None: each by its own."""


def load_comparison(path: Path) -> Comparison:
    """Reads a comparison and holds it, and every recipe that comes of it, to what may stand there.

    Raises:
        ComparisonError: it is no TOML, or names what is not there or may not be.
    """
    try:
        written = tomllib.loads(path.read_text())
        check_table("", written, _KEYS)
        name = written["recipe"]
        recipe = path.parent / name if name.endswith(".toml") else RECIPES / f"{name}.toml"
        whole = load_recipe(recipe)
        check_lists(whole, recipe, splits.SPLITS)
        seeds = tuple(written.get("seeds", (0, 1, 2)))
        if len(set(seeds)) != len(seeds) or len(seeds) < 2:
            raise RecipeError(f"seeds is {list(seeds)}; write two at least, each once")
        changes = {BASE: written.get("base", {}), **written["variants"]}
        if len(changes) != 1 + len(written["variants"]) or len(changes) < 2:
            raise RecipeError(f"variants: write one at least, each with a name other than {BASE!r}")
        short = merged(whole, {"schedule": written.get("schedule", {})})
        recipes = {variant: merged(short, changed) for variant, changed in changes.items()}
        judge = merged(short, written["validation"]) if "validation" in written else None
        if judge is not None and is_teacher(judge):
            raise RecipeError("validation: only students can be validated by another recipe; leave it out")
        for variant, changed in (recipes | ({"validation": judge} if judge else {})).items():
            check_recipe(changed, Path(variant))
            if changed["schedule"].get("seed") != whole["schedule"].get("seed"):
                raise RecipeError(f"{variant}: schedule.seed: the pairs share their seeds; write `seeds`")
    except OSError as error:
        raise ComparisonError(f"{path}: not readable ({error.strerror}); name a comparison's file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ComparisonError(f"{path}: no TOML: {error}") from None
    except RecipeError as error:
        raise ComparisonError(f"{path}: {error}") from None
    return Comparison(path, recipe, written["figure"], written["better"], seeds, changes, recipes, judge)


def merged(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with the changed keys; tables are gone into, everything else is replaced."""
    found = dict(recipe)
    for name, value in changes.items():
        inside = found.get(name, {})
        both = isinstance(value, Mapping) and isinstance(inside, Mapping)
        found[name] = merged(inside, value) if both else value
    return found
