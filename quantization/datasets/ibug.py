"""300-W and its parts (LFPW, Helen, AFW, iBUG): photos beside ``.pts`` files of 68 points.

::

    ROOT/**/NAME.jpg | NAME.png      lfpw/trainset, lfpw/testset, helen/..., afw, ibug, 300w/01_Indoor, ...
    ROOT/**/NAME.pts                 version: 1 / n_points: 68 / { / x y, 68 times / }

The points are 1-based, as Matlab counts; samples have them 0-based. A folder ``trainset`` trains, ``testset``
tests. Source: Sagonas et al., "300 Faces in-the-wild challenge" (2013); menpo reads the format in the same
way (menpo/menpo, ``pts_importer``: 1-based, one is subtracted).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import IBUG68

from .imagefiles import SUFFIXES, find_picture, picture_size
from .reading import ItemError, Job, Layout, Line
from .sample import Sample, Terms

__all__ = ["LAYOUT", "read_points"]

_PARTS = {"trainset": "train", "testset": "test"}


def read_points(path: Path, count: int) -> NDArray[np.float32]:
    """The points of a ``.pts`` file, float32 [count, 2], 0-based pixels.

    Raises:
        ItemError: The file is missing, has another number of points, or one that is not two finite numbers.
    """
    try:
        text = path.read_text("utf-8-sig", errors="replace")
    except OSError as error:
        raise ItemError(path, "the points are missing", mend="fetch them again") from error
    before, _, body = text.partition("{")
    first = before.count("\n") + 1
    lines = [Line(path, first + i, row) for i, row in enumerate(body.partition("}")[0].split("\n"))]
    lines = [line for line in lines if line.text.strip()]
    if len(lines) != count:
        raise ItemError(path, f"{len(lines)} points where iBUG-68 has {count}", mend="fetch it again")
    return (np.array([_point(line) for line in lines]) - 1).astype(np.float32)


def _point(line: Line) -> tuple[float, float]:
    try:
        x, y = line.numbers(line.text.split())
    except ValueError as error:  # not numbers, not finite, not two
        raise line.fault("not all of its points are two numbers", "fetch it again") from error
    return float(x), float(y)


def _read(root: Path, stem: Path) -> Sample:
    points = read_points(stem.with_name(stem.name + ".pts"), len(IBUG68))
    picture = find_picture(stem)
    picture_size(picture)
    part = next((_PARTS[p] for p in reversed(stem.relative_to(root).parts[:-1]) if p in _PARTS), "")
    part = part or _PARTS.get(root.name, "")
    name = picture.relative_to(root).as_posix()
    return Sample(name, picture, part, points=points, points_scheme=IBUG68.key)


def _jobs(root: Path) -> Iterator[Job]:
    files = (p for p in root.rglob("*") if p.suffix.lower() in {".pts", *SUFFIXES})
    return (
        partial(_read, root, stem) for stem in sorted({p.with_name(p.name[: -len(p.suffix)]) for p in files})
    )


LAYOUT = Layout(
    "300w",
    Terms(
        "300-W (Sagonas et al., 2013) with LFPW, Helen, AFW and iBUG",
        "research only, no commercial use; the photos belong to their owners",
        commercial=False,
        source="https://ibug.doc.ic.ac.uk/resources/300-W/",
    ),
    _jobs,
)
