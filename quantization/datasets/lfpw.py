"""LFPW (Belhumeur et al., 2011) with 300-W's points (Sagonas et al., 2013): photos beside ``.pts`` files.

The ``.pts`` convention is 1-based (Matlab); points here are 0-based pixels. Research use.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..pictures import read_picture
from ..splits import Item, assign, digest, near_duplicates

__all__ = ["load_photo", "load_points", "make_split"]

_HOLD_OUT = 105  # photos that grade, never seen by any training


def load_photo(root: Path, name: str) -> NDArray[np.uint8]:
    """The photo, RGB uint8 [H, W, 3]."""
    return cv2.cvtColor(read_picture(root / name), cv2.COLOR_BGR2RGB)


def load_points(root: Path, name: str) -> NDArray[np.float32]:
    """The 68 points, float32 [68, 2], 0-based pixels."""
    path = (root / name).with_suffix(".pts")
    body = path.read_text().partition("{")[2].partition("}")[0]
    rows = [line.split() for line in body.strip().splitlines()]
    if len(rows) != 68:
        raise ValueError(f"{path}: {len(rows)} points where iBUG-68 has 68")
    try:
        points = np.array(rows, np.float32).reshape(68, 2)
    except ValueError as error:
        raise ValueError(f"{path}: not all of its points are two numbers; fetch it again") from error
    return points - 1


def make_split(root: Path) -> list[Item]:
    """``validation``: 105 photos; the rest trains. A photo stored twice (LFPW has such) never crosses."""
    names = sorted(p.name for p in root.glob("*.jpg"))
    digests = {n: digest(root / n) for n in names}
    groups = near_duplicates([root / n for n in names])
    entries = ((n, digests[n], str(g)) for n, g in zip(names, groups, strict=True))
    return assign(entries, [("validation", _HOLD_OUT)], "train", "lfpw")
