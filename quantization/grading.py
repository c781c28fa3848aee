"""Grades a subject on any reader: a row per labelled picture, then the figures of :mod:`quantization.graded`.

- landmarks: 68 points, or points that hold them (`datasets.points`), of the detected face that holds the
  middle of the labelled points;
- parsing: every labelled pixel (255 is not) in the data set's scheme or, where the answer cannot become that
  one without empty classes, in the answer's (`edgeface.labels.conversion`; what the conversion loses is told
  under ``lost``); the map is the largest face's, 0 outside it;
- expression: the FER-8 class in the face's box or, where the data set has none, in the whole picture, which
  it then is a crop of;
- detection: all boxes of a picture, but for those that the data set marks invalid, which are neither asked
  for nor wrong to find. A data set of one labelled face per picture cannot tell what is a false one.

A picture without the label is left out and counted (``unlabelled``), and so is an expression that the subject
gave no answer for (``missed``); what the reader found broken is counted too (``broken``). Shards graded
anywhere and a folder graded here give the same figures to the last digit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface import ArgumentError

from .datasets import DataSetError, Sample, open_dataset
from .datasets.points import CONVERTIBLE
from .datasets.reading import FAULT_SHARE, FAULTS_ALLOWED
from .datasets.shards import shard_files
from .engines import EngineError, Read, finish, question_of
from .evaluate import DOUBTFUL
from .graded import Graded
from .graded_rows import (
    FIGURES,
    Row,
    TaskError,
    detection_row,
    expression_row,
    landmarks_row,
    parsing_row,
)
from .progress import progress
from .provenance import digest
from .subjects import Subject
from .teachers.face3d import Face3D

__all__ = ["Grading", "grade_set"]

Rgb = NDArray[np.uint8]
_FORMAT = 1  # to be raised when the same subject would be graded otherwise
_NEEDS = {
    "landmarks": ("points", "300w, aflw2000, wflw, affectnet"),
    "parsing": ("a mask", "celebamask, lapa, easyportrait, ibugmask, helen"),
    "expression": ("an expression", "ferplus, fer2013, rafdb, affectnet"),
    "detection": ("boxes of all faces", "widerface"),
}


@dataclass(frozen=True, slots=True)
class Grading:
    """A subject, a task and, for the bins of yaw, the 3D face. What `engines.finish` does with shards."""

    subject: Subject
    task: str
    face3d: Path | None = None
    question: str = field(init=False, repr=False)
    suffix: str = field(init=False, default=".json")

    def __post_init__(self) -> None:
        question = question_of(_FORMAT, self.subject.digest, self.task, self.face3d and digest(self.face3d))
        object.__setattr__(self, "question", question)

    def open(self) -> Read:
        """Loads the subject."""
        return partial(_grade_shard, self, self.opened())

    def opened(self) -> Callable[[Sample, Rgb], Row]:
        """What finds a picture's row."""
        own = self.subject.open((self.task,))
        if self.task == "landmarks":
            head = Face3D(self.face3d) if self.face3d else None
            return partial(landmarks_row, own, head)
        if self.task == "detection":
            return partial(detection_row, own, self.subject.open((), min_score=DOUBTFUL))
        return partial({"parsing": parsing_row, "expression": expression_row}[self.task], own)


@dataclass(slots=True)
class _Rows:
    """What was found in a data set or a shard, as plain JSON values."""

    rows: list[Row] = field(default_factory=list)
    unlabelled: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, sample: Sample, rgb: Rgb, look: Callable[[Sample, Rgb], Row], task: str) -> None:
        lack = _lack(sample, task)
        if lack:
            self.unlabelled[lack] += 1
            return
        try:
            self.rows.append(look(sample, rgb))
        except ArgumentError as error:
            self.faults.append(f"{sample.name}: its label is malformed ({error})")


