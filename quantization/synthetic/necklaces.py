"""Necklaces drawn over annotated photos, of which few show one.

They hang and look as on CelebAMask-HQ's training photos, and are named as its annotators do it: a band over
the whole chain, gaps between its links included. Jaw and hair stay before it. `worn` dresses rendered heads.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.labels import CELEBAMASK19

__all__ = ["hang"]

Array = NDArray[np.floating]
Picture = NDArray[np.uint8]
_PARTS = {name: i for i, name in enumerate(CELEBAMASK19.names)}
_FINER, _SHIFT = 8, 3  # parts of a pixel that OpenCV draws to, as 2 ** 3
_LEAST_NECK, _LEAST_WIDTH = 400, 20  # pixels, of a neck that can wear something


def hang(image: Picture, mask: Picture, rng: np.random.Generator) -> tuple[Picture, Picture]:
    """Draw a necklace over a photo: on the neck, and on what is worn below it.

    Args:
        image: RGB uint8 [H, W, 3].
        mask: Its classes of CelebAMask-19, uint8 [H, W]; 255 is unknown and stays.
        rng: What everything is drawn from.

    Returns:
        Copies of both; without a necklace where there is hardly a neck.
    """
    image, mask = image.copy(), mask.copy()
    neck = mask == _PARTS["neck"]
    rows = np.nonzero(neck)[0]
    if len(rows) < _LEAST_NECK:
        return image, mask
    top = float(rng.uniform(*np.percentile(rows, (10, 98))))
    # The jaw may hide a part of the neck, and of the chain.
    across = np.flatnonzero((neck | (mask == _PARTS["skin"]))[round(top)])
    if len(across) < _LEAST_WIDTH:
        return image, mask
    wide = float(across[-1] - across[0])
    left, right = (across[0], across[-1]) + wide * rng.uniform(-0.02, 0.12, 2) * (-1, 1)
    drop = wide * _between(rng, 0.15, 2.0)
    along = np.linspace(-1, 1, 400)
    x = (left + right) / 2 + (right - left) / 2 * along + wide * rng.normal(0, 0.02) * (1 - along**2)
    y = top + drop * (1 - np.abs(along) ** rng.uniform(1.2, 3.5)) + wide * rng.normal(0, 0.04) * along
    thick = max(1.6, wide * _between(rng, 0.012, 0.07)) * (2.5 if rng.random() < 0.06 else 1)
    line = np.stack([x, y], 1)
    # All happens in a window about the line.
    margin, size = thick * 4 + 4, mask.shape[::-1]
    first = np.clip(line.min(0) - margin, 0, size).astype(int)
    last = np.clip(line.max(0) + margin, first, size).astype(int)
    window = np.s_[first[1] : last[1], first[0] : last[0]]
    chain = _Chain(line - first, thick, mask[window].shape, rng)
    chain.lay(image[window], mask[window])
    return image, mask


class _Chain:
    """What a chain along ``line`` [N, 2], x and y, covers of a picture of ``shape``, and its colours."""

    def __init__(self, line: Array, thick: float, shape: tuple[int, ...], rng: np.random.Generator) -> None:
        self._rng, self._line = rng, line
        self._tones = _tone(rng), _tone(rng)
        self._cover, self._named = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self._paint = np.full((*shape, 3), self._tones[0], np.float32)
        points = [np.rint(line * _FINER).astype(np.int32)]
        if (kind := rng.random()) < 0.3:
            cv2.polylines(self._cover, points, False, 255, max(1, round(thick)), cv2.LINE_AA, _SHIFT)
            if rng.random() < 0.6:
                for place in self._steps(max(2.0, thick * rng.uniform(0.8, 2))):
                    self._dab(place, thick * 0.55, self._tones[0] * rng.choice([0.35, 0.6, 1.3, 1.7]))
        else:
            gap = rng.uniform(0.8, 1.3) if kind < 0.8 else rng.uniform(1.5, 3)
            mixed = rng.random() < 0.3
            for place in self._steps(max(2.0, thick * gap)):
                radius = thick / 2 * (rng.uniform(0.7, 1.2) if mixed else 1)
                self._bead(place, radius, self._tones[int(mixed and rng.random() < 0.4)])
            if rng.random() < 0.5:
                cv2.polylines(self._cover, points, False, 255, 1, cv2.LINE_AA, _SHIFT)
        cv2.polylines(self._named, points, False, 255, max(3, round(thick + 2)), cv2.LINE_8, _SHIFT)
        if rng.random() < 0.35:
            self._pendant(line[len(line) // 2] + (0, thick), thick * rng.uniform(0.8, 2.5))

    def lay(self, image: Picture, mask: Picture) -> None:
        """Put it into photo and map, with its shadow and in the light that is there."""
        rng = self._rng
        on = np.isin(mask, [_PARTS[name] for name in ("neck", "cloth", "necklace")])
        named = ((self._named | self._cover) > 127) & on
        if not named.any():
            return
        grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 4).astype(np.float32)
        mean = max(float(grey[named].mean()), 1.0)
        light = np.clip(grey / mean, 0.3, 1.6) * np.clip(mean / 150, 0.5, 1.2)
        seen = np.where(on, self._cover, np.uint8(0))
        shadow = cv2.GaussianBlur(seen, (0, 0), 1.5).astype(np.float32) / 255
        aside = np.array([[1.0, 0, rng.integers(-2, 3)], [0, 1, 1]])
        shadow = cv2.warpAffine(shadow, aside, shadow.shape[::-1]) * float(rng.uniform(0, 0.45)) * on
        share = seen.astype(np.float32)[..., None] / 255 * float(rng.uniform(0.8, 1))
        lit = np.clip(self._paint * light[..., None], 0, 255)
        image[:] = (image * (1 - shadow[..., None]) * (1 - share) + lit * share).astype(np.uint8)
        mask[named] = _PARTS["necklace"]

    def _steps(self, step: float) -> Array:
        """Points of the line at even distances [M, 2]."""
        run = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(self._line, axis=0).T))])
        at = np.arange(self._rng.uniform(0, step), run[-1], step)
        return np.stack([np.interp(at, run, self._line[:, axis]) for axis in (0, 1)], 1)

    def _bead(self, place: Array, radius: float, tone: Array) -> None:
        """Dark at its rim, with a gleam."""
        _circle(self._cover, place, max(0.8, radius), 255)
        self._dab(place, radius * 1.15, tone * 0.6)
        self._dab(place - (radius * 0.2, radius * 0.25), radius * 0.75, tone)
        if self._rng.random() < 0.7:
            self._dab(place - (radius * 0.3, radius * 0.35), radius * 0.3, np.minimum(tone * 1.5 + 60, 255))

    def _pendant(self, place: Array, radius: float) -> None:
        tone = self._tones[int(self._rng.random() < 0.4)]
        for share, light in ((1.0, 0.7), (0.7, 1.0), (0.25, 1.6)):
            self._dab(place, radius * share, np.minimum(tone * light, 255))
        _circle(self._cover, place, radius, 255)

    def _dab(self, place: Array, radius: float, tone: Array) -> None:
        _circle(self._paint, place, max(0.4, radius), tuple(float(v) for v in tone))


def _circle(onto: Array | Picture, place: Array, radius: float, colour: float | tuple[float, ...]) -> None:
    centre = tuple(int(v) for v in np.rint(place * _FINER))
    smooth = cv2.LINE_AA if onto.dtype == np.uint8 else cv2.LINE_8
    cv2.ellipse(onto, centre, (round(radius * _FINER),) * 2, 0, 0, 360, colour, -1, smooth, _SHIFT)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """A factor, all magnitudes alike."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _tone(rng: np.random.Generator) -> Array:
    """A colour [3]: gold, silver or pearl, dark, or any."""
    kind = rng.random()
    if kind < 0.35:
        return np.clip(np.array([215, 175, 95]) * rng.uniform(0.55, 1.15), 0, 255)
    if kind < 0.65:
        return np.clip(np.array([225, 222, 215]) * rng.uniform(0.5, 1.12), 0, 255)
    return np.full(3, rng.uniform(10, 70)) if kind < 0.8 else rng.uniform(0, 255, 3)
