"""What the analyser gives back: frozen, its arrays read-only and independent of any reused buffer.

Conventions, stated once: coordinates are float32 pixels of the original frame, x to the right, y down, pixel
centres at integers (a frame of width W spans -0.5 to W - 0.5). Scores are in [0, 1]. Angles are degrees,
right-handed in these axes, which means positive is clockwise on the screen. Times are monotonic nanoseconds.
"Left" and "right" in a name of a part are the person's own; where a picture side is meant, the text says so.

`to_dict` gives plain JSON values; ``edgeface/schema.json`` describes them (version ``edgeface.frame/1``).
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field, fields
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.errors import ArgumentError
from edgeface.labels import BLENDSHAPES52, FER8, IBUG68, convert_labels, lay_over, parsing_scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["BBox", "Blendshapes", "Expression", "Face", "FrameResult", "Landmarks", "ParsingMap", "Ran"]

SCHEMA = "edgeface.frame/1"


def _frozen(value: Any, dtype: type[np.generic], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Return an own, read-only array of this dtype and shape (-1: any length)."""
    array = np.asarray(value)
    fits = array.shape == shape or (
        array.ndim == len(shape)
        and all(want in (-1, have) for want, have in zip(shape, array.shape, strict=True))
    )
    if not fits:
        wanted = ", ".join("any" if want < 0 else str(want) for want in shape)
        raise ArgumentError(f"{name} must have the shape [{wanted}], not {list(array.shape)}")
    if (
        array.dtype != dtype
        or array.flags.writeable
        or array.base is not None
        or not array.flags.c_contiguous
    ):
        array = np.array(array, dtype=dtype, order="C")
        array.setflags(write=False)
    return array


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must be a number, not {value!r}") from None


def _share(value: Any, name: str) -> float:
    number = _number(value, name)
    if not 0.0 <= number <= 1.0:
        raise ArgumentError(f"{name} must be between 0 and 1, not {value!r}")
    return number


class _Result:
    """Equality that understands arrays, and pickling that understands read-only mappings."""

    __slots__ = ()

    def _values(self) -> tuple[Any, ...]:
        values = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]  # every subclass is a dataclass
        return tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, _Result):
            return NotImplemented
        return all(
            np.array_equal(a, b) if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else a == b
            for a, b in zip(self._values(), other._values(), strict=True)
        )

    __hash__ = None  # type: ignore[assignment]  # Python's own way to say unhashable

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), self._values()


