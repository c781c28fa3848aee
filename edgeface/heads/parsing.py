"""A class for every pixel of a face crop, laid back over an axis-aligned box of the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeface.errors import ArgumentError, BundleError
from edgeface.heads.base import ImageInput, Outputs, crop_of, require
from edgeface.labels import parsing_scheme
from edgeface.manifest import Section
from edgeface.results import BBox, ParsingMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.bundle import ModelSpec, OutputSpec
    from edgeface.geometry import Similarity

__all__ = ["ParsingHead"]

_CACHE_LINE = 64  # bytes


class ParsingHead:
    """Crop a face and name its pixels. Not safe for concurrent use: its buffers are reused.

    ``head`` in the manifest is empty; ``labels`` names the parsing scheme, whose ids are the model's
    channels.
    """

    def __init__(self, spec: ModelSpec) -> None:
        try:
            self._scheme = parsing_scheme(spec.labels or "")
        except ArgumentError as error:
            raise BundleError(f"models.{spec.task}.labels: {error}") from error
        logits = spec.output("logits")
        require(spec, "parsing", logits=(1, *logits.shape[1:3], len(self._scheme.names)))
        Section(spec.head, f"models.{spec.task}.head").done()
        self._argmax = _ChannelArgmax(logits)
        self._spec = spec
        self._input = ImageInput(spec.input)

    def prepare(self, rgb: NDArray[np.uint8], box: BBox, roll: float) -> tuple[Outputs, Similarity]:
        """Cut a face out of a frame; see `edgeface.heads.base.CropHead`."""
        crop, window = crop_of(self._spec, box, roll)
        return self._input.fill_crop(rgb, crop, window), crop

    def mirror(self) -> Outputs:
        """The mirror image of the crop; see `edgeface.heads.base.CropHead`."""
        return self._input.mirror()

    def decode(self, outputs: Outputs, crop: Similarity, mirrored: Outputs | None = None) -> ParsingMap:
        """The parsing map; of two views, by the mean of their stored logits, in whole steps.

        Its box is the crop itself, or, when the crop was turned upright, the smallest axis-aligned box around
        it; what lies in that box but not in the crop is background, and there are no logits.
        """
        logits = outputs["logits"]
        if mirrored is not None:
            theirs = mirrored["logits"][:, :, ::-1, list(self._scheme.flip)]
            logits = ((logits.astype(np.int16) + theirs) >> 1).astype(logits.dtype)
        labels = self._argmax(logits)
        size = (self._input.width, self._input.height)
        upright, box = _upright(labels, crop, size)
        if upright is not labels:
            # Turning all channels would take as long as the network.
            return ParsingMap(upright, box, self._scheme.key)
        own = np.array(logits[0])  # the outputs are overwritten by the next face
        own.setflags(write=False)
        return ParsingMap(labels, box, self._scheme.key, own)


class _ChannelArgmax:
    """The channel of the greatest stored value per pixel; of equal ones the lowest channel.

    np.argmax over a short last axis runs scalar code. Bringing each channel into a plane of its own first
    lets every following step run over long rows of bytes: 0.06 instead of 0.46 ms for 128 x 128 x 19 on one
    x86 core.
    """

    def __init__(self, spec: OutputSpec) -> None:
        _, self._rows, self._columns, channels = spec.shape
        pixels = self._rows * self._columns
        self._channels = np.uint8(channels)
        # Rows that are no power of two apart: else all channels of a pixel meet in one set of the cache, and
        # bringing them into planes takes 2.5 times as long.
        self._planes: NDArray[np.uint8] = np.empty((channels, pixels + _CACHE_LINE), np.uint8)[:, :pixels]
        self._values = self._planes.view(spec.dtype)
        self._greatest = np.empty(pixels, spec.dtype)
        self._is_greatest = np.empty((channels, pixels), np.bool_)
        # Earlier channels weigh more, so that the maximum over "is greatest" x weight is the first of equals.
        self._weights = np.arange(channels, 0, -1, dtype=np.uint8)[:, np.newaxis]

    def __call__(self, logits: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Labels uint8 [rows, columns], a new array, for stored logits [1, rows, columns, channels]."""
        pixels = logits.view(np.uint8).reshape(-1, len(self._planes))
        cv2.transpose(pixels, dst=self._planes)
        np.maximum.reduce(self._values, axis=0, out=self._greatest)
        np.equal(self._values, self._greatest, out=self._is_greatest)
        votes = self._is_greatest.view(np.uint8)
        np.multiply(votes, self._weights, out=votes)
        labels: NDArray[np.uint8] = np.subtract(self._channels, np.maximum.reduce(votes, axis=0))
        return labels.reshape(self._rows, self._columns)


def _upright(
    labels: NDArray[np.uint8], crop: Similarity, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], BBox]:
    """The labels of a crop of ``size`` (width, height) over an axis-aligned box of the frame."""
    width, height = size
    (scale, turn, shift_x), (_, _, shift_y) = crop.matrix.tolist()
    if turn == 0.0 and scale > 0.0:
        left, top = (-0.5 - shift_x) / scale, (-0.5 - shift_y) / scale
        return labels, BBox(left, top, width / scale, height / scale)
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    frame = crop.inverse().apply(corners)
    (left, top), (right, bottom) = frame.min(axis=0).tolist(), frame.max(axis=0).tolist()
    box = BBox(left, top, right - left, bottom - top)
    # As many cells per frame pixel as the crop had, so that nothing is lost or invented.
    columns = max(1, round(box.width * crop.scale * labels.shape[1] / width))
    rows = max(1, round(box.height * crop.scale * labels.shape[0] / height))
    # Cell j spans [j, j + 1] of the columns, so its centre lies at j + 0.5; pixel j is centred at j.
    cell_to_frame = _scaling(box.width / columns, box.height / rows, 0.5, left, top)
    crop_to_label = _scaling(labels.shape[1] / width, labels.shape[0] / height, 0.5, -0.5, -0.5)
    cell_to_label = (crop_to_label @ np.vstack([crop.matrix, [0.0, 0.0, 1.0]]) @ cell_to_frame)[:2]
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    turned = cv2.warpAffine(
        labels, cell_to_label, (columns, rows), flags=flags, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(turned, np.uint8), box


def _scaling(across: float, down: float, center: float, x: float, y: float) -> NDArray[np.float64]:
    """[3, 3]: add ``center``, scale, then shift by (x, y)."""
    return np.array([[across, 0.0, center * across + x], [0.0, down, center * down + y], [0.0, 0.0, 1.0]])
