"""FER+ (Barsoum et al., 2016): ten taggers' votes over the images of FER2013, 48 x 48 grey.

::

    ROOT/fer2013new.csv       Usage, Image name, then the votes; no name where the image was taken out
    ROOT/votes.csv            or: the folder's name in place of the usage, no row without an image
    ROOT/{FER2013Train,FER2013Valid,FER2013Test}/fer0000000.png | .webp      (or below ROOT/data)

The votes are for neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF (no
face): the order of `edgeface.labels.FER8`, and two more. A sample's expression is the majority; it has none
where "unknown" or NF got as many votes as the best class. Labels: MIT; images: research. Source:
microsoft/FERPlus (README, ``src/generate_training_data.py``: usages, folders and names).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import FER8

from ..pictures import read_picture
from ..splits import Item, assign, digest
from .imagefiles import picture_size
from .reading import Job, Layout, Line, parts_wanted, read_lines, require
from .sample import Sample, Terms

__all__ = ["CLASSES", "LAYOUT", "load_images", "load_votes", "make_split"]

CLASSES = FER8.names
_TUNING = 1500  # images kept out of training for the temperature and the choice of the checkpoint
_COLUMNS = 2 + len(FER8) + 2
_FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
_OURS = {"train": "FER2013Train", "validation": "FER2013Valid", "test": "FER2013Test"}
_PARTS = {theirs: ours for ours, theirs in _OURS.items()}


def _row(line: Line) -> tuple[str, NDArray[np.float32]]:
    """Name ``FOLDER/FILE`` and votes float32 [10] of a line; the name ends in a slash without an image."""
    folder, file, *votes = line.cells(_COLUMNS)
    values = line.numbers(votes)
    if (values < 0).any() or (values % 1).any():
        raise line.fault("a vote is no count")
    return f"{_FOLDERS.get(folder, folder)}/{file}", values.astype(np.float32)


def load_votes(root: Path) -> dict[str, NDArray[np.float32]]:
    """Votes float32 [10] (the eight classes, unknown, NF) by image name ``FOLDER/FILE`` of ``votes.csv``.

    Raises:
        ItemError: A line is malformed; unlike the reader, which counts it, this ends at the first.
    """
    lines = read_lines(root / "votes.csv")
    next(lines, None)
    return dict(_row(line) for line in lines)


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


def _read(pictures: Path, line: Line) -> Sample:
    name, votes = _row(line)
    part = _PARTS.get(name.partition("/")[0])
    if part is None:
        raise line.fault(f"{name.partition('/')[0][:20]!r} is no usage", f"use one of {', '.join(_FOLDERS)}")
    picture_size(pictures / name)
    best = int(votes[: len(FER8)].argmax())
    clear = votes[best] > votes[len(FER8) :].max()
    return Sample(name, pictures / name, part, votes=votes, expression=best if clear else None)


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    pictures = root / "data" if (root / "data" / "FER2013Train").is_dir() else root
    lines = read_lines(require(root / "fer2013new.csv", root / "votes.csv"))
    next(lines, None)
    wanted = {ours for ours, _ in parts_wanted(part, _OURS)}
    for line in lines:
        folder, _, rest = line.text.partition(",")
        if rest.lstrip().startswith(","):
            continue  # FER+ took the image out: no face
        if _PARTS.get(_FOLDERS.get(folder, folder), part) in {None, *wanted}:
            yield partial(_read, pictures, line)


LAYOUT = Layout(
    "ferplus",
    Terms(
        "FER+ (Barsoum et al., 2016) on the images of FER2013 (Goodfellow et al., 2013)",
        "labels: MIT; images: research only",
        commercial=False,
        source="https://github.com/microsoft/FERPlus",
    ),
    _jobs,
)