@dataclass(frozen=True, slots=True)
class BBox:
    """An axis-aligned box: it spans [x, x + width] by [y, y + height] in frame pixels.

    Attributes:
        x: Left edge, pixels.
        y: Top edge, pixels.
        width: Width in pixels, above 0.
        height: Height in pixels, above 0.
        score: Confidence in [0, 1].

    Raises:
        ArgumentError: A value is not finite, a side is not above 0 or the score is outside [0, 1].
    """

    x: float
    y: float
    width: float
    height: float
    score: float = 1.0

    def __post_init__(self) -> None:
        for name in ("x", "y", "width", "height", "score"):
            number = getattr(self, name)
            if type(number) is not float:
                number = _number(number, f"BBox.{name}")
                object.__setattr__(self, name, number)
            if not math.isfinite(number):
                raise ArgumentError(f"BBox.{name} must be finite, not {number!r}")
        if self.width <= 0 or self.height <= 0:
            raise ArgumentError(f"BBox needs a width and a height above 0, not {self.width} x {self.height}")
        _share(self.score, "BBox.score")

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.width * self.height

    @property
    def center(self) -> tuple[float, float]:
        """Centre (x, y) in frame pixels."""
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def side(self) -> float:
        """The longer side in pixels."""
        return max(self.width, self.height)

    def iou(self, other: BBox) -> float:
        """Return intersection over union with another box, in [0, 1]."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if across <= 0 or down <= 0:
            return 0.0
        shared = across * down
        return shared / (self.area + other.area - shared)

    def to_dict(self) -> dict[str, float]:
        """Return x, y, width, height in pixels (two decimals) and the score."""
        return {
            "x": round(self.x, 2),
            "y": round(self.y, 2),
            "width": round(self.width, 2),
            "height": round(self.height, 2),
            "score": round(self.score, 4),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks(_Result):
    """The 68 iBUG points of one face.

    Attributes:
        points: float32 [68, 2], (x, y) in frame pixels, order and parts as `edgeface.labels.IBUG68`.
        visibility: float32 [68], probability that the point is seen and not covered.
        presence: Probability that the crop held a face at all. Of a model whose output ends at 0.5,
            that means no face.

    Raises:
        ArgumentError: A shape is wrong or the presence is outside [0, 1].
    """

    points: NDArray[np.float32]
    visibility: NDArray[np.float32]
    presence: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _frozen(self.points, np.float32, (68, 2), "Landmarks.points"))
        object.__setattr__(
            self, "visibility", _frozen(self.visibility, np.float32, (68,), "Landmarks.visibility")
        )
        object.__setattr__(self, "presence", _share(self.presence, "Landmarks.presence"))

    def part(self, name: str) -> NDArray[np.float32]:
        """Return the points [n, 2] of a part: jaw, right_brow, left_brow, nose_bridge, nose_tip, ...

        Raises:
            ArgumentError: There is no such part; the message lists them.
        """
        where = IBUG68.parts.get(name)
        if where is None:
            raise ArgumentError(f"iBUG-68 has no part {name!r}: use one of {', '.join(IBUG68.parts)}")
        return self.points[where]

    def to_dict(self) -> dict[str, Any]:
        """Return the scheme, 68 points (two decimals), 68 visibilities and the presence."""
        return {
            "scheme": IBUG68.key,
            "points": [[round(x, 2), round(y, 2)] for x, y in self.points.tolist()],
            "visibility": [round(v, 4) for v in self.visibility.tolist()],
            "presence": round(self.presence, 4),
        }


@dataclass(frozen=True, slots=True, eq=False)
class ParsingMap(_Result):
    """A class per cell of a grid laid over a box of the frame.

    Attributes:
        labels: uint8 [h, w], class ids of `scheme`. Cell (row, column) covers the piece of `bbox` at
            ``x + column / w * width`` and so on; the box is axis-aligned and may stick out of the frame.
        bbox: The box that `labels` covers, in frame pixels.
        scheme: Key of the parsing scheme (see `edgeface.labels`).
        logits: int8 or uint8 [h, w, classes], how likely the model holds each class, in equal steps, or None:
            the greatest of a cell is its label (of equal ones the first). Where they are there, `to_frame`
            draws borders by them; they are not part of `to_dict`, nor there for a face that was turned.

    Raises:
        ArgumentError: The map is not two-dimensional, the scheme is unknown, an id is not in it, or the
            logits are of another type or grid.
    """

    labels: NDArray[np.uint8]
    bbox: BBox
    scheme: str = "celebamask19"
    logits: NDArray[np.int8] | NDArray[np.uint8] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        scheme = parsing_scheme(self.scheme)
        labels = _frozen(self.labels, np.uint8, (-1, -1), "ParsingMap.labels")
        if np.asarray(self.labels).dtype != np.uint8 and not np.array_equal(labels, self.labels):
            # 256 would have become 0 without a word.
            raise ArgumentError("ParsingMap.labels must be whole numbers from 0 to 255: pass uint8 class ids")
        if labels.size == 0 or int(labels.max()) >= len(scheme):
            held = "nothing" if labels.size == 0 else f"class id {int(labels.max())}"
            raise ArgumentError(
                f"ParsingMap.labels holds {held}; {scheme.key} has the ids 0 to {len(scheme) - 1}"
            )
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "scheme", scheme.key)
        if self.logits is not None:
            stored = np.asarray(self.logits).dtype
            if stored not in (np.int8, np.uint8):
                raise ArgumentError(f"ParsingMap.logits must be int8 or uint8, not {stored}")
            shape = (*labels.shape, len(scheme))
            logits = _frozen(self.logits, stored.type, shape, "ParsingMap.logits")
            object.__setattr__(self, "logits", logits)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names of the scheme, in order of their ids."""
        return parsing_scheme(self.scheme).names

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return bool [h, w] over `bbox`: where the map says `name`.

        Raises:
            ArgumentError: The scheme has no such class; the message lists those it has.
        """
        return np.equal(self.labels, parsing_scheme(self.scheme).index(name))

    def to_frame(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return uint8 [H, W] for a frame of ``size = (H, W)``, 0 outside `bbox`.

        A pixel lies between the centres of four cells; the class with the greatest logit between them wins,
        or, without logits, the label with the greatest bilinear share. That draws a slanted border as a line,
        where the nearest cell alone would draw stairs.

        Raises:
            ArgumentError: The size is not two whole numbers above 0.
        """
        try:
            height, width = (operator.index(side) for side in size)
        except (TypeError, ValueError):
            got = repr(size) if type(size) in (tuple, list, int) else type(size).__name__
            raise ArgumentError(f"a frame's size is (height, width), not {got}: pass rgb.shape[:2]") from None
        if height <= 0 or width <= 0:
            raise ArgumentError(
                f"a frame of {width} x {height} pixels does not exist: pass (height, width) above 0"
            )
        box = (self.bbox.x, self.bbox.y, self.bbox.width, self.bbox.height)
        return lay_over(self.labels, box, (height, width), self.logits)

    def as_scheme(self, name: str, lossy: bool = False) -> ParsingMap:
        """Return the same map in another scheme ("lapa", "ibug11", "ibug14", "easyportrait", ...), no logits.

        Raises:
            ArgumentError: The scheme is unknown.
            ConversionError: The conversion loses information and `lossy` is false, or there is none.
        """
        return ParsingMap(convert_labels(self.labels, self.scheme, name, lossy), self.bbox, name)

    def fractions(self) -> dict[str, float]:
        """Return the share of `bbox` per class name, in order of ids; the shares sum to 1."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names))
        return {
            name: count / self.labels.size for name, count in zip(self.names, counts.tolist(), strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return scheme, names, box, size [h, w], row-major runs [id, length, ...] and fractions."""
        flat = self.labels.ravel()
        starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
        lengths = np.diff(np.concatenate((starts, [flat.size])))
        return {
            "scheme": self.scheme,
            "names": list(self.names),
            "bbox": {side: value for side, value in self.bbox.to_dict().items() if side != "score"},
            "size": list(self.labels.shape),
            "runs": np.stack((flat[starts].astype(np.int64), lengths), axis=1).ravel().tolist(),
            "fractions": {name: round(share, 4) for name, share in self.fractions().items() if share > 0},
        }


