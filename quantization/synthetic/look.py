"""What makes a head look like itself: its colours, its hair, and the light on it.

All of it is procedural and none of it looks like a photo. It is varied rather than true: tones are drawn
evenly over the whole range of human skin, and nothing else depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Light", "Look"]

Array = NDArray[np.float32]
_HAIRS = ((0.012, 0.009, 0.008), (0.05, 0.025, 0.014), (0.14, 0.07, 0.03), (0.4, 0.27, 0.12),
          (0.3, 0.09, 0.03), (0.35, 0.34, 0.33))  # fmt: skip
_IRISES = ((0.07, 0.03, 0.015), (0.16, 0.08, 0.03), (0.12, 0.15, 0.06), (0.12, 0.22, 0.35), (0.2, 0.24, 0.25))


@dataclass(frozen=True, slots=True)
class Light:
    """Light before the head; colours are linear RGB [3], directions point from the head to the lamp.

    Attributes:
        sky, ground: Light from above and from below, blended by how far a surface looks up.
        directions: float64 [L, 3], unit vectors in the camera's axes (x right, y up, z toward the viewer).
        colours: float64 [L, 3].
    """

    sky: NDArray[np.float64]
    ground: NDArray[np.float64]
    directions: NDArray[np.float64]
    colours: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Light:
        """One to three lamps anywhere before or beside the head, warm or cold, and what the room returns."""
        count = int(rng.integers(1, 4))
        across = rng.normal(0, 0.8, count)
        directions = np.stack([across, rng.normal(0.5, 0.5, count), rng.uniform(0.15, 1.2, count)], axis=1)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        strength = rng.dirichlet(np.full(count, 1.5)) * rng.uniform(0.6, 1.7)
        warmth = np.exp(rng.normal(0, 0.12, (count, 1)) * (1, 0, -1.3))
        ambient = rng.uniform(0.2, 0.85) * np.exp(rng.normal(0, 0.08, 3))
        return cls(ambient, ambient * rng.uniform(0.3, 0.9), directions, strength[:, None] * warmth)

    def mirrored(self) -> Light:
        """The light of the mirror image."""
        return replace(self, directions=self.directions * (-1, 1, 1))

    def shade(self, albedo: Array, normal: Array, gloss: Array, open_: Array) -> Array:
        """Linear RGB [N, 3]: Lambert's law with light wrapped around skin (red farthest), and a highlight.

        Args:
            albedo: float32 [N, 3], the share of light that the surface returns.
            normal: float32 [N, 3], unit length.
            gloss: float32 [N], strength of the highlight (Blinn, exponent 24).
            open_: float32 [N], the share of the room's light that gets there.
        """
        up = (normal[:, 1:2] + 1) / 2
        light = (self.ground + (self.sky - self.ground) * up).astype(np.float32) * open_[:, None]
        shine = np.zeros(len(albedo), np.float32)
        wrap = np.array([0.35, 0.22, 0.18], np.float32)
        for direction, colour in zip(self.directions, self.colours, strict=True):
            cosine = normal @ direction.astype(np.float32)
            soft = np.maximum((cosine[:, None] + wrap) / (1 + wrap), 0) * colour.astype(np.float32)
            light += soft * np.sqrt(open_)[:, None]
            half = direction + np.array([0.0, 0.0, 1.0])
            half /= np.linalg.norm(half)
            peak = np.maximum(normal @ half.astype(np.float32), 0) ** 2
            peak *= peak
            peak *= peak  # by squaring: numpy's power of floats is slow
            shine += peak * peak * peak * np.float32(colour.mean())
        return albedo * light + (shine * gloss * open_)[:, None]


@dataclass(frozen=True, slots=True)
class Look:
    """All about a head's surface; colours are linear RGB. ``seed`` fixes the grain of skin and hair."""

    skin: NDArray[np.float64]
    lips: NDArray[np.float64]
    hair: NDArray[np.float64]
    iris: NDArray[np.float64]
    cloth: NDArray[np.float64]
    hairline: NDArray[np.float64]
    volume: float = 1.0
    brow: tuple[float, float] = (0.2, 0.8)  # thickness as a share of brow to eye, opacity
    beard: float = 0.0
    liner: float = 0.4
    blush: float = 0.15
    freckles: float = 0.0
    grain: float = 1.0
    gloss: float = 0.15
    neckline: float = -0.45
    seed: int = 0
    flipped: bool = field(default=False)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        """Skin by its individual typology angle (Chardon et al., 1991), even from -55 to 65 degrees."""
        angle, b = np.radians(rng.uniform(-55, 65)), rng.uniform(14, 22)
        lab = np.array([50 + b * np.tan(angle), rng.uniform(9, 16), b], np.float32)
        lab[0] = np.clip(lab[0], 22, 90)
        skin = cv2.cvtColor(lab[None, None], cv2.COLOR_LAB2LRGB)[0, 0].clip(0.01, 1).astype(np.float64)
        lips = skin * np.array([0.95, 0.62, 0.62]) * rng.uniform(0.75, 1.05)
        if rng.random() < 0.2:  # painted
            lips = np.array([rng.uniform(0.2, 0.6), 0.03, rng.uniform(0.03, 0.1)])
        hair = np.array(_HAIRS[rng.integers(len(_HAIRS))]) * np.exp(rng.normal(0, 0.3))
        f, bald = rng.uniform(1.26, 1.48), rng.random() < 0.12
        line = np.array(
            [f, f, f - rng.uniform(0.05, 0.3), rng.uniform(0.7, 1.05), 0.95, *rng.uniform(-0.1, 0.5, 2)]
        )
        return cls(
            skin, lips, hair,
            iris=np.array(_IRISES[rng.integers(len(_IRISES))]) * np.exp(rng.normal(0, 0.2)),
            cloth=rng.uniform(0.01, 0.8, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(0.01, 0.9)),
            hairline=line + (9.0 if bald else 0.0),
            volume=float(rng.uniform(0.2, 2.6)),
            brow=(float(rng.uniform(0.13, 0.34)), float(rng.uniform(0.35, 0.95))),
            beard=float(rng.uniform(0.1, 0.9)) if rng.random() < 0.3 else 0.0,
            liner=float(rng.uniform(0.15, 0.85)),
            blush=float(rng.uniform(0, 0.3)),
            freckles=float(rng.uniform(0.2, 0.6)) if rng.random() < 0.15 else 0.0,
            grain=float(rng.uniform(0.4, 1.6)),
            gloss=float(rng.uniform(0.02, 0.3)),
            neckline=float(rng.uniform(-0.62, -0.3)),
            seed=int(rng.integers(2**31)),
        )  # fmt: skip

    def mirrored(self) -> Look:
        """The look of the mirror image."""
        return replace(self, flipped=not self.flipped)
