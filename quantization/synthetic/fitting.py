"""The morphable head on a portrait: pose, shape and expression from its 68 points, seen in parallel.

Gauss-Newton with a ridge, from the neutral head's best affine view; the points of the jaw slide to the
silhouette meanwhile, as photos are annotated. 7 ms of one core a head::

    fitter = HeadFitter(Morphable(Path("data/face3d/ict_face_model_light.npz")))
    fit = fitter.fit(points)  # fit.pose.yaw in degrees, fit.error
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .head import EXPRESSIONS, Morphable, Pose

__all__ = ["HeadFit", "HeadFitter", "TurningError", "checked_points", "outermost"]

Array = NDArray[np.float32]
Exact = NDArray[np.float64]
_ROUNDS = 10
_SPREAD, _JAW_SPREAD = 0.12, 0.6  # centimetres by which the teacher's points miss the mesh's
_EXPRESSED = 0.3  # how far an expression goes, in its own coefficients


class TurningError(ValueError):
    """A portrait cannot be fitted or turned; the message names what is wrong with it and the mend."""


@dataclass(frozen=True, slots=True)
class HeadFit:
    """The morphable head on a portrait, seen in parallel (weak perspective).

    Attributes:
        pose: Degrees, see :class:`~quantization.synthetic.head.Pose`.
        scale: Pixels per centimetre.
        centre: float64 [2], pixels of the head's origin.
        identity: float32, standard deviations; ``expression``: float32 [51] in [0, 1].
        error: Mean distance of the 51 inner points from the mesh's, as a share of the outer eye corners'.
    """

    pose: Pose
    scale: float
    centre: Exact
    identity: Array
    expression: Array
    error: float


class HeadFitter:
    """Fits the morphable head to points; keeps what it needs of the model in memory.

    Args:
        model: The morphable head.
    """

    def __init__(self, model: Morphable) -> None:
        self._shape, self._identities = model.parallels.shape, model.identities
        # Of the vertices that points may be: the 68 points', then the jaw's parallels'.
        rows = np.concatenate([model.landmarks, model.parallels.ravel()])
        still, calm = np.zeros(model.identities, np.float32), np.zeros(len(EXPRESSIONS), np.float32)
        neutral = model.shape(still, calm).vertices[rows]
        moves = [model.shape(e, calm).vertices[rows] - neutral for e in np.eye(len(still), dtype=np.float32)]
        moves += [model.shape(still, e).vertices[rows] - neutral for e in np.eye(len(calm), dtype=np.float32)]
        self._neutral = neutral.astype(np.float64)
        self._moves = np.stack(moves).astype(np.float64)
        gaze = np.array([name.startswith("eyeLook") for name in EXPRESSIONS])  # no point says where it goes
        self._spread = np.concatenate([np.ones(len(still)), np.where(gaze, 1e-3, _EXPRESSED)])

    def fit(self, points: Array) -> HeadFit:
        """The head whose points lie nearest to ``points`` float32 [68, 2], iBUG-68, pixels.

        Raises:
            TurningError: The points are of another shape, not finite, or all in one place.
        """
        wanted = checked_points(points) * (1, -1)
        state = self._begin(wanted)
        moves = np.zeros(len(self._spread))
        weight = np.full(68, 1 / _SPREAD)
        weight[:17] = 1 / _JAW_SPREAD
        for _ in range(_ROUNDS):
            state, moves = self._step(wanted, state, moves, weight)
        seen, _ = self._predict(state, moves)
        missed = np.linalg.norm(seen - wanted, axis=1)[17:].mean()
        apart = float(np.linalg.norm(wanted[45] - wanted[36]))
        return HeadFit(
            Pose(*(float(a) for a in state[:3])),
            float(np.exp(state[3])),
            state[4:6] * (1, -1),
            moves[: self._identities].astype(np.float32),
            moves[self._identities :].astype(np.float32),
            float(missed / max(apart, 1e-6)),
        )

    def _begin(self, wanted: Exact) -> Exact:
        """Pose, log scale and centre [6] of the neutral head, from its best affine view."""
        rows = np.arange(17, 68)
        design = np.column_stack([self._neutral[rows], np.ones(len(rows))])
        view = np.linalg.lstsq(design, wanted[rows], rcond=None)[0]
        scale = np.linalg.norm(view[:3], axis=0).mean()
        if not scale > 1e-6:
            raise TurningError("the 68 points lie in one place: give a portrait's points in pixels")
        u, _, vt = np.linalg.svd(view[:3].T, full_matrices=False)
        across, up = u @ vt
        matrix = np.stack([across, up, np.cross(across, up)])
        yaw = np.degrees(np.arcsin(np.clip(matrix[0, 2], -1, 1)))
        pitch = np.degrees(np.arctan2(matrix[1, 2], matrix[2, 2]))
        roll = np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))
        return np.array([yaw, pitch, roll, np.log(scale), *view[3]])

    def _predict(self, state: Exact, moves: Exact) -> tuple[Exact, NDArray[np.int64]]:
        """The points [68, 2], y up, and which of the fit's vertices they are."""
        vertices = self._neutral + np.tensordot(moves, self._moves, 1)
        matrix = Pose(*state[:3]).matrix()
        turned = vertices @ matrix[:2].T
        rows = np.arange(68)
        lines = turned[68:].reshape(*self._shape, 2)
        rows[:17] = 68 + np.arange(17) * lines.shape[1] + outermost(lines, matrix)
        return turned[rows] * np.exp(state[3]) + state[4:6], rows

    def _step(self, wanted: Exact, state: Exact, moves: Exact, weight: Exact) -> tuple[Exact, Exact]:
        """State and coefficients after one step of Gauss-Newton; the points of the jaw slide at each."""
        seen, rows = self._predict(state, moves)
        scale = float(np.exp(state[3]))
        vertices = (self._neutral + np.tensordot(moves, self._moves, 1))[rows]
        matrix = Pose(*state[:3]).matrix()
        slopes = []
        for k in range(3):
            nudged = state[:3] + np.eye(3)[k] * 0.1
            slopes.append((vertices @ (Pose(*nudged).matrix() - matrix)[:2].T * 10).ravel())
        slopes.append((vertices @ matrix[:2].T).ravel())
        slopes += [np.tile(axis, 68) / scale for axis in ((1.0, 0.0), (0.0, 1.0))]
        shifts = (self._moves[:, rows] @ matrix[:2].T).reshape(len(moves), -1)
        design = np.column_stack([*slopes, *shifts]) * np.repeat(weight, 2)[:, None]
        rest = ((wanted - seen) / scale).ravel() * np.repeat(weight, 2)
        hold = np.concatenate([np.full(6, 1e-3), 1 / self._spread])
        pull = np.concatenate([np.zeros(6), -moves / self._spread])
        step = np.linalg.solve(design.T @ design + np.diag(hold**2), design.T @ rest + hold * pull)
        state = state + np.concatenate([np.clip(step[:3], -15, 15), np.clip(step[3:4], -0.3, 0.3), step[4:6]])
        moves = moves + step[6:]
        moves[: self._identities] = np.clip(moves[: self._identities], -2.5, 2.5)
        moves[self._identities :] = np.clip(moves[self._identities :], 0, 1)
        return state, moves


def checked_points(points: Array) -> Exact:
    """The points, float64 [68, 2].

    Raises:
        TurningError: They are of another shape, or not finite.
    """
    if np.shape(points) != (68, 2) or not np.isfinite(points).all():
        raise TurningError(f"points have the shape {np.shape(points)}: give 68 finite x, y in pixels")
    return np.asarray(points, np.float64)


def outermost(lines: Array | Exact, matrix: Exact) -> NDArray[np.int64]:
    """Where each parallel reaches farthest out, across the head as it leans: [17].

    Args:
        lines: The jaw's parallels, [17, K, 2], x right, y up.
        matrix: The head's rotation, float64 [3, 3].
    """
    out = lines @ np.array([matrix[1, 1], -matrix[0, 1]])
    out[:8] *= -1
    best = out.argmax(1)
    best[8] = 0
    return best
