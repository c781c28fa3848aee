"""A teacher's labels for webdataset shards: of every shard a new one that holds them, pictures included.

What the teacher says takes the place of the sample's own label of that kind; all its other labels stay, and
the attribute ``teacher`` names whose answer it is. Points, maps, blendshapes and boxes are written as such;
of an expression the probabilities as ``votes`` (none for "unknown" and "not a face"), the likeliest class as
``expression``.
The new shard states the old one's terms and the teacher's together. A sample in which no face is found, or
that is broken, is left out; the shard's notes count the ones and name the others.

The face is YuNet's: the one that holds the middle of the sample's points or of its only box, else the
largest; YuNet's terms then join the others. A teacher that sees the whole picture needs none. Who trains on
the shard must know whose the boxes are: the attribute ``faces`` says ``all`` where a detector boxed everybody
and ``one`` where the box is only the labelled face's; where a sample has several boxes, ``face`` is the box
(x, y, width, height, whole pixels) of the face that the teacher looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import FER8

from .datasets import POINT_SCHEMES, DataSet, Sample, Terms, open_dataset, write_shard
from .datasets.sample import Attribute
from .datasets.shards import join_terms, read_notes, shard_files
from .engines import Read, Work, finish, question_of
from .provenance import digest
from .teachers.adapter import Adapter, AdapterError
from .teachers.adapter import Landmarks as LandmarksRule
from .teachers.answers import (
    Answer,
    BlendshapesAnswer,
    ExpressionAnswer,
    FacesAnswer,
    MapAnswer,
    PointsAnswer,
)
from .teachers.yunet import TERMS as YUNET

__all__ = ["DETECTOR", "FORMAT", "Labelled", "Labelling", "label_shard", "label_shards", "summary"]

DETECTOR = "yunet_n_640_640.onnx"
FORMAT = 2  # to be raised when the same teacher would be written down otherwise

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

    adapter: Adapter
    model: Path
    detector: Path | None
    accept_licence: bool
    question: str = field(repr=False)
    suffix: str = ".tar"

    @classmethod
    def of(cls, adapter: Adapter, model: Path, teachers: Path, accept_licence: bool = False) -> Labelling:
        """The work of a teacher.

        Args:
            adapter: What is known of it.
            model: Its ONNX file.
            teachers: Folder of YuNet's file, which finds the face for teachers that see a crop.
            accept_licence: Its terms were read and allow the use.

        Raises:
            LicenceError: Its terms were not accepted.
            AdapterError: Its points have no scheme, or a file is missing.
        """
        from .teachers.onnx import check_licence

        check_licence(adapter, accept_licence)
        if isinstance(adapter.output, LandmarksRule) and adapter.output.scheme not in POINT_SCHEMES:
            raise AdapterError(
                f"{adapter.name}: the order of its {adapter.output.count} points has no name here, so nobody "
                f"could read them: landmarks.scheme must be one of {', '.join(POINT_SCHEMES)}"
            )
        detector = None if adapter.crop.kind == "whole" else (teachers / DETECTOR).resolve()
        for path in (model, detector):
            if path is not None and not path.is_file():
                raise AdapterError(f"{path}: there is no such file; a teacher of crops needs YuNet's too")
        model = model.resolve()
        question = question_of(FORMAT, asdict(adapter), digest(model), detector and digest(detector))
        return cls(adapter, model, detector, accept_licence, question)

    def open(self) -> Read:
        """Loads the teacher and, where it sees a crop, YuNet."""
        from .teachers.onnx import OnnxTeacher

        teacher = OnnxTeacher(self.adapter, self.model, accept_licence=self.accept_licence)
        label = partial(label_shard, teacher, self.adapter.name, (self.adapter.terms,))
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
    teacher: Callable[..., Answer | None],
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
            changes, whose = _changes(said), dict[str, Attribute](teacher=name)
            if isinstance(said, FacesAnswer):
                whose["faces"] = "all"
            elif face is not None and sample.boxes is None:
                changes["boxes"], whose["faces"] = face[0][None], "one"
            elif face is not None and sample.boxes is not None and len(sample.boxes) > 1:
                whose["face"] = tuple(int(value) for value in face[0].round())
            yield replace(sample, attributes={**sample.attributes, **whose}, **changes)

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


def _changes(said: Answer) -> dict[str, Any]:
    """The fields of a sample that an answer fills."""
    if isinstance(said, PointsAnswer):
        return {"points": said.points, "points_scheme": said.scheme, "visible": None}
    if isinstance(said, BlendshapesAnswer):
        return {**_changes(said.points), "blendshapes": said.values, "blendshapes_known": said.known}
    if isinstance(said, MapAnswer):
        return {"mask": said.labels, "mask_scheme": said.scheme}
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
