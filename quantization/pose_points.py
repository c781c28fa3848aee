"""The 3D points of `edgeface.pose`: where the 68 points of a head lie, and how far heads differ there.

::

    python -m quantization.pose_points DATA

prints the table and the factor that stand in ``edgeface/pose.py``. DATA holds ``face3d``, the ICT-FaceKit
model (Li et al., 2020; MIT). Heads are drawn as a camera at arm's length or farther sees them: identity,
expression, pose. The table is their mean; a point's spread is what is left in the picture after the best
pose, so that a brow that moves and a jaw that slides along the silhouette count less than a nose.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import IBUG68
from edgeface.pose import PoseFit, fit_pose

from .synthetic.head import Camera, Morphable, Pose, draw_expression

__all__ = ["Heads", "main", "spread_of", "table_of"]

Array = NDArray[np.float64]
_FLIP = list(IBUG68.flip)


class Heads:
    """Random heads seen by a camera: their points in the picture and their true poses.

    Attributes:
        solid: float64 [N, 68, 3], the points of each head before it turns, centimetres, y up.
        seen: float64 [N, 68, 2], the points in the picture, pixels, y down.
        poses: float64 [N, 3], yaw, pitch, roll in degrees.
    """

    def __init__(self, model: Morphable, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        solid, seen, poses = [], [], []
        for _ in range(count):
            identity = rng.normal(0, 1, model.identities).clip(-2.5, 2.5).astype(np.float32)
            vertices = model.shape(identity, draw_expression(rng)).vertices
            pose = Pose(*(rng.normal(0, 1, 3) * (22, 12, 10)).clip(-55, 55))
            turned = vertices @ pose.matrix().T.astype(np.float32)
            at = model.landmarks.copy()
            rows = turned[model.parallels, 0]
            at[:8] = model.parallels[np.arange(8), rows[:8].argmin(1)]
            at[9:17] = model.parallels[np.arange(9, 17), rows[9:].argmax(1)]
            camera = Camera((320.0, 240.0), 600.0, float(rng.uniform(45, 150)))
            solid.append(vertices[model.landmarks])
            seen.append(camera.project(turned[at])[0])
            poses.append((pose.yaw, pose.pitch, pose.roll))
        self.solid, self.seen, self.poses = np.array(solid, float), np.array(seen, float), np.array(poses)


def table_of(heads: Heads) -> tuple[Array, Array]:
    """The mean points [68, 3] and their spreads [68], in units of the points' root mean square distance."""
    mean = heads.solid.mean(0)
    mean = (mean + mean[_FLIP] * (-1, 1, 1)) / 2
    mean -= mean.mean(0)
    mean /= np.sqrt((mean**2).sum(1).mean())
    spread = np.ones(68)
    # The weights decide the fit and the fit the weights; after three rounds they stay.
    for _ in range(3):
        left = np.array([_left(points, _laid(points, mean, spread), mean) for points in heads.seen])
        spread = np.sqrt((left**2).sum(-1).mean(0) / 2)
        spread = (spread + spread[_FLIP]) / 2
    return mean, spread


def spread_of(heads: Heads, mean: Array, spread: Array) -> tuple[Array, Array]:
    """How many times the errors of yaw, pitch and roll [3] exceed what the fit says, and those [N, 3]."""
    fits = [_laid(points, mean, spread) for points in heads.seen]
    errors = np.array([fit.angles for fit in fits]) - heads.poses
    told = np.array([fit.deviations for fit in fits])
    return np.sqrt(np.mean((errors / told) ** 2, 0)), errors


def _laid(points: Array, mean: Array, spread: Array) -> PoseFit:
    fit = fit_pose(points, 1 / spread**2, np.vstack((mean.T, np.ones(len(mean)))))
    if fit is None:
        raise ValueError("points that lie on a line are no head's")
    return fit


def _left(points: Array, fit: PoseFit, mean: Array) -> Array:
    """What is left of each point [68, 2], in units of the head."""
    seen = fit.scale * (mean @ fit.rotation.T)[:, :2] + fit.shift
    return (points * (1, -1) - seen) / fit.scale


def main(data: Path) -> None:
    """Print the table, and what the fit reaches on heads that did not make it."""
    model = Morphable(data / "face3d" / "ict_face_model_light.npz")
    mean, spread = (values.round(4) for values in table_of(Heads(model, 600)))
    for i in range(0, 68, 2):
        rows = (", ".join(f"{value + 0.0:.4f}" for value in (*mean[k], spread[k])) for k in (i, i + 1))
        print("   ", " ".join(f"({row})," for row in rows))
    factor, errors = spread_of(Heads(model, 400, seed=1), mean, spread)
    print("factor", factor.round(2), "rms degrees", np.sqrt((errors**2).mean(0)).round(2))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
