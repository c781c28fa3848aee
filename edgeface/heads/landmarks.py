"""68 points, how visible each one is, whether there is a face at all, and how it moves.

The model gives each point as an offset from the mean shape of its training crops, because 256 levels are too
few for a coordinate and enough for what is left after the mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeface.errors import BundleError
from edgeface.heads.base import ImageInput, Outputs, crop_of, logistic_table, require
from edgeface.labels import BLENDSHAPES52, IBUG68
from edgeface.manifest import Section
from edgeface.results import BBox, Blendshapes, Landmarks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.bundle import ModelSpec
    from edgeface.geometry import Similarity

__all__ = ["LandmarksHead"]

_POINTS = 68
_MOVEMENT = "blendshapes"
_HALF = np.float32(0.5)


class LandmarksHead:
    """Crop a face and read its landmarks. Not safe for concurrent use: its input tensor is reused.

    ``head`` in the manifest: ``mean_shape`` (68 pairs x, y; 0 is the crop's left or top edge, 1 its right or
    bottom edge) and ``residual_scale``; a point in crop pixels is (mean + residual * residual_scale) * size -
    0.5. ``annotation_offset``, 68 pairs, says what of the mean shape the points owe to how photos are marked:
    in a mirror image it is the same, not mirrored; none unless said. ``min_presence``, 0 unless said, is the
    presence below which a detected face is none. A model with an output ``blendshapes`` (logits) names its
    coefficients in ``blendshapes``, in their order.
    """

    def __init__(self, spec: ModelSpec) -> None:
        flat = (1, 1, 1)
        require(
            spec, "landmarks", points=(*flat, 2 * _POINTS), visibility=(*flat, _POINTS), presence=(*flat, 1)
        )
        section = Section(spec.head, f"models.{spec.task}.head")
        mean = _shape(section, "mean_shape")
        offset = _shape(section, "annotation_offset", [[0.0, 0.0]] * _POINTS)
        residual_scale = section.number("residual_scale", 1e-3, 1e3)
        self._min_presence = section.number("min_presence", 0.0, 1.0, 0.0)
        self._coefficients = _coefficients(spec, section)
        self._movement = logistic_table(spec.output(_MOVEMENT)) if self._coefficients else None
        self._flip = _flip(self._coefficients)
        section.done()
        points = spec.output("points")
        size = np.array([spec.input.width, spec.input.height], np.float64)
        # points = stored * factor + offset, in crop pixels
        factor = points.scale * residual_scale * size
        self._factor = factor.astype(np.float32)
        self._offset = (mean * size - 0.5 - points.zero_point * factor).astype(np.float32)
        self._annotation = (offset * size).astype(np.float32)
        self._visibility = logistic_table(spec.output("visibility"))
        self._presence = logistic_table(spec.output("presence"))
        self._spec = spec
        self._input = ImageInput(spec.input)

    def prepare(self, rgb: NDArray[np.uint8], box: BBox, roll: float) -> tuple[Outputs, Similarity]:
        """Cut a face out of a frame; see `edgeface.heads.base.CropHead`."""
        crop, window = crop_of(self._spec, box, roll)
        return self._input.fill_crop(rgb, crop, window), crop

    def mirror(self) -> Outputs:
        """The mirror image of the crop; see `edgeface.heads.base.CropHead`."""
        return self._input.mirror()

    def decode(self, outputs: Outputs, crop: Similarity, mirrored: Outputs | None = None) -> Landmarks:
        """The landmarks, in frame pixels."""
        points, visibility, presence = self._read(outputs)
        if mirrored is not None:
            theirs, seen, there = self._read(mirrored)
            points += IBUG68.flip_points(theirs - self._annotation, self._input.width) + self._annotation
            visibility = visibility + seen[list(IBUG68.flip)]
            points, visibility = points * _HALF, visibility * _HALF
            presence = (presence + there) / 2
        return Landmarks(crop.inverse().apply(points), visibility, presence)

    def movement(self, outputs: Outputs, mirrored: Outputs | None = None) -> Blendshapes | None:
        """How the face moves; None of a model that does not tell."""
        if self._movement is None:
            return None
        scores = self._movement[outputs[_MOVEMENT].reshape(-1).view(np.uint8)]
        if mirrored is not None:
            theirs = self._movement[mirrored[_MOVEMENT].reshape(-1).view(np.uint8)]
            scores = (scores + theirs[self._flip]) * _HALF
        return Blendshapes(self._coefficients, scores)

    def confirms(self, landmarks: Landmarks, least: float) -> bool:
        """Whether the crop held a face, as far as this model can tell: its own least presence, or more."""
        return landmarks.presence >= max(self._min_presence, least)

    def _read(self, outputs: Outputs) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Points in crop pixels, their visibility and the presence."""
        stored = outputs["points"].reshape(_POINTS, 2).astype(np.float32)
        visibility = self._visibility[outputs["visibility"].reshape(-1).view(np.uint8)]
        presence = float(self._presence[outputs["presence"].reshape(-1).view(np.uint8)[0]])
        return stored * self._factor + self._offset, visibility, presence


def _flip(names: tuple[str, ...]) -> list[int]:
    """Where each coefficient's value stands in the answer to the mirror image.

    Where the model lacks the other side's, it is the coefficient's own.
    """
    other = [BLENDSHAPES52.names[BLENDSHAPES52.flip[BLENDSHAPES52.names.index(name)]] for name in names]
    return [names.index(mirror) if mirror in names else i for i, mirror in enumerate(other)]


def _coefficients(spec: ModelSpec, section: Section) -> tuple[str, ...]:
    """What the model's fourth output is called, number by number; empty where it has none."""
    named = section.take(_MOVEMENT, None)
    if all(output.name != _MOVEMENT for output in spec.outputs):
        if named is not None:
            raise BundleError(f"{section.path}.{_MOVEMENT}: names what no output of the model is called")
        return ()
    wrong = section.fail(_MOVEMENT, f"a list of different names of {BLENDSHAPES52.key}, one for each number")
    if not isinstance(named, list) or not named or not all(name in BLENDSHAPES52.names for name in named):
        raise wrong
    if len(set(named)) < len(named):
        raise wrong
    require(spec, "landmarks", **{_MOVEMENT: (1, 1, 1, len(named))})
    return tuple(named)


def _shape(section: Section, name: str, *otherwise: list[list[float]]) -> NDArray[np.float64]:
    value = section.take(name, *otherwise)
    wrong = section.fail(name, f"{_POINTS} pairs of numbers from -4 to 5")
    if not isinstance(value, list) or len(value) != _POINTS:
        raise wrong
    for pair in value:
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or any(type(item) not in (int, float) for item in pair)
        ):
            raise wrong
    shape = np.array(value, np.float64)
    if not (np.abs(shape - 0.5) <= 4.5).all():
        raise wrong
    return shape
