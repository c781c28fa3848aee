"""FER2013 (Goodfellow et al., 2013): 48 x 48 grey images in the cells of one table.

::

    ROOT/fer2013.csv      emotion,pixels,Usage       pixels: 2304 numbers of 0 to 255 with blanks between

The seven emotions are anger, disgust, fear, happiness, sadness, surprise, neutral, ids 0 to 6; samples carry
the ids of `edgeface.labels.FER8`. Usages: Training, PublicTest, PrivateTest. A sample's name counts the rows
from 0 as FER+ does (``fer0000000``). Source: the Kaggle challenge's description of its data; the table is
read so by microsoft/FERPlus (``src/generate_training_data.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from edgeface.labels import FER8

from .reading import Job, Layout, Line, parts_wanted, read_lines
from .sample import Sample, Terms

__all__ = ["LAYOUT"]

_EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
_OURS = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
_PARTS = {theirs: ours for ours, theirs in _OURS.items()}
_SIDE = 48


def _read(index: int, line: Line) -> Sample:
    emotion, pixels, usage = line.cells(3)
    if emotion not in {str(i) for i in range(len(_EMOTIONS))}:
        raise line.fault(f"{emotion[:20]!r} is no emotion", f"there are 0 to {len(_EMOTIONS) - 1}")
    if usage not in _PARTS:
        raise line.fault(f"{usage[:20]!r} is no usage", f"use one of {', '.join(_PARTS)}")
    values = line.numbers(pixels.split())
    if len(values) != _SIDE**2 or ((values < 0) | (values > 255) | (values % 1 != 0)).any():
        raise line.fault(f"not {_SIDE**2} pixels of 0 to 255")
    return Sample(
        f"fer{index:07d}",
        values.astype(np.uint8).reshape(_SIDE, _SIDE),
        _PARTS[usage],
        expression=FER8.names.index(_EMOTIONS[int(emotion)]),
    )


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    lines = read_lines(root / "fer2013.csv")
    next(lines, None)
    wanted = {ours for ours, _ in parts_wanted(part, _OURS)}
    for index, line in enumerate(lines):
        if _PARTS.get(line.text.rpartition(",")[2].strip(), part) in {None, *wanted}:
            yield partial(_read, index, line)


LAYOUT = Layout(
    "fer2013",
    Terms(
        "FER2013 (Goodfellow et al., 2013)",
        "no licence stated; images from a web search: taken as research only",
        commercial=False,
        source="https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
    ),
    _jobs,
)
