"""Which way a head looks, from its 68 points, and how sure that is.

A rigid head of 68 points in space is laid over the points in the picture by the scale, shift and rotation
that leave the least squares: first the affine camera and the rotation nearest to it, then Gauss-Newton steps
on the rotation itself (weak perspective, see Horaud et al., 1997, "Object pose: the link between weak
perspective, paraperspective, and full perspective"). No focal length is needed.

Angles are degrees: yaw is positive when the face looks to the picture's right, pitch when it looks up, roll
when it leans clockwise on the screen; the head leans first, then turns, then nods.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.results import Landmarks

__all__ = ["HeadPose", "PoseFit", "fit_pose", "head_pose", "misfit"]

# x to the picture's right, y up, z to the viewer, and how far heads differ from it in the picture, in units
# of the root mean square distance from the middle: the mean of heads drawn from ICT-FaceKit (Li et al., 2020;
# MIT). Made by `python -m quantization.pose_points DATA`.
_TABLE = np.array([
    (-1.2324, 0.6714, -0.9536, 0.0789), (-1.2177, 0.3072, -0.9076, 0.0743),
    (-1.1670, -0.0190, -0.8045, 0.0695), (-1.1002, -0.3350, -0.6983, 0.0595),
    (-0.9531, -0.6896, -0.5479, 0.0513), (-0.7175, -0.9886, -0.3617, 0.0445),
    (-0.5163, -1.1322, -0.1441, 0.0436), (-0.2627, -1.2119, 0.0882, 0.0604),
    (0.0000, -1.2697, 0.1156, 0.0654), (0.2627, -1.2119, 0.0882, 0.0604),
    (0.5163, -1.1322, -0.1441, 0.0436), (0.7175, -0.9886, -0.3617, 0.0445),
    (0.9531, -0.6896, -0.5479, 0.0513), (1.1002, -0.3350, -0.6983, 0.0595),
    (1.1670, -0.0190, -0.8045, 0.0695), (1.2177, 0.3072, -0.9076, 0.0743),
    (1.2324, 0.6714, -0.9536, 0.0789), (-0.9705, 0.9260, -0.2408, 0.0405),
    (-0.8213, 1.0552, -0.0606, 0.0352), (-0.6298, 1.1010, 0.0791, 0.0322),
    (-0.4005, 1.0936, 0.1870, 0.0314), (-0.1943, 1.0465, 0.2280, 0.0279),
    (0.1943, 1.0465, 0.2280, 0.0279), (0.4005, 1.0936, 0.1870, 0.0314),
    (0.6298, 1.1010, 0.0791, 0.0322), (0.8213, 1.0552, -0.0606, 0.0352),
    (0.9705, 0.9260, -0.2408, 0.0405), (0.0000, 0.6839, 0.2299, 0.0232),
    (0.0000, 0.4979, 0.3601, 0.0272), (0.0000, 0.3265, 0.4922, 0.0291),
    (0.0000, 0.1247, 0.6199, 0.0325), (-0.2156, -0.1302, 0.2563, 0.0249),
    (-0.1046, -0.1334, 0.3450, 0.0202), (0.0000, -0.1454, 0.3698, 0.0221),
    (0.1046, -0.1334, 0.3450, 0.0202), (0.2156, -0.1302, 0.2563, 0.0249),
    (-0.7420, 0.6236, -0.1303, 0.0323), (-0.6444, 0.6693, -0.0107, 0.0417),
    (-0.4571, 0.6810, 0.0159, 0.0391), (-0.3038, 0.5966, -0.0324, 0.0222),
    (-0.4442, 0.5737, 0.0049, 0.0270), (-0.6396, 0.5721, -0.0241, 0.0305),
    (0.3038, 0.5966, -0.0324, 0.0222), (0.4571, 0.6810, 0.0159, 0.0391),
    (0.6444, 0.6693, -0.0107, 0.0417), (0.7420, 0.6236, -0.1303, 0.0323),
    (0.6396, 0.5721, -0.0241, 0.0305), (0.4442, 0.5737, 0.0049, 0.0270),
    (-0.4231, -0.5405, 0.1135, 0.0512), (-0.2917, -0.4000, 0.3035, 0.0383),
    (-0.1268, -0.3399, 0.3943, 0.0351), (0.0000, -0.3492, 0.4137, 0.0352),
    (0.1268, -0.3399, 0.3943, 0.0351), (0.2917, -0.4000, 0.3035, 0.0383),
    (0.4231, -0.5405, 0.1135, 0.0512), (0.3059, -0.6728, 0.2202, 0.0660),
    (0.1777, -0.7325, 0.2940, 0.0806), (0.0000, -0.7551, 0.3192, 0.0887),
    (-0.1777, -0.7325, 0.2940, 0.0806), (-0.3059, -0.6728, 0.2202, 0.0660),
    (-0.3693, -0.5438, 0.0999, 0.0497), (-0.1727, -0.4846, 0.2815, 0.0340),
    (0.0000, -0.4873, 0.3189, 0.0303), (0.1727, -0.4846, 0.2815, 0.0340),
    (0.3693, -0.5438, 0.0999, 0.0497), (0.1835, -0.5779, 0.2468, 0.0748),
    (0.0000, -0.5964, 0.2782, 0.0852), (-0.1835, -0.5779, 0.2468, 0.0748),
])  # fmt: skip
_HEAD = _TABLE[:, :3]
_SOLID = np.vstack((_HEAD.T, np.ones(len(_HEAD))))  # as `fit_pose` takes it
_CERTAINTY = 1.0 / _TABLE[:, 3] ** 2
# A fit believes that its points err independently. Those of one head err together (a long face is long
# everywhere), so that yaw, pitch and roll err by this much more; from the same command.
_TOGETHER = (2.59, 3.34, 3.04)
# Takes from 68 coordinates what any affine view of the head explains, and leaves the rest.
_REST = np.eye(len(_TABLE)) - _SOLID.T @ np.linalg.inv(_SOLID @ _SOLID.T) @ _SOLID
_STEPS = 2
_LINE = 1e-4  # share of a camera's larger view that the smaller has, below which it sees a line
_LEAST_SIGHT = 0.05  # weight that a hidden point keeps: without it a profile would have one half only


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Where a head looks, degrees.

    Attributes:
        yaw: Positive when the face looks to the picture's right.
        pitch: Positive when the face looks up.
        roll: Positive when the head leans clockwise on the screen.
        yaw_error: Standard deviation of `yaw`, over heads of other shapes and expressions and over points
            that miss; it holds for heads up to about 55 degrees from the camera.
        pitch_error: That of `pitch`, the least certain of the three: how long a chin is looks like a nod.
        roll_error: That of `roll`.
    """

    yaw: float
    pitch: float
    roll: float
    yaw_error: float
    pitch_error: float
    roll_error: float

    @property
    def off_axis(self) -> float:
        """Angle between where the nose points and the line to the camera, degrees in [0, 180]."""
        cosine = math.cos(math.radians(self.yaw)) * math.cos(math.radians(self.pitch))
        return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))

    def to_dict(self) -> dict[str, float]:
        """Return the three angles and their errors (two decimals)."""
        names = ("yaw", "pitch", "roll", "yaw_error", "pitch_error", "roll_error")
        return {name: round(getattr(self, name), 2) for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class PoseFit:
    """What a fit found.

    Attributes:
        angles: Yaw, pitch, roll, degrees.
        deviations: Their standard deviations if the points erred independently.
        rotation: float64 [3, 3], of the head.
        scale: Pixels per unit of the head.
        shift: Where its origin is seen, pixels, y up.
    """

    angles: tuple[float, float, float]
    deviations: tuple[float, float, float]
    rotation: NDArray[np.float64]
    scale: float
    shift: tuple[float, float]


def head_pose(landmarks: Landmarks) -> HeadPose | None:
    """Return the pose of a head; None when its points have no extent, or are not finite."""
    if not np.isfinite(landmarks.points).all():
        return None
    fit = fit_pose(landmarks.points, _CERTAINTY * np.maximum(landmarks.visibility, _LEAST_SIGHT))
    if fit is None:
        return None
    yaw, pitch, roll = (told * more for told, more in zip(fit.deviations, _TOGETHER, strict=True))
    return HeadPose(*fit.angles, yaw, pitch, roll)


def misfit(points: NDArray[np.float32]) -> float:
    """How far 68 points, float32 [68, 2], are from those of any head seen by any affine camera.

    The root mean square of what is left, over that of the points about their middle: 0 for the mean head, at
    most 0.13 for 90 photographed faces, 1 for points that have nothing of a head.
    """
    flat = points.astype(np.float64)
    about, left = flat - flat.sum(0) / len(flat), _REST @ flat
    spread = float(np.vdot(about, about))
    return math.sqrt(float(np.vdot(left, left)) / spread) if spread > 1e-6 else 1.0


def fit_pose(
    points: NDArray[np.floating], weights: NDArray[np.float64], solid: NDArray[np.float64] = _SOLID
) -> PoseFit | None:
    """Lay a head over points of a picture; None where these lie on a line.

    Sixty-eight points enter by their moments alone; from there on plain floats and matrices of three rows do
    it, at half the cost of general solvers.

    Args:
        points: [N, 2], pixels, y down; finite.
        weights: float64 [N], above 0: one over the variance of each point, in any unit.
        solid: float64 [4, N], the head: x right, y up, z to the viewer, and 1.
    """
    rows = np.empty((6, len(points)))
    rows[:4], rows[4:] = solid, points.T
    np.negative(rows[5], out=rows[5])
    means = (rows * weights) @ rows.T
    means /= means[3, 3]
    middle = means[3]
    # About the weighted middles, which takes the shift out.
    about = means - middle[:, None] * middle
    own, both, extent = about[:3, :3], about[:3, 4:], float(about[4, 4] + about[5, 5])
    found = _nearest(own, both)
    if found is None:
        return None
    rotation, scale = found
    for _ in range(_STEPS):
        moved = _Moments.of(rotation, own, both)
        left = extent - moved.explained(scale)
        (about_x, about_y, about_z, growth), gain, spread = moved.step(scale)
        rotation, scale = _turn(about_x, about_y, about_z) @ rotation, scale + growth
    variance = max(0.0, left - gain) / (2 * len(points) - 6)
    angles, slopes = _angles(rotation)
    errors = [math.degrees(math.sqrt(spread.along(*slope) * variance)) for slope in slopes]
    across, up = (middle[4:] - scale * (rotation @ middle[:3])[:2]).tolist()
    yaw, pitch, roll = map(math.degrees, angles)
    return PoseFit((yaw, pitch, roll), (errors[0], errors[1], errors[2]), rotation, scale, (across, up))


def _nearest(own: NDArray[np.float64], both: NDArray[np.float64]) -> tuple[NDArray[np.float64], float] | None:
    """The rotation [3, 3] and the scale nearest to the affine camera; None if that sees a line.

    The camera is what takes the head's moments [3, 3] to those of head and picture [3, 2], by Cramer's rule.
    Nearest to its two rows A is their polar decomposition, (A A')^(-1/2) A, where the root of a 2 x 2 matrix
    is it plus the root of its determinant, by the sum of A's singular values.
    """
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = own.tolist()
    one, two, three = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    whole = xx * one + xy * two + xz * three
    if not whole > 0:
        return None
    four, five, six = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    (a, b, c), (d, e, f) = (
        (
            (one * x + two * y + three * z) / whole,
            (two * x + four * y + five * z) / whole,
            (three * x + five * y + six * z) / whole,
        )
        for x, y, z in both.T.tolist()
    )
    first, mixed, second = a * a + b * b + c * c, a * d + b * e + c * f, d * d + e * e + f * f
    root = math.sqrt(max(0.0, first * second - mixed * mixed))
    if not root > _LINE * (first + second):
        return None
    sizes = math.sqrt(first + second + 2 * root)
    own_u, other, own_v = ((part / (sizes * root)) for part in (second + root, -mixed, first + root))
    a, b, c, d, e, f = (
        own_u * a + other * d, own_u * b + other * e, own_u * c + other * f,
        other * a + own_v * d, other * b + own_v * e, other * c + own_v * f,
    )  # fmt: skip
    return np.array([[a, b, c], [d, e, f], [b * f - c * e, c * d - a * f, a * e - b * d]]), sizes / 2


class _Moments(NamedTuple):
    """Means of the products of the turned head's coordinates, and of these with the picture's u and v."""

    xx: float
    xz: float
    yy: float
    yz: float
    zz: float
    x_u: float
    x_v: float
    y_u: float
    y_v: float
    z_u: float
    z_v: float

    @classmethod
    def of(
        cls, rotation: NDArray[np.float64], own: NDArray[np.float64], both: NDArray[np.float64]
    ) -> _Moments:
        """Those of a head that is turned so."""
        (xx, _, xz), (_, yy, yz), (_, _, zz) = (rotation @ own @ rotation.T).tolist()
        (x_u, x_v), (y_u, y_v), (z_u, z_v) = (rotation @ both).tolist()
        return cls(xx, xz, yy, yz, zz, x_u, x_v, y_u, y_v, z_u, z_v)

    def explained(self, scale: float) -> float:
        """How much of the points' mean square a head of this scale explains."""
        return scale * (2 * (self.x_u + self.y_v) - scale * (self.xx + self.yy))

    def step(self, scale: float) -> tuple[tuple[float, float, float, float], float, _Spread]:
        """One Gauss-Newton step: turns about x, y and z, and the growth.

        With it how much more it explains, as long as it is small; and how sure the turns are.

        Point (x, y, z) of the turned head is seen at scale times (x, y). As the head turns about x, y, z or
        grows, that moves by scale times (0, -z), (z, 0), (-y, x), and by (x, y). In the normal equations

            [ a  0  b  c ]        a = s^2 zz
            [ 0  a  d  e ]        b = -s^2 xz    c = -s yz
            [ b  d  f  0 ]        d = -s^2 yz    e = s xz
            [ c  e  0  g ]        f = s^2 (xx + yy)    g = xx + yy

        bc + de is 0, so that the last two unknowns do not meet once the first two are eliminated.
        """
        square, both = scale * scale, self.xx + self.yy
        a, b, c = square * self.zz, -square * self.xz, -scale * self.yz
        d, e = -square * self.yz, scale * self.xz
        about_x = -scale * (self.z_v - scale * self.yz)
        about_y = scale * (self.z_u - scale * self.xz)
        turn, grow = square * both - (b * b + d * d) / a, both - (c * c + e * e) / a
        about_z, wider = scale * (self.x_v - self.y_u), self.x_u + self.y_v - scale * both
        third = (about_z - (b * about_x + d * about_y) / a) / turn
        growth = (wider - (c * about_x + e * about_y) / a) / grow
        first, second = (about_x - b * third - c * growth) / a, (about_y - d * third - e * growth) / a
        gain = first * about_x + second * about_y + third * about_z + growth * wider
        b, d, c, e = b / a, d / a, c / a, e / a
        return (
            (first, second, third, growth),
            gain,
            _Spread(
                1 / a + b * b / turn + c * c / grow,
                b * d / turn + c * e / grow,
                -b / turn,
                1 / a + d * d / turn + e * e / grow,
                -d / turn,
                1 / turn,
            ),
        )


class _Spread(NamedTuple):
    """The inverse of a step's normal equations, for its three turns: how they err, and err together."""

    xx: float
    xy: float
    xz: float
    yy: float
    yz: float
    zz: float

    def along(self, x: float, y: float, z: float) -> float:
        """The variance of a sum of the turns."""
        mixed = x * y * self.xy + x * z * self.xz + y * z * self.yz
        return x * x * self.xx + y * y * self.yy + z * z * self.zz + 2 * mixed


def _turn(x: float, y: float, z: float) -> NDArray[np.float64]:
    """The rotation [3, 3] about an axis by its length in radians (Rodrigues)."""
    angle = math.sqrt(x * x + y * y + z * z)
    sine = math.sin(angle) / angle if angle > 1e-12 else 1.0
    rest = (1 - math.cos(angle)) / (angle * angle) if angle > 1e-6 else 0.5
    return np.array([
        [1 - rest * (y * y + z * z), rest * x * y - sine * z, rest * x * z + sine * y],
        [rest * x * y + sine * z, 1 - rest * (x * x + z * z), rest * y * z - sine * x],
        [rest * x * z - sine * y, rest * y * z + sine * x, 1 - rest * (x * x + y * y)],
    ])  # fmt: skip


def _angles(
    rotation: NDArray[np.float64],
) -> tuple[tuple[float, float, float], tuple[tuple[float, float, float], ...]]:
    """Yaw, pitch, roll in radians; and how each goes with small turns about x, y and z.

    A small turn w moves a column k of the rotation by w x k.
    """
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    sine = min(1.0, max(-1.0, c))
    # Straight to the side there is no telling a nod from a lean.
    upright = max(1e-9, f * f + i * i)
    angles = math.asin(sine), math.atan2(f, i), math.atan2(b, a)
    across = max(1e-9, a * a + b * b)
    cosine = math.sqrt(max(1e-9, 1 - sine * sine))
    slopes = (
        (0.0, i / cosine, -f / cosine),
        (-1.0, f * c / upright, i * c / upright),
        (0.0, (a * h - b * g) / across, (b * d - a * e) / across),
    )
    return angles, slopes
