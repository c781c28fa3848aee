"""WIDER FACE (Yang et al., 2016): all faces of a picture boxed; a sample per picture.

::

    ROOT/wider_face_split/wider_face_{train,val}_bbx_gt.txt
    ROOT/WIDER_{train,val}/images/0--Parade/....jpg

The list gives a picture's name, the number of its faces, and a line of ten integers per face: left, top,
width, height, blur (0-2), expression, illumination, invalid, occlusion (0-2), pose; a picture with 0 faces is
followed by one line of zeros. `boxes` has a row per face, the attributes are tuples with a number per face;
the few boxes without an area are marked invalid. A picture of which one line is malformed is left out,
because a face missing from its labels would teach that it is none. Source: the data set's ``readme.txt``;
read the same by datumaro (``wider_face``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from .imagefiles import SUFFIXES, picture_size
from .reading import Job, Layout, Line, parts_wanted, read_lines
from .sample import Sample, Terms

__all__ = ["ATTRIBUTES", "LAYOUT"]

ATTRIBUTES = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
_COLUMNS = 4 + len(ATTRIBUTES)


def _read(pictures: Path, part: str, block: list[Line]) -> Sample:
    first, *rest = block
    if not first.text.lower().endswith(SUFFIXES):
        raise first.fault("not a picture's name")
    if not rest or not rest[0].text.isdecimal():
        raise (rest or block)[0].fault("not a number of faces")
    count, rows = int(rest[0].text), rest[1:]
    if count == 0 and len(rows) == 1 and set(rows[0].text.split()) == {"0"}:
        rows = []
    if len(rows) != count:
        raise first.fault(f"{len(rows)} faces after the picture", f"{count} are announced")
    values = np.empty((count, _COLUMNS))
    for target, row in zip(values, rows, strict=True):
        words = row.text.split()
        if len(words) != _COLUMNS:
            raise row.fault(f"{len(words)} numbers", f"there must be {_COLUMNS}")
        target[:] = row.numbers(words)
    values[(values[:, 2:4] <= 0).any(1), 4 + ATTRIBUTES.index("invalid")] = 1
    picture_size(pictures / first.text)
    attributes = {name: tuple(int(v) for v in values[:, 4 + i]) for i, name in enumerate(ATTRIBUTES)}
    boxes = values[:, :4].astype(np.float32)
    return Sample(first.text, pictures / first.text, part, boxes=boxes, attributes=attributes)


def _blocks(path: Path) -> Iterator[list[Line]]:
    block: list[Line] = []
    for line in read_lines(path):
        if line.text.lower().endswith(SUFFIXES) and block:
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    for ours, theirs in parts_wanted(part, {"train": "train", "validation": "val"}):
        pictures = root / f"WIDER_{theirs}" / "images"
        for block in _blocks(root / "wider_face_split" / f"wider_face_{theirs}_bbx_gt.txt"):
            yield partial(_read, pictures, ours, block)


LAYOUT = Layout(
    "widerface",
    Terms(
        "WIDER FACE (Yang et al., 2016)",
        "non-commercial research (CC BY-NC-ND 4.0 by its data set card)",
        commercial=False,
        source="http://shuoyang1213.me/WIDERFACE/",
    ),
    _jobs,
)
