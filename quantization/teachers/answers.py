"""A foreign model's tensors into points, label maps, expressions and boxes of the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.labels import FER8, convert_labels, parsing_scheme

from .adapter import IGNORED, AdapterError, Detection, Expression, Landmarks, Parsing
from .crops import View

__all__ = [
    "Answer",
    "Ask",
    "BlendshapesAnswer",
    "ExpressionAnswer",
    "FacesAnswer",
    "MapAnswer",
    "PointsAnswer",
    "answer",
    "check_shapes",
]

Array = NDArray[np.float32]
Output = Landmarks | Parsing | Expression | Detection
Shape = tuple[int | None, ...]  # None: any length


@dataclass(frozen=True, slots=True)
class PointsAnswer:
    """Points float32 [N, 2] in pixels of the picture; ``scheme``: a key of `POINT_SCHEMES`, or empty."""

    points: Array
    scheme: str


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """A label map of the whole picture, and what it was decided from.

    Attributes:
        labels: uint8 [H, W], ids of `scheme`.
        probabilities: float32 [classes, h, w] over the crop, in the scheme's order: the soft labels. None of
            what several views decided together (`together`): no crop is all of theirs.
        view: The crop; None where there are no probabilities.
        scheme: Key of the parsing scheme.
    """

    labels: NDArray[np.uint8]
    probabilities: Array | None
    view: View | None
    scheme: str

    @property
    def soft(self) -> tuple[View, Array]:
        """The crop and its probabilities.

        Raises:
            TypeError: There are none.
        """
        if self.view is None or self.probabilities is None:
            raise TypeError("a map that several views decided together has no probabilities of its own")
        return self.view, self.probabilities

    def converted(self, scheme: str, lossy: bool = False) -> NDArray[np.uint8]:
        """The labels in another scheme, by the rules of `edgeface.labels`.

        Raises:
            ArgumentError: The scheme is unknown.
            ConversionError: There is no such conversion, or it loses something and `lossy` is False.
        """
        if parsing_scheme(scheme).key == self.scheme:
            return self.labels
        return convert_labels(self.labels, self.scheme, scheme, lossy=lossy)


@dataclass(frozen=True, slots=True)
class ExpressionAnswer:
    """Probabilities float32 [8] in the order of FER8; 0 for what the teacher cannot say."""

    probabilities: Array

    @property
    def label(self) -> str:
        return FER8.names[int(self.probabilities.argmax())]


@dataclass(frozen=True, slots=True)
class BlendshapesAnswer:
    """The points that coefficients were read off, the coefficients float32 [52], and bool [52], the known."""

    points: PointsAnswer
    values: Array
    known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FacesAnswer:
    """Boxes float32 [N, 4] (x, y, width, height, pixels of the picture) and scores [N], best first."""

    boxes: Array
    scores: Array


Answer = PointsAnswer | MapAnswer | ExpressionAnswer | BlendshapesAnswer | FacesAnswer
Ask = Callable[..., Answer | None]
"""Of a picture RGB uint8 [H, W, 3] and, where the teacher goes by them, a face's box [4] (x, y, width,
height) and keypoints [5, 2]; None: it sees no face there."""


def check_shapes(rule: Output, shapes: Mapping[str, Shape]) -> None:
    """Compares the model's outputs with what the rule reads from them.

    Raises:
        AdapterError: An output is missing or has another shape; the message names key, shapes and mend.
    """
    for key, allowed in _expected(rule).items():
        name = getattr(rule, key)
        if name not in shapes:
            raise AdapterError(
                f"{_table(rule)}.{key} is {name!r}, but the model's outputs are "
                f"{', '.join(sorted(s for s in shapes if not s.startswith('#')))}: "
                "name one of them or export the model with this name"
            )
        if not any(_fits(shapes[name], shape) for shape in allowed):
            wanted = " or ".join(_words(shape) for shape in allowed)
            raise AdapterError(
                f"{_table(rule)}.{key}: the output {name!r} is {_words(shapes[name])}, but the adapter reads "
                f"{wanted}: it describes another model, or this one was exported differently"
            )


def answer(rule: Output, tensors: Mapping[str, Array], view: View, frame: tuple[int, int]) -> Answer:
    """The model's answer about the picture; ``frame``: its (width, height)."""
    if isinstance(rule, Landmarks):
        crop_points = _points(rule, tensors[rule.output], view.size)
        return PointsAnswer(view.to_frame(crop_points).astype(np.float32), rule.scheme)
    if isinstance(rule, Parsing):
        maps = _maps(rule, tensors[rule.output])
        return MapAnswer(view.put_back(maps, frame), maps, view, rule.scheme)
    if isinstance(rule, Expression):
        return ExpressionAnswer(_gathered(rule, FER8.names, tensors[rule.output].reshape(-1)))
    return _faces(rule, tensors[rule.scores][0], tensors[rule.boxes][0], view)


