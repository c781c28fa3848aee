"""LFPW with the 300-W annotation (Belhumeur et al., 2011; Sagonas et al., 2013): photos beside 68-point ``.pts`` files.

The ``.pts`` convention is 1-based (Matlab); points here are 0-based pixels. Research use.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..splits import Item, assign, digest, near_duplicates

__all__ = ["load_photo", "load_points", "make_split"]

_HOLD_OUT = 105  # photos that grade, never seen by any training


def load_photo(root: Path, name: str) -> NDArray[np.uint8]:
    """The photo, RGB uint8 [H, W, 3]."""
    bgr = cv2.imdecode(np.fromfile(root / name, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{root / name}: not a readable image; fetch it again")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def load_points(root: Path, name: str) -> NDArray[np.float32]:
    """The 68 points, float32 [68, 2], 0-based pixels."""
    path = (root / name).with_suffix(".pts")
    body = path.read_text().split("{", 1)[1].split("}", 1)[0]
    points = np.array([line.split() for line in body.strip().splitlines()], np.float32)
    if points.shape != (68, 2):
        raise ValueError(f"{path}: {points.shape[0]} points where iBUG-68 has 68")
    return points - 1


def make_split(root: Path) -> list[Item]:
    """``validation``: 105 photos; the rest trains. A photo stored twice (LFPW has such pairs) never crosses."""
    names = sorted(p.name for p in root.glob("*.jpg"))
    digests = {n: digest(root / n) for n in names}
    groups = near_duplicates([root / n for n in names])
    entries = ((n, digests[n], str(g)) for n, g in zip(names, groups, strict=True))
    return assign(entries, [("validation", _HOLD_OUT)], "train", "lfpw")
