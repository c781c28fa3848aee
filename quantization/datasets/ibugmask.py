"""iBugMask (Lin et al., 2021): in-the-wild photos with 11-class index masks.

::

    ROOT/{train,test}/NAME.jpg
    ROOT/{train,test}/NAME.png                 ids of `edgeface.labels.IBUG11`
    ROOT/{train,test}/NAME_landmark.txt        x y per line (not read: neither count nor base is documented)

Source: hhj1897/face_parsing (README, ids) and the loader of sithu31296/semantic-segmentation
(``semseg/datasets/ibugmask.py``, layout). Many train pictures are views of one photo, turned by the authors.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edgeface.labels import IBUG11

from .imagefiles import masked
from .reading import Job, Layout, parts_wanted, require
from .sample import Sample, Terms

__all__ = ["LAYOUT"]


def _read(root: Path, part: str, picture: Path) -> Sample:
    return masked(root, part, picture, picture.with_suffix(".png"), IBUG11.key)


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    for ours, theirs in parts_wanted(part, {"train": "train", "test": "test"}):
        for picture in sorted(require(root / theirs).glob("*.jpg")):
            yield partial(_read, root, ours, picture)


LAYOUT = Layout(
    "ibugmask",
    Terms(
        "iBugMask (Lin et al., 2021)",
        "no licence stated with the release: taken as research only",
        commercial=False,
        source="https://github.com/hhj1897/face_parsing",
    ),
    _jobs,
)
