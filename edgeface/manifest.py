"""What the header of a bundle says about each model, as frozen types with strict validation.

Everything that was tuned together with a network travels with it: the quantisation of its tensors, its crop,
its thresholds, the name of its label scheme, its measured accuracy. Code knows how to read them, never their
values. An unknown key is refused rather than ignored, because a key that one side writes and the other does
not read is a setting that silently has no effect.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from edgeface.errors import BundleError

__all__ = ["CropSpec", "InputSpec", "ModelSpec", "OutputSpec", "Section", "parse_model"]

_WORD = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGE = {"int8": (-128, 127), "uint8": (0, 255)}
# What turns an RGB byte into the stored value: an int8 tensor holds pixel - 128, a uint8 tensor the pixel
# itself.
_MEAN = {"int8": 128, "uint8": 0}
_MAX_SIDE = 8192


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The image tensor of a model: RGB, ``shape`` (1, height, width, 3), stored value = pixel - ``mean``."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    mean: int

    @property
    def height(self) -> int:
        """Rows in pixels."""
        return self.shape[1]

    @property
    def width(self) -> int:
        """Columns in pixels."""
        return self.shape[2]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An output at place ``index`` of the graph: real value = (stored - ``zero_point``) * ``scale``."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    @property
    def lowest(self) -> int:
        """The smallest value that the tensor's type can store."""
        return _RANGE[self.dtype][0]


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How a face box becomes the square that a model sees.

    The square's side is ``scale`` times the longer side of the box and its centre is the box's centre moved
    by ``shift`` (x, y) times that longer side. It is turned upright only when the face's roll exceeds
    ``align_above`` degrees.
    """

    scale: float
    shift: tuple[float, float]
    align_above: float


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of a bundle, as the header describes it. ``head`` is read by the head of the task.

    ``variants`` are further artifacts of the same student, by format, with the same tensors: a backend that
    opens none of ``format`` gets one of them. ``golden`` is the `edgeface.golden.golden_digest` of the
    outputs on x86-64 and ARM CPUs; None in a bundle that was packed without it.
    """

    task: str
    artifact: str
    format: str
    precision: str
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    crop: CropSpec | None
    head: Mapping[str, Any]
    labels: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    licence: str = ""
    description: str = ""
    variants: Mapping[str, str] = field(default_factory=dict)
    golden: str | None = None

    @property
    def formats(self) -> frozenset[str]:
        """The formats in which the bundle holds this student."""
        return frozenset({self.format, *self.variants})

    def for_formats(self, formats: frozenset[str]) -> ModelSpec:
        """This model with an artifact in one of ``formats``; its own format goes first, then by name.

        Raises:
            BundleError: the bundle holds the student in none of them.
        """
        if self.format in formats:
            return self
        for name in sorted(formats & set(self.variants)):
            return replace(self, format=name, artifact=self.variants[name])
        raise BundleError(
            f"models.{self.task}: the bundle holds the formats {sorted(self.formats)}, none of "
            f"{sorted(formats)}; use a bundle that was packed for this backend"
        )

    def output(self, name: str) -> OutputSpec:
        """The output called ``name``.

        Raises:
            BundleError: the model has no such output.
        """
        for spec in self.outputs:
            if spec.name == name:
                return spec
        raise BundleError(
            f"models.{self.task}.outputs: no output is called {name!r}, which this task needs; "
            "use a bundle made for this version of edgeface"
        )


