"""One file per kind of output: how a frame becomes the input of a model, and its raw outputs a result.

A head reads everything that was tuned with its model (crop, thresholds, mean shape, temperature) from the
model's entry in the bundle. Heads know nothing of each other, of backends, or of the order in which they run.
"""

from __future__ import annotations

from edgeface.heads.base import CropHead, crop_of
from edgeface.heads.detection import DETECTORS, Detection, DetectionHead
from edgeface.heads.expression import ExpressionHead
from edgeface.heads.landmarks import LandmarksHead
from edgeface.heads.parsing import ParsingHead
from edgeface.heads.tiles import merged, tiles

__all__ = [
    "DETECTORS",
    "CropHead",
    "Detection",
    "DetectionHead",
    "ExpressionHead",
    "LandmarksHead",
    "ParsingHead",
    "crop_of",
    "merged",
    "tiles",
]
