"""What the landmark network sees and says, for sides that run it bare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.heads import LandmarksHead

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeface.bundle import Bundle
    from edgeface.geometry import Similarity
    from edgeface.results import Face, Landmarks

__all__ = ["LandmarkCrops"]


class LandmarkCrops:
    """The crops of a bundle's landmark network, and the points that its answers mean."""

    def __init__(self, bundle: Bundle) -> None:
        self._spec = bundle.model("landmarks")
        self._artifact = bundle.artifact(self._spec.artifact)
        self._head = LandmarksHead(self._spec)
        self._size = np.array([self._spec.input.width, self._spec.input.height], np.float64)

    def cut(self, rgb: NDArray[np.uint8], face: Face) -> tuple[NDArray[np.uint8], Similarity]:
        """The crop of a face, uint8 [H, W, 3], and the map from the photo to it."""
        tensors, crop = self._head.prepare(rgb, face.bbox, face.roll or 0.0)
        (image,) = tensors.values()
        return image[0].view(np.uint8) ^ 128, crop

    def points(self, offsets: list[float], crop: Similarity) -> NDArray[np.float64]:
        """Where the points are in the photo, float64 [68, 2], of what the network said."""
        mean = np.array(self._spec.head["mean_shape"], np.float64)
        away = np.array(offsets, np.float64).reshape(68, 2) * self._spec.head["residual_scale"]
        found = ((mean + away) * self._size - 0.5).astype(np.float32)
        return crop.inverse().apply(found).astype(np.float64)

    @property
    def unit(self) -> float:
        """Pixels of the crop, which is square, in one unit of the network's answer."""
        return float(self._spec.head["residual_scale"] * self._size[0])

    def offsets(self, landmarks: Landmarks, crop: Similarity) -> tuple[float, ...]:
        """How far found points are from the mean shape, pixels of the crop, x and y in turns."""
        mean = np.array(self._spec.head["mean_shape"], np.float64)
        away = crop.apply(landmarks.points) - (mean * self._size - 0.5)
        return tuple(away.reshape(-1).tolist())

    def told(self, folder: Path) -> dict[str, Any]:
        """What `network_side.py` must know: the network as a file in ``folder``, and its points' unit."""
        path = folder / self._spec.artifact
        path.write_bytes(self._artifact)
        points = self._spec.output("points")
        return {"student-tflite": str(path), "points-scale": points.scale, "points-zero": points.zero_point}
