"""FER+ (Barsoum et al., 2016): ten taggers' votes over the images of FER2013, 48 x 48 grey.

``votes.csv`` has the columns split, image, then the votes for neutral, happiness, surprise, sadness, anger,
disgust, fear, contempt, unknown, NF (no face). Labels: MIT; images: research.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..pictures import read_picture
from ..splits import Item, assign, digest

__all__ = ["CLASSES", "load_images", "load_votes", "make_split"]

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
_TUNING = 1500  # images kept out of training for the temperature and the choice of the checkpoint


def load_votes(root: Path) -> dict[str, NDArray[np.float32]]:
    """Votes float32 [10] (the eight classes, unknown, NF) by image name ``SPLIT/FILE``."""
    with (root / "votes.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    for line, row in enumerate(rows, 1):
        if len(row) != 12:
            raise ValueError(f"{root / 'votes.csv'}: {len(row)} columns in line {line}, there must be 12")
    return {f"{r[0]}/{r[1]}": np.array(r[2:], np.float32) for r in rows[1:]}


def load_images(root: Path, names: list[str]) -> NDArray[np.uint8]:
    """Grey images uint8 [N, 48, 48]."""
    return np.stack([read_picture(root / n, grey=True) for n in names])


def make_split(root: Path) -> list[Item]:
    """``validation`` is the published valid part without images that repeat training images; the rest trains.

    Images whose majority is not one of the eight classes are dropped, as the FER+ paper does.
    """
    votes = load_votes(root)
    usable = [n for n, v in votes.items() if (root / n).exists() and v[:8].max() > v[8:].max()]
    digests = {n: digest(root / n) for n in usable}
    train = [n for n in usable if n.startswith("FER2013Train/")]
    trained = {digests[n] for n in train}
    valid = [n for n in usable if n.startswith("FER2013Valid/") and digests[n] not in trained]
    items = assign(((n, digests[n], digests[n]) for n in train), [("tuning", _TUNING)], "train", "ferplus")
    items += assign(((n, digests[n], digests[n]) for n in valid), [], "validation", "ferplus")
    return items
