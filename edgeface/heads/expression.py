"""Eight expressions, as calibrated probabilities.

The logits are divided by a temperature that was fitted on held-out faces before the softmax (Guo et al. 2017,
arXiv:1706.04599), so that a score of 0.8 is right about eight times in ten on data like the training set's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeface.errors import BundleError
from edgeface.heads.base import ImageInput, Outputs, crop_of, require
from edgeface.labels import FER8
from edgeface.manifest import Section
from edgeface.results import BBox, Expression

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.bundle import ModelSpec
    from edgeface.geometry import Similarity

__all__ = ["ExpressionHead"]


class ExpressionHead:
    """Crop a face and read its expression. Not safe for concurrent use: its input tensor is reused.

    ``head`` in the manifest: ``temperature``. ``labels`` must be ``fer8``.
    """

    def __init__(self, spec: ModelSpec) -> None:
        if spec.labels != "fer8":
            raise BundleError(f"models.{spec.task}.labels: must be 'fer8', not {spec.labels!r}")
        require(spec, "expression", logits=(1, 1, 1, len(FER8.names)))
        section = Section(spec.head, f"models.{spec.task}.head")
        logits = spec.output("logits")
        # The zero point cancels in the softmax.
        self._factor = logits.scale / section.number("temperature", 1e-3, 1e3)
        section.done()
        self._spec = spec
        self._input = ImageInput(spec.input)

    def prepare(self, rgb: NDArray[np.uint8], box: BBox, roll: float) -> tuple[Outputs, Similarity]:
        """Cut a face out of a frame; see `edgeface.heads.base.CropHead`."""
        crop, window = crop_of(self._spec, box, roll)
        return self._input.fill_crop(rgb, crop, window), crop

    def mirror(self) -> Outputs:
        """The mirror image of the crop; see `edgeface.heads.base.CropHead`."""
        return self._input.mirror()

    def decode(self, outputs: Outputs, crop: Similarity, mirrored: Outputs | None = None) -> Expression:  # noqa: ARG002  the heads share one signature
        """The probabilities of the eight classes; where the crop lay does not matter."""
        scores = self._probabilities(outputs)
        if mirrored is not None:
            scores = (scores + self._probabilities(mirrored)) / 2
        return Expression(dict(zip(FER8.names, scores.tolist(), strict=True)))

    def _probabilities(self, outputs: Outputs) -> NDArray[np.float64]:
        logits = outputs["logits"].reshape(-1).astype(np.float64) * self._factor
        weights: NDArray[np.float64] = np.exp(logits - logits.max())
        weights /= weights.sum()
        return weights
