"""What all heads share: the reused input tensor, the crop of a face, and reading a quantised output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import BundleError
from edgeface.geometry import Similarity, crop_similarity, warp

if TYPE_CHECKING:
    from edgeface.bundle import InputSpec, ModelSpec, OutputSpec
    from edgeface.results import BBox

__all__ = ["CropHead", "ImageInput", "Outputs", "crop_of", "logistic_table", "require"]

Outputs: TypeAlias = Mapping[str, NDArray[Any]]
"""Raw outputs of a model by name, as a backend's session returns them."""

Result_co = TypeVar("Result_co", covariant=True)


class CropHead(Protocol[Result_co]):
    """A head that looks at one face at a time. Not safe for concurrent use: its input tensor is reused."""

    def prepare(self, rgb: NDArray[np.uint8], box: BBox, roll: float) -> tuple[Outputs, Similarity]:
        """Cut a face out of a frame.

        Args:
            rgb: uint8 [H, W, 3].
            box: the face, frame pixels.
            roll: degrees, clockwise on the screen.

        Returns:
            The model's input, valid until the next call, and the map from frame to crop pixels.
        """

    def decode(self, outputs: Outputs, crop: Similarity) -> Result_co:
        """Turn the model's raw outputs into a result in frame pixels."""


class ImageInput:
    """The image tensor of a model, allocated once and overwritten for every frame."""

    def __init__(self, spec: InputSpec) -> None:
        self.width = spec.width
        self.height = spec.height
        self._image: NDArray[np.uint8] = np.zeros((spec.height, spec.width, 3), np.uint8)
        self._signed = spec.dtype == "int8"
        self._tensors = {spec.name: self._image.view(spec.dtype)[np.newaxis]}

    def fill(self, rgb: NDArray[np.uint8], crop: Similarity) -> Outputs:
        """Warp ``rgb`` by ``crop`` into the tensor; it is valid until the next call."""
        warp(rgb, crop, (self.width, self.height), out=self._image)
        if self._signed:
            # pixel - 128 as int8 has the bits of pixel XOR 128: one pass over the bytes, in place.
            np.bitwise_xor(self._image, 128, out=self._image)
        return self._tensors


def crop_of(spec: ModelSpec, box: BBox, roll: float) -> Similarity:
    """The map from frame pixels to the crop that the model of ``spec`` wants to see of a face.

    Args:
        spec: a model with a crop.
        box: the face, frame pixels.
        roll: degrees, clockwise on the screen; used only beyond the crop's ``align_above``.

    Raises:
        BundleError: the model has no crop.
    """
    crop = spec.crop
    if crop is None:
        raise BundleError(f"models.{spec.task}.crop: this task needs a crop; pack the bundle again")
    longer = max(box.width, box.height)
    x, y = box.center
    center = (x + crop.shift[0] * longer, y + crop.shift[1] * longer)
    turn = roll if abs(roll) > crop.align_above else 0.0
    return crop_similarity(center, crop.scale * longer, turn, spec.input.width, spec.input.height)


def logistic_table(spec: OutputSpec) -> NDArray[np.float32]:
    """The logistic function of every value that an 8-bit output of logits can hold.

    Returns:
        float32 [256], indexed by the stored byte read as uint8.
    """
    stored = np.arange(256, dtype=np.uint8).view(spec.dtype).astype(np.float64)
    logits = np.clip((stored - spec.zero_point) * spec.scale, -80.0, 80.0)
    return (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)


def require(spec: ModelSpec, task: str, **shapes: tuple[int, ...]) -> None:
    """Check that ``spec`` is for ``task`` and has the given outputs with the given shapes.

    Raises:
        BundleError: names the entry of the header that does not fit.
    """
    if spec.task != task:
        raise BundleError(f"models.{spec.task}: is not a model for {task}")
    for name, shape in shapes.items():
        output = spec.output(name)
        if output.shape != shape:
            raise BundleError(
                f"models.{task}.outputs: {name!r} must be {list(shape)}, not {list(output.shape)}"
            )
