"""Reads an adapter from its TOML file, key by key.

A file holds the keys ``title``, ``source``, ``verified``, ``unverified`` and, where they apply, ``export``,
``network`` and ``sha256``; the tables ``[licence]``, ``[input]`` and ``[crop]``; and exactly one of
``[landmarks]``, ``[parsing]``, ``[expression]`` and ``[detection]``, which is the teacher's task. A key that
no table has is an error, so that a slip of the pen cannot become a default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tomllib

from edgeface.errors import ArgumentError
from edgeface.labels import FER8, IBUG68, parsing_scheme

from .adapter import (
    IGNORED,
    Adapter,
    AdapterError,
    Crop,
    Detection,
    Expression,
    Input,
    Landmarks,
    Licence,
    Parsing,
    Template,
)

__all__ = ["NETWORKS", "load_adapter"]

# The modules of `quantization.teachers.networks`, which read checkpoints, and the tasks that each can serve.
NETWORKS = {
    "bisenet": ("parsing",),
    "ddamfn": ("expression",),
    "emotieffnet": ("expression",),
    "faceptor": ("expression", "landmarks", "parsing"),
    "facexformer": ("landmarks",),
    "farl": ("landmarks", "parsing"),
    "fmae": ("expression",),
    "poster": ("expression",),
    "rtnet": ("parsing",),
    "segface": ("parsing",),
}


def load_adapter(path: Path) -> Adapter:
    """Reads an adapter; its name is the file's.

    Raises:
        AdapterError: The file is no TOML, lacks a key, has one too many or one with a value that cannot be;
            the message gives file, line, key and what would do.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = _Table(path, text, "", tomllib.loads(text))
    except OSError as error:
        raise AdapterError(
            f"{path}: cannot be read ({error.strerror}): give the path of a .toml file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AdapterError(f"{path}: is no TOML: {error}") from error
    tasks = [name for name in _TASKS if name in root.values]
    if len(tasks) != 1:
        raise AdapterError(
            f"{path}: has {' and '.join(f'[{t}]' for t in tasks) or 'no task'}: "
            f"exactly one of {', '.join(f'[{t}]' for t in _TASKS)} says what the model does"
        )
    adapter = Adapter(
        name=path.stem,
        title=root.text("title"),
        source=root.texts("source"),
        verified=root.text("verified"),
        unverified=root.text("unverified"),
        export=root.text("export", ""),
        network=_network(root, tasks[0]),
        sha256=root.text("sha256", "").lower(),
        licence=_licence(root.table("licence")),
        input=_input(root.table("input")),
        crop=_crop(root.table("crop")),
        output=_TASKS[tasks[0]](root.table(tasks[0])),
    )
    if adapter.sha256 and not re.fullmatch("[0-9a-f]{64}", adapter.sha256):
        raise root.error(
            "sha256", "is not 64 hexadecimal digits: give what sha256sum prints, or leave it out"
        )
    if adapter.crop.kind == "polar" and adapter.task != "parsing":
        raise root.error("crop", "polar crops are put back as maps only: the task must be [parsing]")
    root.done()
    return adapter


def _network(root: _Table, task: str) -> str:
    network = root.text("network", "")
    known = [name for name, tasks in NETWORKS.items() if task in tasks]
    if network and network not in known:
        raise root.error(
            "network",
            f"is {network!r}: for [{task}] give one of {', '.join(known) or 'none'}, or leave it out",
        )
    return network


class _Table:
    """A table of the file whose keys are taken one by one; what remains at the end is a mistake."""

    def __init__(self, path: Path, text: str, name: str, values: dict[str, Any]) -> None:
        self.path, self.name, self.values = path, name, dict(values)
        self._text = text

    def error(self, key: str, what: str) -> AdapterError:
        full = f"{self.name}.{key}" if self.name else key
        line = self._line(key, full)
        return AdapterError(f"{self.path}{f':{line}' if line else ''}: {full} {what}")

    def _line(self, key: str, full: str) -> int:
        """Where the key (or the table of this name) stands, from 1; 0 when it does not."""
        section = ""
        for number, line in enumerate(self._text.splitlines(), 1):
            if header := re.match(r"\s*\[([\w.-]+)\]", line):
                section = header[1]
                if section == full:
                    return number
            elif section == self.name and re.match(rf"\s*{re.escape(key)}\s*=", line):
                return number
        return 0

    def take(self, key: str, kind: type | tuple[type, ...], words: str, default: Any = None) -> Any:
        if key not in self.values:
            if default is None:
                raise self.error(key, f"is missing: give {words}")
            return default
        value = self.values.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, f"is {value!r}: give {words}")
        return value

    def table(self, key: str) -> _Table:
        return _Table(self.path, self._text, key, self.take(key, dict, f"a table [{key}]"))

    def text(self, key: str, default: str | None = None) -> str:
        return str(self.take(key, str, "a text", default))

    def flag(self, key: str, default: bool | None = None) -> bool:
        return bool(self.take(key, bool, "true or false", default))

    def one_of(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        words = "one of " + ", ".join(choices)
        value = str(self.take(key, str, words, default))
        if value not in choices:
            raise self.error(key, f"is {value!r}: give {words}")
        return value

    def number(self, key: str, default: float | None = None, above: float | None = None) -> float:
        words = "a number" + ("" if above is None else f" above {above:g}")
        value = float(self.take(key, (int, float), words, default))
        if above is not None and not value > above:
            raise self.error(key, f"is {value:g}: give {words}")
        return value

    def whole(self, key: str, least: int, default: int | None = None) -> int:
        words = f"a whole number from {least} on"
        value = int(self.take(key, int, words, default))
        if value < least:
            raise self.error(key, f"is {value}: give {words}")
        return value

    def numbers(self, key: str, count: int, default: Sequence[float] | None = None) -> tuple[float, ...]:
        words = f"{count} numbers"
        value = self.take(key, list, words, default if default is None else list(default))
        if len(value) != count or not all(type(v) in (int, float) for v in value):
            raise self.error(key, f"is {value!r}: give {words}")
        return tuple(map(float, value))

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.take(key, list, "a list of texts")
        if not value or not all(isinstance(v, str) and v for v in value):
            raise self.error(key, f"is {value!r}: give a list of texts")
        return tuple(value)

    def done(self) -> None:
        for key in self.values:
            raise self.error(key, "is not a key that this table has: remove it or mend its spelling")


def _finished(build: Callable[[_Table], Any]) -> Callable[[_Table], Any]:
    def run(table: _Table) -> Any:
        result = build(table)
        table.done()
        return result

    return run


@_finished
def _licence(t: _Table) -> Licence:
    return Licence(t.text("code"), t.text("weights"), t.flag("commercial"))


@_finished
def _input(t: _Table) -> Input:
    size = t.numbers("size", 2)
    if not all(s == int(s) and s > 0 for s in size):
        raise t.error("size", f"is {list(size)}: give width and height in pixels")
    layout, colour = t.one_of("layout", ("NCHW", "NHWC")), t.one_of("colour", ("RGB", "BGR"))
    std = t.numbers("std", 3, (1, 1, 1))
    if min(std) <= 0:
        raise t.error("std", f"is {list(std)}: give numbers above 0")
    mean, scale = t.numbers("mean", 3, (0, 0, 0)), t.number("scale", above=0)
    width, height = map(int, size)
    return Input(
        t.text("name"),
        (width, height),
        layout,
        colour,
        scale,
        mean,
        std,
        t.text("box", ""),
    )


@_finished
def _crop(t: _Table) -> Crop:
    kind = t.one_of("kind", ("whole", "box", "points", "celebahq", "polar"))
    fit = t.one_of("fit", ("stretch", "letterbox")) if kind == "whole" else ""
    scale, shift, square, clip = 1.0, (0.0, 0.0), False, False
    templates: tuple[Template, ...] = ()
    tanh = 0.0
    if kind == "box":
        scale = t.number("scale", above=0)
        across, down = t.numbers("shift", 2, (0, 0))
        shift = (across, down)
        square, clip = t.flag("square"), t.flag("clip", default=False)
    if kind == "points":
        templates, tanh = _templates(t), t.number("tanh", 0.0)
        if not 0 <= tanh <= 1:
            raise t.error("tanh", f"is {tanh:g}: give a number from 0 to 1")
    return Crop(kind, fit, scale, shift, square, clip, templates, tanh, t.text("note", ""))


def _templates(t: _Table) -> tuple[Template, ...]:
    value = t.take("templates", list, "a list of sets of five points")
    try:
        sets = tuple(tuple((float(x), float(y)) for x, y in points) for points in value)
    except (TypeError, ValueError):
        sets = ()
    if not sets or any(len(points) != 5 for points in sets):
        raise t.error("templates", "is not a list of sets of five points: give [[[x, y], ...], ...]")
    return sets


@_finished
def _landmarks(t: _Table) -> Landmarks:
    decode = t.one_of("decode", ("pixels", "unit", "signed", "argmax", "centroid"))
    activation = t.one_of("activation", ("sigmoid", "none")) if decode == "centroid" else "none"
    scheme = t.one_of("scheme", (IBUG68.key, "other"))
    count = t.whole("count", 1, len(IBUG68) if scheme == IBUG68.key else None)
    if scheme == IBUG68.key and count != len(IBUG68):
        raise t.error(
            "count", f"is {count}, but {IBUG68.key} has {len(IBUG68)} points: remove one of the two"
        )
    return Landmarks(t.text("output"), decode, activation, scheme if scheme != "other" else "", count)


@_finished
def _parsing(t: _Table) -> Parsing:
    try:
        scheme = parsing_scheme(t.text("scheme"))
    except ArgumentError as error:
        raise t.error("scheme", f"is unknown: {error}") from error
    channels = t.texts("channels") if isinstance(t.values.get("channels"), list) else None
    if channels is None:
        t.one_of("channels", ("scheme",), "scheme")
        channels = scheme.names
    lossy = t.flag("lossy", default=False)
    _check_channels(t, channels, scheme.names, scheme.key, lossy)
    layout = t.one_of("layout", ("NCHW", "NHWC"), "NCHW")
    return Parsing(t.text("output"), layout, scheme.key, channels, t.flag("softmax"))


@_finished
def _expression(t: _Table) -> Expression:
    channels = t.texts("channels")
    _check_channels(t, channels, FER8.names, FER8.key, lossy=False)
    return Expression(t.text("output"), channels, t.flag("softmax"))


def _check_channels(
    t: _Table, channels: Sequence[str], names: Sequence[str], scheme: str, lossy: bool
) -> None:
    """Every channel has a home, and none shares it unless the file says that this loss is meant."""
    for name in channels:
        if name != IGNORED and name not in names:
            raise t.error("channels", f"holds {name!r}, but {scheme} has: {', '.join(names)} (or '-')")
    used = [name for name in channels if name != IGNORED]
    twice = sorted({name for name in used if used.count(name) > 1})
    if not used:
        raise t.error("channels", f"names no class of {scheme}: name at least one")
    if twice and not lossy:
        raise t.error(
            "channels",
            f"holds {', '.join(twice)} more than once, which tells them apart no longer: "
            "write lossy = true beside it if that is wanted",
        )


@_finished
def _detection(t: _Table) -> Detection:
    return Detection(
        t.text("scores"),
        t.whole("column", 0),
        t.text("boxes"),
        t.one_of("decode", ("unit", "pixels")),
        t.number("threshold"),
        t.number("nms"),
    )


_TASKS: dict[str, Callable[[_Table], Any]] = {
    "landmarks": _landmarks,
    "parsing": _parsing,
    "expression": _expression,
    "detection": _detection,
}
