"""LFPW (Belhumeur et al., 2011) with 300-W's points, as the students train on it: photo, points, split.

The layout is `ibug`'s; this is the one folder of it whose split is committed.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.labels import IBUG68

from ..pictures import read_picture
from ..splits import Item, assign, digest, near_duplicates
from .ibug import read_points
from .sample import Terms

__all__ = ["TERMS", "load_photo", "load_points", "make_split"]

TERMS = Terms(
    "LFPW (Belhumeur et al., 2011) with the points of 300-W (Sagonas et al., 2013)",
    "research only, no commercial use",
    commercial=False,
    source="https://ibug.doc.ic.ac.uk/resources/300-W/",
)

_HOLD_OUT = 105  # photos that grade, never seen by any training


def load_photo(root: Path, name: str) -> NDArray[np.uint8]:
    """The photo, RGB uint8 [H, W, 3]."""
    return cv2.cvtColor(read_picture(root / name), cv2.COLOR_BGR2RGB)


def load_points(root: Path, name: str) -> NDArray[np.float32]:
    """The 68 points, float32 [68, 2], 0-based pixels."""
    return read_points((root / name).with_suffix(".pts"), len(IBUG68))


def make_split(root: Path) -> list[Item]:
    """``validation``: 105 photos; the rest trains. A photo stored twice (LFPW has such) never crosses."""
    names = sorted(p.name for p in root.glob("*.jpg"))
    digests = {n: digest(root / n) for n in names}
    groups = near_duplicates([root / n for n in names])
    entries = ((n, digests[n], str(g)) for n, g in zip(names, groups, strict=True))
    return assign(entries, [("validation", _HOLD_OUT)], "train", "lfpw")
