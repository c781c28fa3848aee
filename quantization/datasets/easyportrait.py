"""EasyPortrait (Kvanchiani et al., 2023): photos of people before a webcam with 9-class index masks.

::

    ROOT/images/{train,val,test}/NAME.jpg
    ROOT/annotations/{train,val,test}/NAME.png      ids of `edgeface.labels.EASYPORTRAIT9`

The parts hold different people. Source: hukenovs/easyportrait, README. Its licence is "a variant of" CC BY-SA
4.0 whose own text could not be read when this was written; commercial use is therefore not taken as allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edgeface.labels import EASYPORTRAIT9

from .imagefiles import masked, pictures
from .reading import Job, Layout, parts_wanted
from .sample import Sample, Terms

__all__ = ["LAYOUT"]


def _read(root: Path, part: str, picture: Path) -> Sample:
    label = root / "annotations" / picture.parent.name / (picture.stem + ".png")
    return masked(root, part, picture, label, EASYPORTRAIT9.key)


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    for ours, theirs in parts_wanted(part, {"train": "train", "validation": "val", "test": "test"}):
        for picture in pictures(root / "images" / theirs):
            yield partial(_read, root, ours, picture)


LAYOUT = Layout(
    "easyportrait",
    Terms(
        "EasyPortrait (Kvanchiani et al., 2023)",
        "a variant of CC BY-SA 4.0 (attribution, share alike); commercial use not confirmed",
        commercial=False,
        source="https://github.com/hukenovs/easyportrait",
    ),
    _jobs,
)
