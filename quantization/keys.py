"""What may stand in a TOML file, key by key, and the check that says what is wrong with one.

::

    RecipeError(ValueError)    names the file, the key, and what may be written there
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Key", "RecipeError", "check_table", "holds"]

_BOUND = re.compile(r"\s*(<=|>=)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*")
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
    multiple: int = 1
    """Of a whole number: what divides it."""

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
        return said + low + high + (f", a multiple of {self.multiple}" if self.multiple > 1 else "")


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
        return right and key.least <= value <= key.most and (key.multiple == 1 or value % key.multiple == 0)
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
