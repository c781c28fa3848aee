"""What heads wear: long hair, glasses, a hat, earrings, a necklace, drawn over a rendered head.

Flat drawings at the head's own points and parts, turned with it as far as these are, and written into its
classes: enough to learn where such things are, not what they look like.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.labels import CELEBAMASK19

from .faces import SyntheticFace

__all__ = ["wear"]

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]
_PARTS = {name: i for i, name in enumerate(CELEBAMASK19.names)}
_SHARES = {"hair": 0.4, "hat": 0.1, "necklace": 0.12, "earrings": 0.2, "glasses": 0.22}
_FINER = 8  # parts of a pixel that OpenCV draws to, as 2 ** 3
_SHIFT = 3


def wear(face: SyntheticFace, rng: np.random.Generator) -> SyntheticFace:
    """The face with none, some or all of them; its points stay, and what is hidden of them."""
    worn = replace(face, image=face.image.copy(), mask=face.mask.copy())
    for name, put_on in _WAYS.items():
        if rng.random() < _SHARES[name]:
            put_on(worn, rng)
    return worn


def _tone(rng: np.random.Generator) -> tuple[int, int, int]:
    """A colour: of a metal, black, or any."""
    kind = rng.random()
    if kind < 0.35:
        return tuple(int(v) for v in np.clip(np.array([210, 180, 110]) * rng.uniform(0.5, 1.15), 0, 255))
    return (int(rng.integers(5, 60)),) * 3 if kind < 0.65 else tuple(int(v) for v in rng.integers(0, 256, 3))


def _blend(face: SyntheticFace, cover: Picture, tone: tuple[int, ...], opaque: float, part: str) -> None:
    """Lays a tone where ``cover`` [H, W] is, and names it where that is more than half of a pixel."""
    share = (cover.astype(np.float32) / 255 * opaque)[..., None]
    face.image[:] = (face.image * (1 - share) + np.array(tone, np.float32) * share).astype(np.uint8)
    face.mask[cover > 127] = _PARTS[part]


def _shaded(face: SyntheticFace, cover: Picture, tone: tuple[int, ...], part: str) -> None:
    """The same of something that is lit as what was there: its shadows stay."""
    inside = cover > 127
    if not inside.any():
        return
    grey = cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    lit = np.clip(grey / max(float(grey[inside].mean()), 1.0), 0.3, 1.8)[..., None]
    share = (cover.astype(np.float32) / 255)[..., None]
    face.image[:] = np.clip(
        face.image * (1 - share) + np.array(tone, np.float32) * lit * share, 0, 255
    ).astype(np.uint8)
    face.mask[inside] = _PARTS[part]


def _fixed(points: Array) -> NDArray[np.int32]:
    return np.rint(np.asarray(points) * _FINER).astype(np.int32)


def _long_hair(face: SyntheticFace, rng: np.random.Generator) -> None:
    """Hair that falls behind the face to the neck or over the shoulders, coloured as what grows there."""
    own = face.mask == _PARTS["hair"]
    if np.count_nonzero(own) < 40:
        return  # bald
    points = face.points
    up = points[27] - points[8]
    height = float(np.linalg.norm(up)) + 1e-6
    up = up / height
    across = np.array([-up[1], up[0]])
    rows, columns = np.nonzero(
        (face.mask > 0) & (face.mask != _PARTS["cloth"]) & (face.mask != _PARTS["neck"])
    )
    places = np.stack([columns, rows], 1) - points[27]
    side, rise = places @ across, places @ up
    middle, half = float(side.min() + side.max()) / 2, float(np.ptp(side)) / 2
    top, length = float(rise.max()), height * float(rng.uniform(0.7, 2.2))
    turn = np.linspace(0, 1, 12)
    width = half * (1 + float(rng.uniform(0.0, 0.3)) * np.sin(np.pi * np.minimum(turn * 1.4, 1) / 2))
    width = width * (1 + rng.normal(0, 0.03, (2, 12)))
    level = top - (top + length) * turn
    arch = np.minimum(np.sqrt(np.clip(turn * 6, 0, 1)), 1)  # round above, straight below
    sides = [points[27] + np.outer(middle + sign * width[k] * arch, across) + np.outer(level, up)
             for k, sign in enumerate((-1, 1))]  # fmt: skip
    cover = np.zeros(face.mask.shape, np.uint8)
    cv2.fillPoly(cover, [_fixed(np.concatenate([sides[0], sides[1][::-1]]))], 255, cv2.LINE_AA, _SHIFT)
    free = ["background", "cloth"] + (["l_ear", "r_ear"] if rng.random() < 0.5 else [])
    cover[~np.isin(face.mask, [_PARTS[name] for name in free])] = 0
    streaks = rng.normal(0, 1, (3, max(8, face.mask.shape[1]))).astype(np.float32)
    streaks = cv2.resize(streaks, face.mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    tone = np.median(face.image[own], axis=0) * float(rng.uniform(0.6, 1.0))
    share = (cv2.GaussianBlur(cover, (0, 0), 0.6).astype(np.float32) / 255)[..., None]
    strands = np.clip(tone * (1 + 0.18 * streaks[..., None]), 0, 255)
    face.image[:] = (face.image * (1 - share) + strands * share).astype(np.uint8)
    face.mask[cover > 127] = _PARTS["hair"]


def _glasses(face: SyntheticFace, rng: np.random.Generator) -> None:
    """Two lenses about the eyes, a bridge, and arms toward the ears where the cheek does not hide them."""
    points, size = face.points, face.mask.shape
    right, left = points[36:42], points[42:48]
    apart = float(np.linalg.norm(right.mean(0) - left.mean(0)))
    if apart < 6 or not (face.visible[36:48].all()):
        return  # in profile flat glasses would stand off the face
    along = (left.mean(0) - right.mean(0)) / apart
    down = np.array([-along[1], along[0]])
    lens, frame = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    thick = max(1, round(apart * float(rng.uniform(0.02, 0.09))))
    high, round_ = float(rng.uniform(0.5, 0.85)), float(rng.uniform(1.6, 5.0))
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    # A superellipse: from a circle to a rectangle with soft corners.
    outline = np.stack([np.sign(f(turn)) * np.abs(f(turn)) ** (2 / round_) for f in (np.cos, np.sin)], 1)
    ends = []
    for eye in (right, left):
        wide = float(np.ptp(eye @ along)) * float(rng.uniform(0.98, 1.02))
        half = np.array([0.92 * wide, 0.92 * high * apart * 0.42])
        middle = eye.mean(0) + down * 0.06 * apart
        shape = middle + outline[:, :1] * half[0] * along + outline[:, 1:] * half[1] * down
        cv2.fillPoly(lens, [_fixed(shape)], 255, cv2.LINE_AA, _SHIFT)
        cv2.polylines(frame, [_fixed(shape)], True, 255, thick, cv2.LINE_AA, _SHIFT)
        ends.append((middle - along * half[0], middle + along * half[0]))
    lines = [(ends[0][1], ends[1][0])]
    for k, (end, ear) in enumerate(((ends[0][0], points[0]), (ends[1][1], points[16]))):
        if face.visible[0 if k == 0 else 16]:
            lines.append((end, ear * 0.85 + end * 0.15 - down * 0.1 * apart))
    for line in lines:
        start, end = (tuple(int(v) for v in _fixed(place)) for place in line)
        cv2.line(frame, start, end, 255, thick, cv2.LINE_AA, _SHIFT)
    tint = float(rng.uniform(0, 0.25)) if rng.random() < 0.75 else float(rng.uniform(0.6, 0.97))
    _blend(face, lens, _tone(rng) if tint > 0.3 else (225, 230, 235), tint, "eyeglasses")
    _blend(face, frame, _tone(rng), 0.95, "eyeglasses")


def _hat(face: SyntheticFace, rng: np.random.Generator) -> None:
    """A cap: the hair above a line over the brows, swollen, and a brim in front of it."""
    points = face.points
    up = points[27] - points[8]
    up /= float(np.linalg.norm(up)) + 1e-6
    height = float(np.linalg.norm(points[27] - points[8]))
    base = points[17:27].mean(0) + up * height * float(rng.uniform(0.12, 0.38))
    y, x = np.mgrid[: face.mask.shape[0], : face.mask.shape[1]].astype(np.float32)
    above = ((x - base[0]) * up[0] + (y - base[1]) * up[1]) > 0
    head = (face.mask > 0) & above & (face.mask != _PARTS["cloth"])
    if np.count_nonzero(head) < 20:
        return
    swell = max(1, round(height * float(rng.uniform(0.04, 0.16))))
    crown = cv2.dilate(
        head.astype(np.uint8) * 255, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * swell + 1,) * 2)
    )
    crown[~above] = 0
    tone = _tone(rng)
    _shaded(face, cv2.GaussianBlur(crown, (0, 0), 0.7), tone, "hat")
    across = np.array([-up[1], up[0]])
    reach = (x - base[0]) * across[0] + (y - base[1]) * across[1]
    inside = reach[head]
    if rng.random() < 0.5:
        brim = np.zeros(face.mask.shape, np.uint8)
        middle = base + across * float(inside.min() + inside.max()) / 2
        half = (
            float(np.ptp(inside)) * float(rng.uniform(0.5, 0.75)),
            height * float(rng.uniform(0.05, 0.14)),
        )
        angle = float(np.degrees(np.arctan2(across[1], across[0])))
        centre = tuple(int(v) for v in _fixed(middle))
        cv2.ellipse(
            brim,
            centre,
            tuple(int(v) for v in _fixed(np.array(half))),
            angle,
            0,
            360,
            255,
            -1,
            cv2.LINE_AA,
            _SHIFT,
        )
        _blend(face, brim, tuple(int(v * 0.8) for v in tone), 1.0, "hat")


def _earrings(face: SyntheticFace, rng: np.random.Generator) -> None:
    """Studs, rings and drops below the ears that are seen."""
    height = float(np.linalg.norm(face.points[27] - face.points[8]))
    tone, kind, size = _tone(rng), int(rng.integers(3)), float(rng.uniform(0.03, 0.09))
    for part in ("l_ear", "r_ear"):
        rows, columns = np.nonzero(face.mask == _PARTS[part])
        if len(rows) < 12 or rng.random() < 0.1:
            continue
        lowest = rows >= np.percentile(rows, 92)
        place = np.array([columns[lowest].mean(), rows.max()])
        radius = max(1.0, size * height)
        cover = np.zeros(face.mask.shape, np.uint8)
        if kind == 0:
            _dot(cover, place, radius * 0.6, -1)
        elif kind == 1:
            _dot(cover, place + np.array([0, radius]), radius * 1.3, max(1, round(radius * 0.4)))
        else:
            for step in range(int(rng.integers(2, 5))):
                _dot(
                    cover,
                    place + np.array([0, step * radius * 1.3]),
                    radius * float(rng.uniform(0.5, 0.9)),
                    -1,
                )
        _blend(face, cover, tone, 0.95, "earring")


def _dot(cover: Picture, place: Array, radius: float, thick: int) -> None:
    centre = tuple(int(v) for v in _fixed(place))
    cv2.circle(cover, centre, max(int(radius * _FINER), 1), 255, thick, cv2.LINE_AA, _SHIFT)


def _necklace(face: SyntheticFace, rng: np.random.Generator) -> None:
    """A chain that hangs across the neck, of one piece or of beads, and now and then a pendant."""
    rows, columns = np.nonzero(face.mask == _PARTS["neck"])
    if len(rows) < 60:
        return
    at = np.percentile(rows, float(rng.uniform(50, 90)))
    there = columns[np.abs(rows - at) < 2]
    if len(there) < 6:
        return
    left, right = float(there.min()), float(there.max())
    sag = (right - left) * float(rng.uniform(0.15, 0.5))
    share = np.linspace(0, 1, 40)
    line = np.stack([left + (right - left) * share, at + sag * (1 - (2 * share - 1) ** 2)], 1)
    thick = max(1, round((right - left) * float(rng.uniform(0.01, 0.06))))
    cover = np.zeros(face.mask.shape, np.uint8)
    if rng.random() < 0.5:
        cv2.polylines(cover, [_fixed(line)], False, 255, thick, cv2.LINE_AA, _SHIFT)
    else:
        for place in line[::2]:
            _dot(cover, place, thick * 0.8, -1)
    if rng.random() < 0.4:
        _dot(cover, line[20] + (0, thick), thick * float(rng.uniform(1.0, 2.5)), -1)
    cover[~np.isin(face.mask, [_PARTS["neck"], _PARTS["cloth"]])] = 0  # behind the jaw, before the shirt
    _blend(face, cover, _tone(rng), 0.95, "necklace")


_WAYS = {"hair": _long_hair, "hat": _hat, "necklace": _necklace, "earrings": _earrings, "glasses": _glasses}
