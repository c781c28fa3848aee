"""RAF-DB, basic emotions (Li et al., 2017): one of seven emotions per aligned face, 100 x 100.

::

    ROOT/EmoLabel/list_patition_label.txt         train_00001.jpg 5   (spelled so; all may lie in ROOT/basic)
    ROOT/Image/aligned/train_00001_aligned.jpg
    ROOT/Image/original/train_00001.jpg           with ``aligned=False``

The seven are surprise, fear, disgust, happiness, sadness, anger, neutral, ids 1 to 7; samples carry the ids
of `edgeface.labels.FER8`. ``train_`` trains, ``test_`` tests. Source: the layout and ids as yaoing/DAN
(``rafdb.py``) and zyh-uaiaaaa/Relative-Uncertainty-Learning (``src/dataset.py``) read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from edgeface.labels import FER8

from .imagefiles import picture_size
from .reading import DataSetError, Job, Layout, Line, read_lines
from .sample import Sample, Terms

__all__ = ["LAYOUT"]

_EMOTIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_PARTS = {"train", "test"}


def _read(root: Path, aligned: bool, line: Line) -> Sample:
    name, _, emotion = line.text.rpartition(" ")
    name, part = name.strip(), line.text.partition("_")[0]
    if part not in _PARTS:
        raise line.fault("its picture's name starts with neither train_ nor test_")
    if emotion not in {str(i + 1) for i in range(len(_EMOTIONS))}:
        raise line.fault(f"{emotion[:20]!r} is no emotion", f"there are 1 to {len(_EMOTIONS)}")
    stem, _, suffix = name.rpartition(".")
    picture = root / (f"Image/aligned/{stem}_aligned.{suffix}" if aligned else f"Image/original/{name}")
    picture_size(picture)
    expression = FER8.names.index(_EMOTIONS[int(emotion) - 1])
    return Sample(picture.relative_to(root).as_posix(), picture, part, expression=expression)


def _jobs(root: Path, part: str | None = None, aligned: bool = True) -> Iterator[Job]:
    root = root / "basic" if (root / "basic").is_dir() else root
    if part not in {None, *_PARTS}:
        raise DataSetError(f"there is no part {part!r}: use one of {', '.join(sorted(_PARTS))}")
    for line in read_lines(root / "EmoLabel" / "list_patition_label.txt"):
        if part is None or line.text.partition("_")[0] not in _PARTS - {part}:
            yield partial(_read, root, aligned, line)


LAYOUT = Layout(
    "rafdb",
    Terms(
        "RAF-DB (Li et al., 2017)",
        "non-commercial research only, on request",
        commercial=False,
        source="http://www.whdeng.cn/raf/model1.html",
    ),
    _jobs,
)