@dataclass(frozen=True, slots=True, eq=False)
class Expression(_Result):
    """How a face looks, as people label photos of posed and spontaneous faces; not what the person feels.

    Attributes:
        scores: Probability of each of the eight FER+ classes, in the order of `edgeface.labels.FER8`,
            calibrated by temperature scaling; they sum to 1.

    Raises:
        ArgumentError: The names are not those of FER8 or a score is outside [0, 1].
    """

    scores: Mapping[str, float]

    def __post_init__(self) -> None:
        if set(self.scores) != set(FER8.names):
            raise ArgumentError(f"Expression.scores needs exactly the classes {', '.join(FER8.names)}")
        ordered = {name: _share(self.scores[name], f"score of {name}") for name in FER8.names}
        object.__setattr__(self, "scores", MappingProxyType(ordered))

    @property
    def label(self) -> str:
        """The class with the highest score; the first of FER8 when several are equal."""
        return max(self.scores, key=self.scores.__getitem__)

    @property
    def score(self) -> float:
        """The highest score."""
        return self.scores[self.label]

    def to_dict(self) -> dict[str, Any]:
        """Return label, score and all eight scores (four decimals)."""
        scores = {name: round(value, 4) for name, value in self.scores.items()}
        return {"label": self.label, "score": scores[self.label], "scores": scores}


