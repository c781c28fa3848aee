"""AffectNet (Mollahosseini et al., 2017), manually annotated, in both published layouts.

The full release, a table beside folders of whole pictures::

    ROOT/Manually_Annotated_file_lists/{training,validation}.csv
        subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks, expression, valence,
        arousal             (landmarks: x;y, 68 times; the header may be missing)
    ROOT/Manually_Annotated_Images/SUBDIRECTORY/FILE      (or below ROOT/Manually_Annotated)

The 2021 release of cropped faces, 224 x 224, with four small arrays per image::

    ROOT/{train_set,val_set}/images/N.jpg
    ROOT/{train_set,val_set}/annotations/N_{exp,val,aro,lnd}.npy

Expressions 0 to 7 are neutral, happiness, sadness, surprise, fear, disgust, anger, contempt; samples carry
the ids of `edgeface.labels.FER8`. 8 to 10 (none, uncertain, no face) are no expression: the attribute
``affectnet`` says which. Valence and arousal are attributes where they are within [-1, 1] (-2 stands for
unknown). Points are used as published; a picture without a face has none. Source: columns and arrays as
public loaders of either layout agree on them; the readme comes with the data alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import FER8, IBUG68

from .imagefiles import SUFFIXES, picture_size
from .reading import BROKEN, ItemError, Job, Layout, Line, check_finite, parts_wanted, read_lines, require
from .sample import Attribute, Sample, Terms

__all__ = ["LAYOUT"]

_EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
_OTHERS = ("none", "uncertain", "no-face")
_COLUMNS = 9


def _emotion(label: float, valence: float, arousal: float) -> tuple[int | None, dict[str, Attribute]] | None:
    """FER-8 id or None, and the attributes; None altogether where there is no such label."""
    if label % 1 or not 0 <= label < len(_EXPRESSIONS) + len(_OTHERS):
        return None
    said: dict[str, Attribute] = {
        k: float(v) for k, v in (("valence", valence), ("arousal", arousal)) if -1 <= v <= 1
    }
    if label < len(_EXPRESSIONS):
        return FER8.names.index(_EXPRESSIONS[int(label)]), said
    return None, {**said, "affectnet": _OTHERS[int(label) - len(_EXPRESSIONS)]}


def _read_row(pictures: Path, part: str, line: Line) -> Sample:
    name, *box, landmarks, label, valence, arousal = line.cells(_COLUMNS)
    emotion = _emotion(*line.numbers([label, valence, arousal]))
    if emotion is None:
        raise line.fault(f"{label[:20]!r} is no expression", "there are 0 to 10")
    expression, attributes = emotion
    boxes = points = None
    if attributes.get("affectnet") != "no-face":
        boxes = line.numbers(box).reshape(1, 4).astype(np.float32)
        numbers = line.numbers(landmarks.split(";"))
        if len(numbers) != 2 * len(IBUG68):
            raise line.fault(f"{len(numbers)} numbers of points", f"there must be {2 * len(IBUG68)}")
        points = numbers.reshape(-1, 2).astype(np.float32)
        if (boxes[0, 2:] <= 0).any():
            raise line.fault("the face has no area")
    picture_size(pictures / name)
    scheme = "" if points is None else IBUG68.key
    return Sample(
        name, pictures / name, part, boxes, points, scheme, expression=expression, attributes=attributes
    )


def _load(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        values = np.load(path, allow_pickle=False)
    except BROKEN as error:
        raise ItemError(path, "missing or not an array", mend="fetch it again") from error
    # Labels are stored as text in some copies.
    return check_finite(
        path, "the array", values.reshape(shape) if values.size == np.prod(shape) else values, shape
    )


def _read_arrays(root: Path, part: str, picture: Path) -> Sample:
    stem = picture.parents[1] / "annotations" / picture.stem
    paths = {key: stem.with_name(f"{stem.name}_{key}.npy") for key in ("exp", "val", "aro", "lnd")}
    emotion = _emotion(*(float(_load(paths[key], (1,))[0]) for key in ("exp", "val", "aro")))
    if emotion is None:
        raise ItemError(paths["exp"], "no expression", mend="there are 0 to 10")
    expression, attributes = emotion
    picture_size(picture)
    return Sample(
        picture.relative_to(root).as_posix(),
        picture,
        part,
        points=_load(paths["lnd"], (len(IBUG68), 2)),
        points_scheme=IBUG68.key,
        expression=expression,
        attributes=attributes,
    )


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    if (root / "train_set").is_dir() or (root / "val_set").is_dir():
        for ours, theirs in parts_wanted(part, {"train": "train_set", "validation": "val_set"}):
            folder = require(root / theirs / "images")
            for picture in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
                yield partial(_read_arrays, root, ours, picture)
        return
    lists = root / "Manually_Annotated_file_lists"
    folder = "Manually_Annotated_Images"
    pictures = require(root / folder, root / "Manually_Annotated" / folder)
    for ours, theirs in parts_wanted(part, {"train": "training", "validation": "validation"}):
        for line in read_lines(lists / f"{theirs}.csv"):
            if not line.text.startswith("subDirectory_filePath"):
                yield partial(_read_row, pictures, ours, line)


LAYOUT = Layout(
    "affectnet",
    Terms(
        "AffectNet (Mollahosseini et al., 2017)",
        "non-commercial research only, on request",
        commercial=False,
        source="https://www.mohammadmahoor.com/pages/databases/affectnet/",
    ),
    _jobs,
)
