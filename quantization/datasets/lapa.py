"""LaPa (Liu et al., 2020): photos with 11-class index masks and 106 points.

::

    ROOT/{train,val,test}/images/NAME.jpg
    ROOT/{train,val,test}/labels/NAME.png         ids of `edgeface.labels.LAPA11`
    ROOT/{train,val,test}/landmarks/NAME.txt      106, then x y, 106 times

Coordinates are used as published. Source: JDAI-CV/lapa-dataset (README, terms) and open-mmlab/mmpose
(``tools/dataset_converters/lapa2coco.py``) for the points.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import LAPA11

from .imagefiles import masked, pictures
from .reading import DataSetError, ItemError, Job, Layout, parts_wanted, read_lines
from .sample import POINT_SCHEMES, Sample, Terms

__all__ = ["LAYOUT"]


def _points(path: Path) -> NDArray[np.float32]:
    count = POINT_SCHEMES["lapa106"]
    try:
        first, *rows = read_lines(path)
    except (DataSetError, ValueError) as error:
        raise ItemError(path, "the points are missing", mend="fetch them again") from error
    if first.text != str(count) or len(rows) != count:
        raise ItemError(path, f"{len(rows)} points, {first.text[:20]!r} announced", mend=f"LaPa has {count}")
    points = np.empty((count, 2), np.float32)
    for target, row in zip(points, rows, strict=True):
        words = row.text.split()
        if len(words) != 2:
            raise row.fault("a point is not two numbers")
        target[:] = row.numbers(words)
    return points


def _read(root: Path, part: str, picture: Path) -> Sample:
    folder = picture.parents[1]
    label = folder / "labels" / (picture.stem + ".png")
    points = _points(folder / "landmarks" / (picture.stem + ".txt"))
    return masked(root, part, picture, label, LAPA11.key, points=points, points_scheme="lapa106")


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    for ours, theirs in parts_wanted(part, {"train": "train", "validation": "val", "test": "test"}):
        for picture in pictures(root / theirs / "images"):
            yield partial(_read, root, ours, picture)


LAYOUT = Layout(
    "lapa",
    Terms(
        "LaPa (Liu et al., 2020)",
        "non-commercial purposes such as academic research, teaching and personal experimentation",
        commercial=False,
        source="https://github.com/JDAI-CV/lapa-dataset",
    ),
    _jobs,
)