@lru_cache(maxsize=8)  # a model's are the same in every frame
def _coefficients(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names as they are.

    Raises:
        ArgumentError: One is unknown or given twice.
    """
    strange = sorted({str(name) for name in names if name not in BLENDSHAPES52.names})
    if strange or len(set(names)) < len(names):
        wrong = f"unknown are {', '.join(strange)}" if strange else "a name is given twice"
        raise ArgumentError(f"Blendshapes.names: {wrong}; use each name of BLENDSHAPES52 once at most")
    return names


@dataclass(frozen=True, slots=True, eq=False)
class Blendshapes(_Result):
    """How far each movement of a face goes: what drives a drawn head, not what the person feels.

    Attributes:
        names: The coefficients that the model gives, names of `edgeface.labels.BLENDSHAPES52`. One that is
            not among them is not known, which is another thing than 0.
        scores: float32 [N], one per name, each in [0, 1].

    Raises:
        ArgumentError: A name is unknown or given twice, or the scores are not as many numbers in [0, 1].
    """

    names: tuple[str, ...]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        names = _coefficients(tuple(self.names))
        scores = _frozen(self.scores, np.float32, (len(names),), "Blendshapes.scores")
        if len(names) and not (scores.min() >= 0 and scores.max() <= 1):  # NaN is neither
            raise ArgumentError("Blendshapes.scores must be between 0 and 1")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "scores", scores)

    def __getitem__(self, name: str) -> float:
        """The coefficient of this name, in [0, 1].

        Raises:
            ArgumentError: The model does not give it; the message lists those it gives.
        """
        try:
            return float(self.scores[self.names.index(name)])
        except ValueError:
            raise ArgumentError(f"no blendshape {name!r}: this model gives {', '.join(self.names)}") from None

    def to_dict(self) -> dict[str, float]:
        """Return the coefficients by name (four decimals)."""
        return {name: round(value, 4) for name, value in zip(self.names, self.scores.tolist(), strict=True)}


@dataclass(frozen=True, slots=True, eq=False)
class Face(_Result):
    """One face of a frame; an output that was not asked for is None.

    Attributes:
        bbox: Face box in frame pixels with the detector's score (1 for a box given by the caller).
        roll: How far the head leans, degrees, positive clockwise on the screen; None when unknown.
        keypoints: float32 [5, 2] in frame pixels, as seen in the picture of an upright face: left eye, right
            eye, nose, left and right corner of the mouth; None for a box given by the caller.
        landmarks: The 68 points, or None.
        parsing: The parsing map, or None.
        expression: The expression, or None.
        blendshapes: How the face moves, together with `landmarks` where their model gives it, or None.
    """

    bbox: BBox
    roll: float | None = None
    keypoints: NDArray[np.float32] | None = None
    landmarks: Landmarks | None = None
    parsing: ParsingMap | None = None
    expression: Expression | None = None
    blendshapes: Blendshapes | None = None

    def __post_init__(self) -> None:
        if self.keypoints is not None:
            object.__setattr__(
                self, "keypoints", _frozen(self.keypoints, np.float32, (5, 2), "Face.keypoints")
            )

    def to_dict(self) -> dict[str, Any]:
        """Return all of the face as JSON values; absent outputs are null."""
        points = None if self.keypoints is None else self.keypoints.tolist()
        return {
            "bbox": self.bbox.to_dict(),
            "roll": None if self.roll is None else round(self.roll, 2),
            "keypoints": None if points is None else [[round(x, 2), round(y, 2)] for x, y in points],
            "landmarks": None if self.landmarks is None else self.landmarks.to_dict(),
            "parsing": None if self.parsing is None else self.parsing.to_dict(),
            "expression": None if self.expression is None else self.expression.to_dict(),
            "blendshapes": None if self.blendshapes is None else self.blendshapes.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Ran:
    """What really ran a model, as the runtime says it; not what was asked for.

    Attributes:
        backend: Name of the backend, as `FaceAnalyzer` takes it: "litert", "isolated:onnx".
        delegate: What the runtime handed the graph to ("XNNPACK", "CUDAExecutionProvider"); None: to nothing,
            its own plain kernels ran.
        cpu_operators: How many operators an accelerator left on the CPU; None: no accelerator is used, or
            the runtime does not tell.
        precision: Of the arithmetic: "int8", "float16".
        threads: Threads per run on the CPU.
        degraded: The accelerator was lost and the CPU stood in.
    """

    backend: str
    delegate: str | None = None
    cpu_operators: int | None = None
    precision: str = "int8"
    threads: int = 1
    degraded: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult(_Result):
    """All faces of one frame.

    Attributes:
        faces: The faces, largest box first; empty when no face was found.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.
        timings: Nanoseconds per stage: "detection", "landmarks", "parsing", "expression" (those that ran) and
            "total". A model is opened by the first frame that needs it, and counts there.
        source: Where the frame came from, as the frame says it.
        timestamp_ns: Monotonic time of the frame.
        backend: Name of the backend that was chosen for the models.
        ran: What really ran each model: "detection" (or "detection_tall"), "landmarks", ... (those that ran).
    """

    faces: tuple[Face, ...]
    width: int
    height: int
    timings: Mapping[str, int] = field(default_factory=dict)
    source: str = ""
    timestamp_ns: int = 0
    backend: str = ""
    ran: Mapping[str, Ran] = field(default_factory=dict)

    def __post_init__(self) -> None:
        largest_first = tuple(sorted(self.faces, key=lambda face: -face.bbox.area))
        object.__setattr__(self, "faces", largest_first)
        object.__setattr__(self, "timings", MappingProxyType(dict(self.timings)))
        object.__setattr__(self, "ran", MappingProxyType(dict(self.ran)))

    @property
    def degraded(self) -> bool:
        """True if the CPU stood in for a lost accelerator in this frame; the faces are right, only slower."""
        return any(ran.degraded for ran in self.ran.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the frame as JSON values that follow ``edgeface/schema.json``."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "timestamp_ns": self.timestamp_ns,
            "width": self.width,
            "height": self.height,
            "backend": self.backend,
            "degraded": self.degraded,
            "ran": {task: ran.to_dict() for task, ran in self.ran.items()},
            "timings_ns": dict(self.timings),
            "faces": [face.to_dict() for face in self.faces],
        }