def _expected(rule: Output) -> dict[str, list[Shape]]:
    if isinstance(rule, Landmarks):
        if rule.decode in ("argmax", "centroid"):
            return {"output": [(1, rule.count, None, None)]}
        return {"output": [(1, rule.count, 2), (1, 2 * rule.count)]}
    if isinstance(rule, Parsing):
        count = len(rule.channels)
        return {"output": [(1, count, None, None) if rule.layout == "NCHW" else (1, None, None, count)]}
    if isinstance(rule, Expression):
        return {"output": [(1, len(rule.channels))]}
    return {"scores": [(1, None, None)], "boxes": [(1, None, 4)]}


def _table(rule: Output) -> str:
    return type(rule).__name__.lower()


def _fits(have: Shape, want: Shape) -> bool:
    return len(have) == len(want) and all(None in (h, w) or h == w for h, w in zip(have, want, strict=True))


def _words(shape: Shape) -> str:
    return "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"


def _points(rule: Landmarks, raw: Array, size: tuple[int, int]) -> NDArray[np.float64]:
    """In pixels of the model's input, centres at integers."""
    sides = np.array(size, np.float64)
    if rule.decode in ("argmax", "centroid"):
        maps = raw[0].astype(np.float64)
        height, width = maps.shape[1:]
        cells = _peaks(maps) if rule.decode == "argmax" else _centroids(maps, rule.activation)
        return (cells + 0.5) * sides / (width, height) - 0.5
    points = raw.reshape(rule.count, 2).astype(np.float64)
    if rule.decode == "unit":
        return points * sides - 0.5
    return ((points + 1) * sides - 1) / 2 if rule.decode == "signed" else points


def _peaks(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    row, column = np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:])
    return np.stack((column, row), 1).astype(np.float64)


def _centroids(maps: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    if activation == "sigmoid":
        maps = 1 / (1 + np.exp(-np.clip(maps, -60, 60)))
    mass = np.maximum(maps.sum((1, 2)), 1e-6)
    columns = (maps.sum(1) * np.arange(maps.shape[2])).sum(1)
    rows = (maps.sum(2) * np.arange(maps.shape[1])).sum(1)
    return np.stack((columns, rows), 1) / mass[:, None]


def _maps(rule: Parsing, raw: Array) -> Array:
    planes = raw[0] if rule.layout == "NCHW" else np.moveaxis(raw[0], -1, 0)
    return _gathered(rule, parsing_scheme(rule.scheme).names, planes)


def _gathered(rule: Parsing | Expression, names: tuple[str, ...], raw: Array) -> Array:
    """Channels into the scheme's order: ignored ones left out, those of one class added up."""
    used = [i for i, name in enumerate(rule.channels) if name != IGNORED]
    values = raw[used].astype(np.float32)
    if rule.softmax:
        values = np.exp(values - values.max(0))
        values /= values.sum(0)
    result = np.zeros((len(names), *values.shape[1:]), np.float32)
    for channel, plane in zip(used, values, strict=True):
        result[names.index(rule.channels[channel])] += plane
    return result


def _faces(rule: Detection, scores: Array, boxes: Array, view: View) -> FacesAnswer:
    if rule.column >= scores.shape[1]:
        raise AdapterError(
            f"detection.column is {rule.column}, but the output {rule.scores!r} has {scores.shape[1]} "
            "columns: count from 0"
        )
    found = scores[:, rule.column]
    kept = np.flatnonzero(found >= rule.threshold)
    corners = boxes[kept].reshape(-1, 2, 2).astype(np.float64)
    if rule.decode == "unit":
        corners = corners * np.array(view.size) - 0.5
    corners = view.to_frame(corners)
    flat = np.concatenate((corners[:, 0], corners[:, 1] - corners[:, 0]), 1)
    best = cv2.dnn.NMSBoxes(flat.tolist(), found[kept].tolist(), rule.threshold, rule.nms)
    order = np.asarray(best, np.int64).reshape(-1)
    return FacesAnswer(flat[order].astype(np.float32), found[kept][order].astype(np.float32))
