"""Is it a face? A side that fails, fails fast: without this a broken runtime would win every comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.errors import BenchmarkError

__all__ = ["check_agreement", "check_alone"]

_LEAST_IOU = (
    0.4  # the boxes mean different things: a detector's box, and the hull of a mesh up to the hairline
)
_MOST_DISTANCE = (
    0.2  # of the distance of the outer eye corners; conventions of nose and mouth points differ too
)


def check_alone(side: str, seen: dict[str, Any]) -> None:
    """One face; its points are finite and lie in its box; parsing and expression, if present, say something.

    Raises:
        BenchmarkError: any of these does not hold.
    """
    if seen.get("faces") != 1:
        raise BenchmarkError(f"{side}: found {seen.get('faces')} faces in a frame with one")
    left, top, width, height = seen["box"]
    points = np.asarray(seen["points"], np.float64)
    low = np.array([left - width / 4, top - height / 4])
    high = np.array([left + width * 5 / 4, top + height * 5 / 4])
    if points.shape != (5, 2) or not bool(((points > low) & (points < high)).all()):
        raise BenchmarkError(
            f"{side}: its landmarks do not lie in its face: {points.tolist()} in {seen['box']}"
        )
    if "parsing" in seen and not seen["parsing"].get("skin", 0.0) > 0.1:
        raise BenchmarkError(f"{side}: its parsing map shows hardly any skin: {seen['parsing']}")
    if "expression" in seen:
        scores = list(seen["expression"].values())
        if len(scores) != 8 or abs(sum(scores) - 1) > 1e-3:
            raise BenchmarkError(f"{side}: its expression is not a distribution over 8: {seen['expression']}")


def check_agreement(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """Both sides mean the same face: their boxes overlap and their five common points are near each other.

    Returns:
        `iou` of the boxes and `distance`, the mean distance of the points over that of the outer eye corners.

    Raises:
        BenchmarkError: they do not.
    """
    overlap = _iou(ours["box"], theirs["box"])
    first, second = np.asarray(ours["points"], np.float64), np.asarray(theirs["points"], np.float64)
    eyes = float(np.linalg.norm(second[0] - second[1]))
    distance = float(np.linalg.norm(first - second, axis=1).mean()) / eyes
    if overlap < _LEAST_IOU or not distance < _MOST_DISTANCE:
        raise BenchmarkError(
            f"the sides disagree about the face: IoU {overlap:.2f} (at least {_LEAST_IOU}), points "
            f"{distance:.2f} of the eye distance apart (at most {_MOST_DISTANCE})"
        )
    return {"iou": round(overlap, 4), "distance": round(distance, 4)}


def _iou(first: list[float], second: list[float]) -> float:
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)