class Section:
    """A JSON object of the header that is read key by key and refused when it holds anything else.

    Every complaint names the place, for example ``models.landmarks.crop.scale``.

    Raises:
        BundleError: from every method, when the value is missing, of a wrong type or out of range.
    """

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise BundleError(f"{path}: must be an object, not {_kind(value)}")
        self._values = dict(value)
        self._left = set(self._values)
        self.path = path

    def names(self) -> tuple[str, ...]:
        """The names of all values, each short and printable."""
        for key in self._values:
            if not isinstance(key, str) or not 0 < len(key) <= 64 or not key.isprintable():
                raise BundleError(
                    f"{self.path}: {_short(key)} is no name; use at most 64 printable characters"
                )
        return tuple(self._values)

    def take(self, key: str, default: object = ...) -> Any:
        """The raw value of ``key``; ``default`` stands in when the key may be left out."""
        self._left.discard(key)
        if key in self._values:
            return self._values[key]
        if default is ...:
            raise BundleError(f"{self.path}: the key {key!r} is missing")
        return default

    def fail(self, key: str, wanted: str) -> BundleError:
        """The error for a ``key`` whose value is not what is ``wanted``."""
        return BundleError(f"{self.path}.{key}: must be {wanted}, not {_short(self._values.get(key))}")

    def text(self, key: str, default: object = ...) -> str:
        """One line of printable text, at most 2,000 characters."""
        value = self.take(key, default)
        # A header is shown in terminals: an escape sequence in it would be a way to draw there.
        if not isinstance(value, str) or len(value) > 2000 or not value.isprintable():
            raise self.fail(key, "one line of printable text")
        return value

    def word(self, key: str) -> str:
        """A short name: lower-case letters, digits and underscores."""
        value = self.take(key)
        if not isinstance(value, str) or not _WORD.fullmatch(value):
            raise self.fail(key, "a short lower-case name")
        return value

    def digest(self, key: str) -> str:
        """A SHA-256 in hexadecimal."""
        value = self.take(key)
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            raise self.fail(key, "64 hexadecimal digits")
        return value

    def number(self, key: str, low: float, high: float, default: object = ...) -> float:
        """A finite number in [low, high]."""
        value = self.take(key, default)
        if not _is_number(value) or not low <= value <= high:
            raise self.fail(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def integer(self, key: str, low: int, high: int, default: object = ...) -> int:
        """A whole number in [low, high]."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(key, f"a whole number from {low} to {high}")
        return value

    def numbers(self, key: str, count: int | None = None) -> tuple[float, ...]:
        """A list of finite numbers, of length ``count`` when that is given."""
        value = self.take(key)
        if (
            not isinstance(value, list)
            or not all(map(_is_number, value))
            or (count or len(value)) != len(value)
        ):
            raise self.fail(key, f"a list of {count or 'finite'} numbers")
        return tuple(float(item) for item in value)

    def integers(self, key: str, low: int, high: int, most: int) -> tuple[int, ...]:
        """A list of one to ``most`` whole numbers in [low, high]."""
        value = self.take(key)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise self.fail(key, f"a list of 1 to {most} whole numbers")
        if any(
            isinstance(item, bool) or not isinstance(item, int) or not low <= item <= high for item in value
        ):
            raise self.fail(key, f"a list of whole numbers from {low} to {high}")
        return tuple(value)

    def done(self) -> None:
        """Refuse whatever nobody has read."""
        if self._left:
            raise BundleError(f"{self.path}: unknown key {_short(sorted(self._left, key=str)[0])}")


def parse_model(value: object, path: str) -> ModelSpec:
    """Read one entry of the header's ``models``.

    Raises:
        BundleError: names the place in the header and what it must hold.
    """
    section = Section(value, path)
    task = section.word("task")
    outputs = section.take("outputs")
    if not isinstance(outputs, list) or not 1 <= len(outputs) <= 64:
        raise section.fail("outputs", "a list of 1 to 64 tensors")
    crop = section.take("crop")
    labels = section.take("labels")
    metrics = Section(section.take("metrics", {}), f"{path}.metrics")
    head = Section(section.take("head"), f"{path}.head")
    spec = ModelSpec(
        task=task,
        artifact=section.text("artifact"),
        format=section.word("format"),
        precision=section.word("precision"),
        input=_parse_input(section.take("input"), f"{path}.input"),
        outputs=tuple(_parse_output(item, f"{path}.outputs[{i}]") for i, item in enumerate(outputs)),
        crop=None if crop is None else _parse_crop(crop, f"{path}.crop"),
        head=MappingProxyType({key: head.take(key) for key in head.names()}),
        labels=None if labels is None else section.word("labels"),
        metrics=MappingProxyType({key: metrics.number(key, -1e12, 1e12) for key in metrics.names()}),
        licence=section.text("licence", ""),
        description=section.text("description", ""),
        variants=_parse_variants(section.take("variants", {}), f"{path}.variants"),
        golden=None if section.take("golden", None) is None else section.digest("golden"),
    )
    section.done()
    for what, values in (
        ("name", [o.name for o in spec.outputs]),
        ("index", [o.index for o in spec.outputs]),
    ):
        if len(set(values)) != len(values):
            raise BundleError(f"{path}.outputs: two outputs have the same {what}")
    if spec.format in spec.variants:
        raise BundleError(f"{path}.variants: {spec.format!r} is the model's own format already")
    return spec


def _parse_variants(value: object, path: str) -> Mapping[str, str]:
    section = Section(value, path)
    for name in section.names():
        if not _WORD.fullmatch(name):
            raise BundleError(f"{path}: {_short(name)} is no format; use a short lower-case name")
    return MappingProxyType({name: section.text(name) for name in section.names()})


def _parse_input(value: object, path: str) -> InputSpec:
    section = Section(value, path)
    shape, dtype, scale, zero_point = _parse_tensor(section)
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise section.fail("shape", "[1, height, width, 3]")
    mean = section.integer("mean", 0, 255)
    if mean != _MEAN[dtype]:
        raise section.fail("mean", f"{_MEAN[dtype]} for an {dtype} image")
    spec = InputSpec(section.word("name"), shape, dtype, scale, zero_point, mean)
    section.done()
    return spec


def _parse_output(value: object, path: str) -> OutputSpec:
    section = Section(value, path)
    shape, dtype, scale, zero_point = _parse_tensor(section)
    spec = OutputSpec(section.word("name"), section.integer("index", 0, 63), shape, dtype, scale, zero_point)
    section.done()
    return spec


def _parse_tensor(section: Section) -> tuple[tuple[int, ...], str, float, int]:
    shape = section.integers("shape", 1, _MAX_SIDE, 4)
    if math.prod(shape) > 1 << 26:
        raise section.fail("shape", "a tensor of at most 2^26 values")
    dtype = section.take("dtype")
    if not isinstance(dtype, str) or dtype not in _RANGE:
        raise section.fail("dtype", "int8 or uint8")
    return shape, dtype, section.number("scale", 1e-12, 1e6), section.integer("zero_point", *_RANGE[dtype])


def _parse_crop(value: object, path: str) -> CropSpec:
    section = Section(value, path)
    x, y = section.numbers("shift", 2)
    if max(abs(x), abs(y)) > 4:
        raise section.fail("shift", "two numbers from -4 to 4")
    spec = CropSpec(section.number("scale", 0.1, 10), (x, y), section.number("align_above", 0, 360))
    section.done()
    return spec


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e300  # also refuses nan and inf, and integers too large for a float


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "text", type(None): "null"}.get(type(value), "a number")


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
