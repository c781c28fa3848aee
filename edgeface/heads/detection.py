"""Faces in a whole frame: an anchor-free detector that votes from the cells of three grids.

Each cell holds a logit that it lies on a face, the distances from its centre to the four edges of the box
(FCOS, Tian et al. 2019, arXiv:1904.01355) and the offsets to five points. Cells below the threshold are never
dequantised: the threshold is turned into a stored value once, and whole grids are compared in 8 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgeface.geometry import letterbox, nms
from edgeface.heads.base import ImageInput, Outputs, logistic_table, require
from edgeface.manifest import Section
from edgeface.results import BBox

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.bundle import ModelSpec, OutputSpec

__all__ = ["DETECTORS", "Detection", "DetectionHead", "Fit"]

DETECTORS = ("detection", "detection_tall")
"""The models that find faces: one network, the second for frames higher than wide. A bundle may lack it."""

_Candidates: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]"
# Scores [N], corners (left, top, right, bottom) [N, 4] and points [N, 5 or 0, 2], in pixels of the input.

# More candidates than this before suppression means a network that fires everywhere; the best ones are kept.
_MAX_CANDIDATES = 512
# A box thinner than this, in input pixels, is a vote without a face.
_LEAST_SIDE = 1e-3


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found: its box and, where the model gives them, five points float32 [5, 2], in frame pixels."""

    bbox: BBox
    keypoints: NDArray[np.float32] | None

    def moved(self, x: int, y: int) -> Detection:
        """The same face in a picture that begins so far to the left of and above this one."""
        box = self.bbox
        five = None if self.keypoints is None else self.keypoints + np.array([x, y], np.float32)
        return Detection(BBox(box.x + x, box.y + y, box.width, box.height, box.score), five)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a frame lies in the top left of the detector's input: input pixels per frame pixel.

    The two differ by less than a pixel over the whole input, because what is copied there is whole pixels
    wide.
    """

    across: float
    down: float
    columns: float = math.inf
    rows: float = math.inf
    """How much of the input the frame fills; what lies beyond is black."""


class DetectionHead:
    """Letterbox, decode and suppress. Not safe for concurrent use: its input tensor is reused.

    ``head`` in the manifest: ``strides``, ``score_threshold``, ``nms_iou``, ``max_faces``; optional
    ``box_unit`` (box distances are in this many strides, 1), ``kps_unit`` (point offsets, 2), ``box_scale``
    (boxes are grown by this factor about their centre, 1), ``min_side`` (smaller boxes are dropped, pixels of
    the detector's input, 0).
    """

    def __init__(self, spec: ModelSpec, min_score: float | None = None) -> None:
        section = Section(spec.head, f"models.{spec.task}.head")
        strides = section.integers("strides", 1, 256, 8)
        threshold = section.number("score_threshold", 0.01, 0.99)
        box_unit = section.number("box_unit", 1e-3, 1e3, 1.0)
        kps_unit = section.number("kps_unit", 1e-3, 1e3, 2.0)
        self._nms_iou = section.number("nms_iou", 0.05, 0.95)
        self._max_faces = section.integer("max_faces", 1, 1000)
        self._box_scale = section.number("box_scale", 0.1, 10.0, 1.0)
        self._min_side = section.number("min_side", 0.0, 1e4, 0.0)
        section.done()
        least = threshold if min_score is None else min_score
        self._levels = [_Level(spec, stride, least, box_unit, kps_unit) for stride in strides]
        self._input = ImageInput(spec.input)

    @property
    def seen(self) -> tuple[int, int]:
        """Width and height of what the model sees, pixels."""
        return self._input.width, self._input.height

    def scale(self, rgb: NDArray[np.uint8]) -> float:
        """Pixels of the model's input per pixel of the frame ``rgb`` uint8 [H, W, 3]."""
        height, width = rgb.shape[:2]
        return letterbox(width, height, self._input.width, self._input.height).scale

    def prepare(self, rgb: NDArray[np.uint8]) -> tuple[Outputs, Fit]:
        """Fit the frame ``rgb`` uint8 [H, W, 3] into the model's input, which is valid until the next call.

        Returns:
            The model's input and how it was fitted.
        """
        height, width = rgb.shape[:2]
        scale = self.scale(rgb)
        columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        return self._input.fill_corner(rgb, columns, rows), Fit(columns / width, rows / height, columns, rows)

    def decode(self, outputs: Outputs, fit: Fit) -> list[Detection]:
        """The faces, best score first."""
        found = [level.candidates(outputs) for level in self._levels]
        levels = [candidates for candidates in found if candidates is not None]
        if not levels:
            return []
        scores, corners, points = (np.concatenate(column) for column in zip(*levels, strict=True))
        best = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
        boxes = self._boxes(corners[best])
        large = boxes[:, 2:].min(axis=1) > max(self._min_side, _LEAST_SIDE)
        shown = (boxes[:, :2] < (fit.columns - 0.5, fit.rows - 0.5)).all(axis=1)
        best, boxes = best[large & shown], boxes[large & shown]
        kept = nms(boxes, scores[best], self._nms_iou)[: self._max_faces]
        return _detections(boxes[kept], scores[best[kept]], points[best[kept]], fit)

    def _boxes(self, corners: NDArray[np.float32]) -> NDArray[np.float32]:
        """Corners [N, 4] to x, y, width, height [N, 4], grown by the box scale."""
        size = corners[:, 2:] - corners[:, :2]
        origin = corners[:, :2] - size * ((self._box_scale - 1.0) / 2.0)
        return np.concatenate([origin, size * self._box_scale], axis=1).astype(np.float32)


def _detections(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], points: NDArray[np.float32], fit: Fit
) -> list[Detection]:
    """Results in frame pixels from boxes [N, 4], scores [N] and points [N, 5 or 0, 2] in input pixels."""
    step = np.array([fit.across, fit.down])
    origins = ((boxes[:, :2] + 0.5) / step - 0.5).tolist()
    sizes = (boxes[:, 2:] / step).tolist()
    keypoints = ((points + 0.5) / step - 0.5).astype(np.float32)
    return [
        Detection(BBox(x, y, width, height, score), five.copy() if len(five) else None)
        for (x, y), (width, height), score, five in zip(
            origins, sizes, scores.tolist(), keypoints, strict=True
        )
    ]


