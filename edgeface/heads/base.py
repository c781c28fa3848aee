"""What all heads share: the reused input tensor, the crop of a face, and reading a quantised output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.errors import BundleError
from edgeface.geometry import Similarity, crop_similarity, warp
from edgeface.heads.sampling import Window, resample

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

    def mirror(self) -> Outputs:
        """The mirror image of what was prepared last; valid until the next call, and the only one then."""

    def decode(self, outputs: Outputs, crop: Similarity, mirrored: Outputs | None = None) -> Result_co:
        """Turn the model's raw outputs into a result in frame pixels.

        Args:
            outputs: of what was prepared.
            crop: which it came with.
            mirrored: of its mirror image; the result is then what both say on average.
        """


class ImageInput:
    """The image tensor of a model, allocated once and overwritten for every frame."""

    def __init__(self, spec: InputSpec) -> None:
        self.width = spec.width
        self.height = spec.height
        self._image: NDArray[np.uint8] = np.zeros((spec.height, spec.width, 3), np.uint8)
        self._signed = spec.dtype == "int8"
        self._tensors = {spec.name: self._image.view(spec.dtype)[np.newaxis]}

    def fill_crop(self, rgb: NDArray[np.uint8], crop: Similarity, window: Window | None) -> Outputs:
        """Sample ``rgb`` by ``crop`` into the tensor, through ``window`` when the crop is one."""
        if window is not None and window.inside(rgb):
            resample(rgb, window, self._image)
        else:
            warp(rgb, crop, (self.width, self.height), out=self._image)
        return self._stored()

    def fill_corner(self, rgb: NDArray[np.uint8], width: int, height: int) -> Outputs:
        """Resize all of ``rgb`` into the top left ``width`` x ``height`` pixels; the rest is black."""
        resample(rgb, Window(0, 0, rgb.shape[1], rgb.shape[0]), self._image[:height, :width])
        self._image[height:] = 0
        self._image[:, width:] = 0
        return self._stored()

    def mirror(self) -> Outputs:
        """Reverse the columns of what the tensor holds."""
        cv2.flip(self._image, 1, dst=self._image)
        return self._tensors

    def _stored(self) -> Outputs:
        if self._signed:
            # pixel - 128 as int8 has the bits of pixel XOR 128: one pass over the bytes, in place.
            np.bitwise_xor(self._image, 128, out=self._image)
        return self._tensors


def crop_of(spec: ModelSpec, box: BBox, roll: float) -> tuple[Similarity, Window | None]:
    """Which part of the frame the model of ``spec`` wants to see of a face.

    Args:
        spec: a model with a crop.
        box: the face, frame pixels.
        roll: degrees, clockwise on the screen; used only beyond the crop's ``align_above``.

    Returns:
        The map from frame to crop pixels, and the window of whole pixels that it cuts out when it is not
        turned.

    Raises:
        BundleError: the model has no crop.
    """
    crop = spec.crop
    if crop is None:
        raise BundleError(f"models.{spec.task}.crop: this task needs a crop; pack the bundle again")
    longer = box.side
    x, y = box.center
    center, side = (x + crop.shift[0] * longer, y + crop.shift[1] * longer), crop.scale * longer
    size = (spec.input.width, spec.input.height)
    if abs(roll) > crop.align_above:
        return crop_similarity(center, side, roll, *size), None
    window = Window.around(center, side)
    return crop_similarity(window.center, window.width, 0.0, *size), window


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
