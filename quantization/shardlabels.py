"""Teachers' labels for webdataset shards: of every shard a new one that holds them, pictures included.

What the teachers say takes the place of the sample's own label of that kind; all its other labels stay, and
the attribute ``teacher`` names whose answer it is. Points, maps, blendshapes and boxes are written as such;
of an expression the probabilities as ``votes`` (none for "unknown" and "not a face"), the likeliest class as
``expression``. A pixel that no teacher's crop holds is unknown (255). Of several views
(:class:`.panel.Panel`) the attribute ``agreement_TASK`` says how far they agree, 0 to 1; a pixel that they
doubt is unknown, too, a box that they doubt is marked in ``invalid``.
The new shard states the old one's terms and the teachers' together. A sample in which no face is found, or
that is broken, is left out; the shard's notes count the ones and name the others.

The face is YuNet's: the one that holds the middle of the sample's points or of its only box, else the
largest; YuNet's terms then join the others. Teachers that see the whole picture need none. Who trains on
the shard must know whose the boxes are: the attribute ``faces`` says ``all`` where a detector boxed everybody
and ``one`` where the box is only the labelled face's; where a sample has several boxes, ``face`` is the box
(x, y, width, height, whole pixels) of the face that the teachers looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import FER8

from .datasets import POINT_SCHEMES, DataSet, Sample, Terms, open_dataset, write_shard
from .datasets.sample import AGREEMENT, Attribute
from .datasets.shards import join_terms, read_notes, shard_files
from .engines import Read, Work, finish, question_of
from .panel import Asked, Panel, PanelError
from .provenance import digest
from .teachers.adapter import AdapterError
from .teachers.answers import (
    BlendshapesAnswer,
    ExpressionAnswer,
    FacesAnswer,
    MapAnswer,
    PointsAnswer,
)
from .teachers.together import Joint
from .teachers.yunet import TERMS as YUNET

__all__ = ["DETECTOR", "FORMAT", "Labelled", "Labelling", "label_shard", "label_shards", "summary"]

DETECTOR = "yunet_n_640_640.onnx"
FORMAT = 3  # to be raised when the same teacher would be written down otherwise

_UNKNOWN = 255  # of a map

Array = NDArray[np.float32]
Face = tuple[Array, float, Array]  # box, score, five keypoints


@dataclass(frozen=True, slots=True)
class Labelled:
    """A shard that was labelled: its file, samples in it, samples without a face, and what was broken."""

    path: Path
    samples: int
    without_face: int
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labelling:
    """What `engines.finish` does with every shard. Made by :meth:`of`."""

    panel: Panel
    detector: Path | None
    terms: tuple[Terms, ...] = field(repr=False)
    question: str = field(repr=False)
    suffix: str = ".tar"

    @classmethod
    def of(cls, panel: Panel, teachers: Path) -> Labelling:
        """The work of teachers.

        Args:
            panel: Who they are.
            teachers: Folder of YuNet's file, which finds the face for teachers that see a crop.

        Raises:
            PanelError: Their points have no scheme.
            AdapterError: YuNet's file is missing.
            TermsError: Nobody declared the terms of what one of them learned from.
        """
        if panel.task == "landmarks" and panel.scheme not in POINT_SCHEMES:
            raise PanelError(
                f"{panel.name}: the order of its points has no name here, so nobody could read them: "
                f"landmarks.scheme must be one of {', '.join(POINT_SCHEMES)}"
            )
        detector = None if panel.needs == "nothing" else (teachers / DETECTOR).resolve()
        if detector is not None and not detector.is_file():
            raise AdapterError(f"{detector}: there is no such file; a teacher of crops needs YuNet's")
        question = question_of(FORMAT, *panel.asked, detector and digest(detector))
        return cls(panel, detector, panel.terms, question)

    def open(self) -> Read:
        """Loads the teachers and, where they see a crop, YuNet."""
        label = partial(label_shard, self.panel.open(), self.panel.name, self.terms)
        if self.detector is None:
            return partial(label, None)
        from .label import find_face
        from .teachers.yunet import YuNet

        detector = YuNet(self.detector)
        return partial(label, lambda rgb, where: find_face(detector, rgb, 1.0, where))


def label_shards(
    work: Work, shards: Path, out: Path, engine: str = "local", workers: int = 2
) -> list[Labelled]:
    """Labels the shards of a folder (or one) into ``out``; those that are done are not done again.

    The folder holds what one teacher says of each shard: what it said of an earlier content of a shard goes
    once the new one is written.

    Raises:
        DataSetError: There are no shards.
        AdapterError: ``out`` holds what another teacher said.
        EngineError: Shards failed, or the engine is not there.
    """
    files = shard_files(shards)
    marks = {path.name: path.stem.rsplit("-", 2) for path in out.glob("*.tar")}
    for name, mark in marks.items():
        if len(mark) != 3 or not work.question.startswith(mark[1]):
            raise AdapterError(
                f"{out / name}: not what this teacher says: read together with its labels it would be taken "
                "for one of them; give another folder"
            )
    done = finish(work, files, out, engine, workers)
    new = {path.name for path in done}
    for name, mark in marks.items():
        if name not in new and mark[0] in {path.stem for path in files}:
            (out / name).unlink()
    return [_told(path) for path in done]


def _told(path: Path) -> Labelled:
    notes = read_notes(path)
    return Labelled(path, notes["samples"], notes["without_face"], tuple(notes["broken"]))


def label_shard(
    teacher: Asked,
    name: str,
    own: Sequence[Terms],
    find: Callable[[NDArray[np.uint8], Array | None], Face | None] | None,
    shard: Path,
    target: Path,
) -> None:
    """Writes what a teacher says of a shard's samples.

    Args:
        teacher: Asked about the picture, and the box and keypoints that ``find`` gave; None: no face.
        name: The teacher's.
        own: Terms of what the teacher is made of.
        find: Finds the face that holds a point; None: the teacher sees whole pictures.
        shard: To be read.
        target: To be written.
    """
    data = open_dataset("webdataset", shard)
    counts = {"samples": 0, "without_face": 0}

    def samples() -> Iterator[Sample]:
        for sample, rgb in data.decoded():
            face = None if find is None else find(rgb, _middle(sample))
            said = None
            if find is None:
                said = teacher(rgb)
            elif face is not None:
                said = teacher(rgb, face[0], face[2])
            if said is None:
                counts["without_face"] += 1
                continue
            counts["samples"] += 1
            changes, whose = _changes(said), _whose(said, name)
            replaced = {_agreement(said)} | ({"invalid"} if "boxes" in changes else set())
            known = {key: value for key, value in sample.attributes.items() if key not in replaced}
            if isinstance(said.answer, FacesAnswer):
                whose["faces"] = "all"
            elif face is not None and sample.boxes is None:
                changes["boxes"], whose["faces"] = face[0][None], "one"
            elif face is not None and sample.boxes is not None and len(sample.boxes) > 1:
                whose["face"] = tuple(int(value) for value in face[0].round())
            yield replace(sample, attributes={**known, **whose}, **changes)

    terms = join_terms(data.terms, *own, *([YUNET] if find else []))
    write_shard(target, samples(), terms, lambda: {**counts, "teacher": name, "broken": _broken(data)})


def _broken(data: DataSet) -> list[str]:
    """Without the folder, which may be another one tomorrow: same shard, same bytes."""
    return [str(fault).replace(f"{data.root.parent}/", "") for fault in data.faults]


def _middle(sample: Sample) -> Array | None:
    """A point [1, 2] of the face that the sample is of, where it says so."""
    if sample.points is not None:
        return sample.points.mean(0, keepdims=True)
    if sample.boxes is not None and len(sample.boxes) == 1:
        return (sample.boxes[:, :2] + sample.boxes[:, 2:] / 2).astype(np.float32)
    return None


def _agreement(joint: Joint) -> str:
    """The attribute that says how far several views agree: each task has its own."""
    kinds = {FacesAnswer: "detection", MapAnswer: "parsing", ExpressionAnswer: "expression"}
    return f"{AGREEMENT}{kinds.get(type(joint.answer), 'landmarks')}"


def _whose(joint: Joint, name: str) -> dict[str, Attribute]:
    """Who says it, and how far they agree."""
    told: dict[str, Attribute] = {"teacher": name}
    if joint.agreement is not None:
        told[_agreement(joint)] = round(joint.agreement, 4)
    if isinstance(joint.answer, FacesAnswer) and joint.doubted is not None and joint.doubted.any():
        told["invalid"] = tuple(joint.doubted.astype(int).tolist())
    return told


def _changes(joint: Joint) -> dict[str, Any]:
    """The fields of a sample that an answer fills; a pixel that is doubted is unknown."""
    said = joint.answer
    if isinstance(said, PointsAnswer):
        return {"points": said.points, "points_scheme": said.scheme, "visible": None}
    if isinstance(said, BlendshapesAnswer):
        points = _changes(Joint(said.points))
        return {**points, "blendshapes": said.values, "blendshapes_known": said.known}
    if isinstance(said, MapAnswer):
        mask = said.labels if joint.doubted is None else np.where(joint.doubted, _UNKNOWN, said.labels)
        return {"mask": mask.astype(np.uint8), "mask_scheme": said.scheme}
    if isinstance(said, ExpressionAnswer):
        votes = np.zeros(len(FER8) + 2, np.float32)
        votes[: len(FER8)] = said.probabilities
        return {"votes": votes, "expression": int(said.probabilities.argmax())}
    return {"boxes": said.boxes}


def summary(labelled: Sequence[Labelled]) -> str:
    """All shards in one line, and a line for every broken item."""
    lines = [
        f"{len(labelled)} shards: {sum(one.samples for one in labelled)} samples labelled, "
        f"{sum(one.without_face for one in labelled)} without a face, "
        f"{sum(len(one.broken) for one in labelled)} broken"
    ]
    return "\n".join([*lines, *(f"  {fault}" for one in labelled for fault in one.broken)])