def grade_set(
    work: Grading,
    kind: str,
    root: Path,
    *,
    part: str | None = None,
    store: Path,
    engine: str = "local",
    workers: int = 2,
) -> tuple[Graded, tuple[str, ...]]:
    """The figures of a task on a data set, and what of it was broken, in words.

    Args:
        work: The subject and the task.
        kind: Layout of the data set.
        root: Where it lies.
        part: Only this part of it, where the layout has parts.
        store: Where the rows of shards are kept: a shard that was graded is not graded again.
        engine: ``local`` or, for shards (``webdataset``), ``ray``.
        workers: Of ``ray``.

    Raises:
        DataSetError: There is no such data set or part, or too much of it is broken.
        TaskError: It lacks what the task needs.
        EngineError: The engine is not there, cannot read this layout, or could not do all shards.
    """
    data = open_dataset(kind, root, **({"part": part} if part else {}))
    if kind == "webdataset":
        found = _joined(finish(work, shard_files(root), store, engine, workers), root)
    elif engine != "local":
        raise EngineError(
            f"{kind}:{root}: the engine {engine} works over shards: write them with `shard {kind}:{root}`, "
            "give webdataset:FOLDER, or use --engine local"
        )
    else:
        found, look = _Rows(), work.opened()
        for sample, rgb in progress(f"{work.task} on {kind}", data.decoded(), data.count()):
            found.add(sample, rgb, look, work.task)
        found.faults += [str(fault) for fault in data.faults]
    if not found.rows:
        raise _nothing(work.task, f"{kind}:{root}", found)
    result = FIGURES[work.task](found.rows)
    counts = {"unlabelled": float(found.unlabelled.total()), "broken": float(len(found.faults))}
    whose = {"sha256": work.subject.digest}
    return Graded(result.metrics | counts, result.curves | whose), tuple(found.faults)


def _grade_shard(work: Grading, look: Callable[[Sample, Rgb], Row], shard: Path, target: Path) -> None:
    data, found = open_dataset("webdataset", shard), _Rows()
    try:
        for sample, rgb in data.decoded():
            found.add(sample, rgb, look, work.task)
    except DataSetError:
        if not data.faults:
            raise
        # How much may be broken is asked of all shards together.
    found.faults += [str(fault).replace(f"{shard.parent}/", "") for fault in data.faults]
    told = {"rows": found.rows, "unlabelled": found.unlabelled, "faults": found.faults}
    target.write_text(json.dumps(told, allow_nan=False))


def _joined(paths: Sequence[Path], root: Path) -> _Rows:
    joined = _Rows()
    for path in paths:
        told = json.loads(path.read_text())
        joined.rows += told["rows"]
        joined.unlabelled.update(told["unlabelled"])
        joined.faults += told["faults"]
    seen = len(joined.rows) + joined.unlabelled.total() + len(joined.faults)
    if len(joined.faults) > max(FAULTS_ALLOWED, FAULT_SHARE * seen) or len(joined.faults) == seen:
        named = "".join(f"\n  {fault}" for fault in joined.faults[:5])
        raise DataSetError(f"{root}: {len(joined.faults)} of {seen} items are broken, fetch it again{named}")
    return joined


def _nothing(task: str, name: str, found: _Rows) -> TaskError:
    needed, kinds = _NEEDS[task]
    reasons = "; ".join(f"{count} have {lack}" for lack, count in sorted(found.unlabelled.items()))
    return TaskError(
        f"{name}: cannot grade {task}, which needs {needed}: of its samples {reasons}. Use a data set that "
        f"has them: {kinds}, or shards of one"
    )


def _lack(sample: Sample, task: str) -> str:
    """What a sample lacks for a task; empty where nothing."""
    if task == "landmarks":
        if sample.points is None:
            return "no points"
        return "" if sample.points_scheme in CONVERTIBLE else f"points of {sample.points_scheme}"
    if task == "parsing":
        return "" if sample.mask is not None else "no mask"
    if task == "expression":
        return "" if sample.expression is not None else "no clear expression"
    if sample.boxes is None:
        return "no boxes"
    one = any(v is not None for v in (sample.points, sample.mask, sample.expression, sample.votes))
    return "labels of one face, whoever else is there" if one else ""
