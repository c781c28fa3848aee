"""Things that a small network takes for faces: letters, buttons, dials, round pieces of anything, a glow.

A detector's false faces on photos are of these kinds, and a few hundred photos hold too few of each to learn
from.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["scatter"]

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]
_SIDE = 96  # pixels at which a decoy is drawn
_FONTS = ("DejaVuS", "STIXGeneral", "cmb", "cmr", "cmss", "cmti", "cmtt")
_BARE = {"DejaVuSansDisplay", "DejaVuSerifDisplay"}  # a few signs of mathematics and no letter
# Signs of DejaVu's fonts: stars, arrows, boxes, flowers; none of the smiling faces at U+2639 to U+263B.
_SIGNS = "".join(map(chr, [*range(0x2600, 0x2639), *range(0x263C, 0x2660), *range(0x2701, 0x27BE)]))
_LETTERS = "".join(map(chr, [*range(48, 58), *range(65, 91), *range(97, 123)])) + "&@#?!%$"


def scatter(image: Picture, rng: np.random.Generator, filler: Picture, boxes: list[Array]) -> None:
    """Puts one to six decoys into the picture, RGB uint8 [H, W, 3], none over one of the ``boxes``.

    Some are cut out of ``filler``, another picture of the same size.
    """
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, 7))):
        side = round(float(np.exp(rng.uniform(np.log(9), np.log(0.7 * height)))))
        x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
        if any(b[0] < x + side and b[0] + b[2] > x and b[1] < y + side and b[1] + b[3] > y for b in boxes):
            continue
        kind = (_sign, _disc, _piece, _glow)[rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])]
        colour, alpha = kind(rng, filler)
        size = (side, side)
        colour = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
        cover = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)[:, :, None].astype(np.uint16)
        under = image[y : y + side, x : x + side]
        image[y : y + side, x : x + side] = ((colour * cover + under * (255 - cover)) // 255).astype(np.uint8)


@cache
def _fonts() -> tuple[tuple[ImageFont.FreeTypeFont, bool], ...]:
    """The fonts that come with matplotlib, and whether they have the signs."""
    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    found = [path for path in folder.glob("*.ttf") if path.name.startswith(_FONTS) and path.stem not in _BARE]
    signs = [path.name.startswith("DejaVuSans") and "Mono" not in path.name for path in sorted(found)]
    return tuple(
        (ImageFont.truetype(str(path), 70), has) for path, has in zip(sorted(found), signs, strict=True)
    )


def _any_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Any, or a grey, or one of skin, wood and brass."""
    kind = rng.random()
    if kind < 0.3:
        colour = rng.integers(0, 256, 3)
    elif kind < 0.55:
        colour = np.repeat(rng.integers(0, 256), 3)
    else:
        colour = np.clip(
            np.array([1.0, rng.uniform(0.6, 0.85), rng.uniform(0.4, 0.75)]) * rng.integers(40, 256), 0, 255
        )
    red, green, blue = (int(v) for v in colour)
    return red, green, blue


def _sign(rng: np.random.Generator, filler: Picture) -> tuple[Picture, Picture]:
    """A letter, a few, or a sign; often on a plate."""
    fonts = _fonts()
    font, has_signs = fonts[rng.integers(len(fonts))]
    store = _SIGNS if has_signs and rng.random() < 0.5 else _LETTERS
    text = "".join(
        store[k] for k in rng.integers(0, len(store), int(rng.choice([1, 2, 3], p=[0.7, 0.15, 0.15])))
    )
    mask = Image.new("L", (_SIDE, _SIDE))
    ImageDraw.Draw(mask).text((_SIDE / 2, _SIDE / 2), text, 255, font, anchor="mm")
    ink = np.asarray(mask, np.float32)[:, :, None] / 255
    plate = np.zeros((_SIDE, _SIDE), np.uint8)
    kind = rng.random()
    if kind < 0.25:
        cv2.ellipse(
            plate,
            ((_SIDE / 2, _SIDE / 2), (_SIDE * float(rng.uniform(0.7, 0.98)), _SIDE * 0.98), 0.0),
            255,
            -1,
        )
    elif kind < 0.45:
        inset = int(rng.integers(1, 20))
        plate[:, inset : _SIDE - inset] = 255
    colour = np.array(_any_colour(rng)) * ink + np.array(_any_colour(rng)) * (1 - ink)
    return colour.astype(np.uint8), np.maximum(plate, (ink[:, :, 0] * 255).astype(np.uint8))


