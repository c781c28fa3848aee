"""Helen for parsing, 11 classes, in the two layouts that are about.

Smith et al., "Exemplar-Based Face Parsing" (2013), one grey picture of 0 to 255 per class, the largest wins::

    ROOT/{exemplars,tuning,testing}.txt               "1 , NAME" per line
    ROOT/images/NAME.jpg
    ROOT/labels/NAME/NAME_lbl{00..10}.png

HELEN* of Lin et al., "Face Parsing with RoI Tanh-Warping" (2019), index masks::

    ROOT / {train, test} / NAME_image.jpg
    ROOT / {train, test} / NAME_label.png

Both have the ids of `edgeface.labels.IBUG11`: the skin ends before the ears. Source: the README of Smith's
release; layouts as sithu31296/semantic-segmentation lists them (README) and public loaders of both read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeface.labels import IBUG11

from .imagefiles import fit_mask, masked, picture_size
from .reading import BROKEN, ItemError, Job, Layout, Line, parts_wanted, read_lines, require
from .sample import Sample, Terms

__all__ = ["LAYOUT"]


def _strongest(folder: Path) -> NDArray[np.uint8]:
    maps = []
    for label in range(len(IBUG11)):
        path = folder / f"{folder.name}_lbl{label:02d}.png"
        try:
            with Image.open(path) as image:
                maps.append(np.array(image.convert("L")))
        except BROKEN as error:
            raise ItemError(path, "missing or not a readable image", mend="fetch it again") from error
        if maps[-1].shape != maps[0].shape:
            raise ItemError(path, "of another size than the other classes", mend="fetch it again")
    return np.stack(maps).argmax(0).astype(np.uint8)


def _read_classes(root: Path, part: str, line: Line) -> Sample:
    stem = line.text.rpartition(",")[2].strip()
    if not stem or "," not in line.text:
        raise line.fault("not a number, a comma and a name")
    picture, folder = root / "images" / f"{stem}.jpg", root / "labels" / stem
    size = picture_size(picture)
    mask = fit_mask(folder, _strongest(folder), size)
    return Sample(f"images/{stem}.jpg", picture, part, mask=mask, mask_scheme=IBUG11.key)


def _read_index(root: Path, part: str, picture: Path) -> Sample:
    label = picture.with_name(picture.name.replace("_image.jpg", "_label.png"))
    return masked(root, part, picture, label, IBUG11.key)


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    if (root / "labels").is_dir():
        lists = {"train": "exemplars", "validation": "tuning", "test": "testing"}
        for ours, theirs in parts_wanted(part, lists):
            for line in read_lines(root / f"{theirs}.txt"):
                yield partial(_read_classes, root, ours, line)
        return
    for ours, theirs in parts_wanted(part, {"train": "train", "test": "test"}):
        for picture in sorted(require(root / theirs).glob("*_image.jpg")):
            yield partial(_read_index, root, ours, picture)


LAYOUT = Layout(
    "helen",
    Terms(
        "Helen (Le et al., 2012), parsed by Smith et al. (2013) or Lin et al. (2019)",
        "no licence stated; photos of Flickr: taken as research only",
        commercial=False,
        source="http://pages.cs.wisc.edu/~lizhang/projects/face-parsing/",
    ),
    _jobs,
)
