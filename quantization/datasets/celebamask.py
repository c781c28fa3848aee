"""CelebAMask-HQ (Lee et al., 2020), merged index masks 0-18 beside the photos. Non-commercial research.

Index order: background, skin, nose, eyeglasses, l_eye, r_eye, l_brow, r_brow, l_ear, r_ear, mouth, u_lip,
l_lip, hair, hat, earring, necklace, neck, cloth. Some masks are palette images, so Pillow reads them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..splits import Item, assign, digest
from .lfpw import load_photo

__all__ = ["load_mask", "load_photo", "make_split"]

_HOLD_OUT, _TUNING = 100, 40


def load_mask(root: Path, name: str) -> NDArray[np.uint8]:
    """Label map uint8 [H, W] of the photo ``images/NAME``."""
    path = root / "masks" / (Path(name).stem + ".png")
    with Image.open(path) as image:
        mask = np.array(image, np.uint8)
    if mask.ndim != 2 or mask.max() > 18:
        raise ValueError(f"{path}: the mask is not an index map of 0 to 18; merge the part masks first")
    return mask


def make_split(root: Path) -> list[Item]:
    """``validation``: 100 pairs by their digests' order, ``tuning``: 40 to choose by; the rest trains."""
    names = sorted(p.name for p in (root / "images").iterdir())
    digests = {n: digest(root / "images" / n) for n in names}
    entries = ((n, digests[n], digests[n]) for n in names)
    return assign(entries, [("validation", _HOLD_OUT), ("tuning", _TUNING)], "train", "celebamask")
