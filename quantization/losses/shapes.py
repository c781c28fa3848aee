"""Soft landmarks: a face's points as a model of a few modes sees them, for KD-Loss's tolerant teacher.

A planar shape is one complex vector, and a similarity is a product with one complex number and a sum with
another. So every shape z is exactly  a (m + d) + t,  with m the mean shape and d a deformation at right
angles to m and to its turned and shifted selves. The modes are the principal components of d: the active
shape model of Cootes et al., 1995, in tangent coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ShapeModel"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class ShapeModel:
    """Mean and principal modes of shapes, freed of place, size and roll.

    ``mean`` is float64 [K, 2], centred, of norm 1; ``modes`` float64 [k, K, 2], orthonormal, the widest
    first; ``deviations`` float64 [k] are the standard deviations along them, in sizes of the mean;
    ``explained`` is the share of the variance they hold.
    """

    mean: Array
    modes: Array
    deviations: Array
    explained: float

    @classmethod
    def fit(
        cls, shapes: NDArray[np.floating], *, modes: int | None = None, explained: float | None = None
    ) -> ShapeModel:
        """The model of shapes [N, K, 2]: of so many ``modes``, or of as few as hold the share ``explained``.

        Raises:
            ValueError: neither or both are given; a shape is not finite or unlike the others; fewer than two
                shapes; shapes that differ in nothing; more modes than they differ in.
        """
        if (modes is None) == (explained is None):
            raise ValueError("a shape model has so many modes or explains such a share: give one of the two")
        centred = _centred(shapes)[0]
        if len(centred) < 2:
            raise ValueError(f"{len(centred)} shape; a shape model needs at least two")
        mean = _mean_shape(centred)
        bent = _as_real(_aligned(centred, mean)[0] - mean).reshape(len(centred), -1)
        _, spread, rows = np.linalg.svd(bent, full_matrices=False)
        rank = int((spread > max(1e-9, spread[0] * 1e-9)).sum())
        if not rank:
            raise ValueError("the shapes differ in nothing but place, size and roll; there is no mode")
        share = np.cumsum(spread**2) / (spread**2).sum()
        if explained is not None:
            if not 0 < explained <= 1:
                raise ValueError(f"explained is {explained}; a share lies above 0 and up to 1")
            modes = min(int(np.searchsorted(share, explained - 1e-12)) + 1, rank)
        if not 1 <= modes <= rank:
            raise ValueError(f"{modes} modes asked for; these {len(centred)} shapes have 1 to {rank}")
        return cls(
            _as_real(mean),
            rows[:modes].reshape(modes, -1, 2),
            spread[:modes] / np.sqrt(len(centred) - 1),
            float(share[modes - 1]),
        )

    def soften(self, shapes: NDArray[np.floating], limit: float = 3.0) -> Array:
        """The nearest shapes of the model: float64 [N, K, 2], in the place, size and roll of the given.

        ``limit``: a shape may go so many standard deviations along each mode (three, as Cootes et al.).

        Raises:
            ValueError: the shapes have another number of points, are not finite, or have nothing of the mean
                (all points in one place).
        """
        if shapes.ndim != 3 or shapes.shape[1:] != self.mean.shape:
            raise ValueError(f"shapes are {list(shapes.shape)}; this model's are [N, {len(self.mean)}, 2]")
        centred, middle = _centred(shapes)
        mean = _as_complex(self.mean)
        aligned, placed = _aligned(centred, mean)
        rows = self.modes.reshape(len(self.modes), -1)
        along = _as_real(aligned - mean).reshape(len(shapes), -1) @ rows.T
        along = np.clip(along, -limit * self.deviations, limit * self.deviations)
        bent = _as_complex((along @ rows).reshape(shapes.shape))
        return _as_real(placed * (mean + bent) + middle)


def _as_complex(shapes: Array) -> Complex:
    return shapes[..., 0] + 1j * shapes[..., 1]


def _as_real(shapes: Complex) -> Array:
    return np.stack([shapes.real, shapes.imag], axis=-1)


def _centred(shapes: NDArray[np.floating]) -> tuple[Complex, Complex]:
    """Shapes [N, K] about their middle, and the middles [N, 1]."""
    if shapes.ndim != 3 or shapes.shape[2] != 2:
        raise ValueError(f"shapes are {list(shapes.shape)}; give [N, K, 2]")
    bad = ~np.isfinite(shapes).all((1, 2))
    if bad.any():
        raise ValueError(f"shape {int(bad.argmax())} has a coordinate that is not finite; leave it out")
    flat = _as_complex(shapes.astype(np.float64))
    middle = flat.mean(1, keepdims=True)
    return flat - middle, middle


def _aligned(centred: Complex, mean: Complex) -> tuple[Complex, Complex]:
    """Shapes turned and scaled onto the mean (of norm 1), and what that undid, [N, 1]."""
    placed = centred @ mean.conj()[:, None]
    size = np.linalg.norm(centred, axis=1)
    bad = np.abs(placed[:, 0]) <= 0.1 * size
    if bad.any():
        raise ValueError(
            f"shape {int(bad.argmax())} has nothing of the mean shape: its points coincide, are mirrored or "
            "in another order; leave it out"
        )
    return centred / placed, placed


def _mean_shape(centred: Complex) -> Complex:
    """Generalised Procrustes mean (Gower, 1975), upright as the first shape, of norm 1."""
    size = np.linalg.norm(centred[0])
    if not size:
        raise ValueError("shape 0 has all its points in one place; leave it out")
    mean = centred[0] / size
    for _ in range(100):
        before, mean = mean, _aligned(centred, mean)[0].mean(0)
        mean /= np.linalg.norm(mean)
        if np.linalg.norm(mean - before) < 1e-13:
            break
    return mean