class _Level:
    """One grid of the detector."""

    def __init__(self, spec: ModelSpec, stride: int, least: float, box_unit: float, kps_unit: float) -> None:
        self._names = (f"score_{stride}", f"box_{stride}", f"kps_{stride}")
        rows, columns = -(-spec.input.height // stride), -(-spec.input.width // stride)
        task = spec.task if spec.task in DETECTORS else DETECTORS[0]
        require(
            spec,
            task,
            **{self._names[0]: (1, rows, columns, 1), self._names[1]: (1, rows, columns, 4)},
        )
        self._has_points = any(output.name == self._names[2] for output in spec.outputs)
        if self._has_points:
            require(spec, task, **{self._names[2]: (1, rows, columns, 10)})
            self._points = _Affine(spec.output(self._names[2]), kps_unit * stride)
        self._score = logistic_table(spec.output(self._names[0]))
        self._cut = _cut(spec.output(self._names[0]), self._score, least)
        self._box = _Affine(spec.output(self._names[1]), box_unit * stride)
        across, down = np.meshgrid(np.arange(columns), np.arange(rows))
        centres = (np.stack([across.ravel(), down.ravel()], axis=1) + 0.5) * stride - 0.5
        self._centres: NDArray[np.float32] = centres.astype(np.float32)

    def candidates(self, outputs: Outputs) -> _Candidates | None:
        """The cells that reach the least score, or None when none does."""
        raw = outputs[self._names[0]].reshape(-1)
        cells = np.flatnonzero(raw >= self._cut) if self._cut is not None else raw[:0]
        if cells.size == 0:
            return None
        centres = self._centres[cells]
        distances = self._box(outputs[self._names[1]].reshape(-1, 4)[cells])
        corners = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
        if self._has_points:
            offsets = self._points(outputs[self._names[2]].reshape(-1, 10)[cells])
            points = offsets.reshape(-1, 5, 2) + centres[:, np.newaxis]
        else:
            points = np.empty((len(cells), 0, 2), np.float32)
        return self._score[raw[cells].view(np.uint8)], corners, points


class _Affine:
    """Dequantise and bring to pixels in one multiplication and one addition."""

    def __init__(self, spec: OutputSpec, pixels: float) -> None:
        self._factor = np.float32(spec.scale * pixels)
        self._zero = np.float32(spec.zero_point)

    def __call__(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        return (raw.astype(np.float32) - self._zero) * self._factor


def _cut(spec: OutputSpec, table: NDArray[np.float32], least: float) -> np.generic | None:
    """The smallest stored value whose score reaches ``least``, or None when no stored value does."""
    stored = np.arange(256, dtype=np.uint8).view(spec.dtype)
    reaching = stored[table >= np.float32(least)]
    return reaching.min() if reaching.size else None