def _disc(rng: np.random.Generator, filler: Picture) -> tuple[Picture, Picture]:
    """A button, a coin, a dial, a lamp: an oval with a gradient, rings, holes, hands or rays."""
    axes = _SIDE * np.array([rng.uniform(0.6, 0.98), rng.uniform(0.8, 0.98)])
    middle = (_SIDE / 2, _SIDE / 2)
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32) - (_SIDE - 1) / 2
    lit = rng.uniform(-0.5, 0.5, 2)
    away = np.clip(np.hypot(2 * x / axes[0] - lit[0], 2 * y / axes[1] - lit[1]), 0, 1.5)[:, :, None] / 1.5
    away = away ** float(rng.uniform(0.7, 3))
    colour = (np.array(_any_colour(rng)) * (1 - away) + np.array(_any_colour(rng)) * away).astype(np.uint8)
    colour = np.ascontiguousarray(colour)
    for _ in range(int(rng.integers(0, 3))):
        share = float(rng.uniform(0.3, 0.97))
        ring = (middle, (float(axes[0]) * share, float(axes[1]) * share), 0.0)
        cv2.ellipse(colour, ring, _any_colour(rng), int(rng.integers(1, 8)), cv2.LINE_AA)
    start, count = float(rng.uniform(0, 2 * np.pi)), int(rng.integers(2, 13))
    turns = start + np.arange(count) * 2 * np.pi / count
    reach, paint, kind = float(rng.uniform(0.15, 0.42)) * _SIDE, _any_colour(rng), rng.integers(4)
    for turn in turns if kind < 3 else ():
        end = (round(middle[0] + reach * np.cos(turn)), round(middle[1] + reach * np.sin(turn)))
        if kind == 0:
            cv2.circle(colour, end, int(rng.integers(2, 9)), paint, -1, cv2.LINE_AA)
        else:
            begin = (
                (_SIDE // 2, _SIDE // 2)
                if kind == 1
                else tuple(round(1.4 * e - 0.4 * _SIDE / 2) for e in end)
            )
            cv2.line(colour, begin, end, paint, int(rng.integers(1, 6)), cv2.LINE_AA)
    alpha = np.zeros((_SIDE, _SIDE), np.uint8)
    cv2.ellipse(alpha, (middle, (float(axes[0]), float(axes[1])), 0.0), 255, -1, cv2.LINE_AA)
    return colour, alpha


def _piece(rng: np.random.Generator, filler: Picture) -> tuple[Picture, Picture]:
    """An oval of another picture, as heads are pasted: so that no oval is a face for being one."""
    height, width = filler.shape[:2]
    side = int(rng.integers(24, height + 1))
    x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
    colour = cv2.resize(filler[y : y + side, x : x + side], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:  # toward the colour of skin
        paint = np.full_like(colour, 1) * np.array(_any_colour(rng), np.uint8)
        colour = cv2.addWeighted(colour, 0.5, paint, 0.5, 0)
    alpha = np.zeros((_SIDE, _SIDE), np.uint8)
    axes = (_SIDE * float(rng.uniform(0.5, 0.85)), _SIDE * 0.85)
    cv2.ellipse(alpha, ((_SIDE / 2, _SIDE / 2), axes, float(rng.normal(0, 12))), 255, -1)
    return colour, cv2.GaussianBlur(alpha, (0, 0), float(rng.uniform(0.8, 4)))


def _glow(rng: np.random.Generator, filler: Picture) -> tuple[Picture, Picture]:
    """A lamp out of focus, or its shine on a wall."""
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32) / (_SIDE - 1) * 2 - 1
    shine = np.clip(1 - np.hypot(x / float(rng.uniform(0.6, 1)), y), 0, 1) ** float(rng.uniform(0.5, 2))
    colour = np.full((_SIDE, _SIDE, 3), 1, np.uint8) * np.array(_any_colour(rng), np.uint8)
    return colour, (shine * rng.integers(60, 256)).astype(np.uint8)
