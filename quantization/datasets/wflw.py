"""WFLW (Wu et al., 2018): 98 points, a rectangle and six attributes per face of WIDER FACE's pictures.

::

    ROOT/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{train,test}.txt
    ROOT/WFLW_images/0--Parade/....jpg

A line has 207 words: 98 times x y, the rectangle's left, top, right and bottom, then 0 or 1 for pose,
expression, illumination, make-up, occlusion and blur, then the picture's name. A picture may have several
lines: a sample's name is the picture's with the number of its line. Coordinates are used as published.
Source: the data set's own README in ``WFLW_annotations``; read the same by mmpose
(open-mmlab/mmpose, ``tools/dataset_converters/wflw2coco.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from .imagefiles import picture_size
from .reading import Job, Layout, Line, parts_wanted, read_lines
from .sample import Sample, Terms

__all__ = ["ATTRIBUTES", "LAYOUT"]

ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
_POINTS = 98
_WORDS = 2 * _POINTS + 4 + len(ATTRIBUTES) + 1
_LIST = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt"


def _read(root: Path, part: str, line: Line) -> Sample:
    words = line.text.split(maxsplit=_WORDS - 1)
    if len(words) != _WORDS:
        raise line.fault(f"{len(words)} words", f"there must be {_WORDS}")
    values = line.numbers(words[:-1])
    left, top, right, bottom = values[2 * _POINTS :][:4]
    if right < left or bottom < top:
        raise line.fault("the rectangle is turned inside out")
    flags = values[2 * _POINTS + 4 :]
    if not np.isin(flags, (0, 1)).all():
        raise line.fault("an attribute is neither 0 nor 1")
    picture = root / "WFLW_images" / words[-1]
    picture_size(picture)
    return Sample(
        f"{words[-1]}#{line.number}",
        picture,
        part,
        boxes=np.array([[left, top, right - left, bottom - top]], np.float32),
        points=values[: 2 * _POINTS].reshape(_POINTS, 2).astype(np.float32),
        points_scheme="wflw98",
        attributes=dict(zip(ATTRIBUTES, (bool(flag) for flag in flags), strict=True)),
    )


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    for ours, theirs in parts_wanted(part, {"train": "train", "test": "test"}):
        for line in read_lines(root / _LIST.format(theirs)):
            yield partial(_read, root, ours, line)


LAYOUT = Layout(
    "wflw",
    Terms(
        "WFLW (Wu et al., 2018)",
        "no licence stated with the annotations; pictures of WIDER FACE: non-commercial research",
        commercial=False,
        source="https://wywu.github.io/projects/LAB/WFLW.html",
    ),
    _jobs,
)
