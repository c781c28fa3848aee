"""Crops that no calibration saw: what the runtime itself cuts out of the validation photos.

A backend that notes every input stands between the analyzer and its network, so the frames are those of the
runtime to the bit; the validation part of a split neither trains nor calibrates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeface
from edgeface import BBox, Bundle, FaceAnalyzer
from edgeface.backends.base import Backend, Session, Tensors, select
from edgeface.bundle import ModelSpec

from .convert import ExportError
from .heldshards import held_out_faces
from .label import load_labels
from .progress import progress
from .splits import parts

__all__ = ["HeldOut", "held_out_frames"]

Frame = NDArray[np.int8]
Photo = tuple[Path | NDArray[np.uint8], BBox | None, str]  # a file or RGB, the face in it, the name


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Inputs of a network, int8 [1, H, W, 3] = pixel - 128, and the name of the photo each was cut from."""

    frames: list[Frame]
    photos: list[str]


def held_out_frames(
    task: str, bundle: Bundle, data: Path, labels: Path, count: int, shard: Path | None = None
) -> HeldOut:
    """Inputs of ``task``'s network in ``bundle``, from up to ``count`` photos spread over the part.

    ``shard``: of a student that learned from shards, what did not train it.

    Raises:
        ExportError: the validation photos give no frame.
    """
    photos = _photos(task, data, labels) if shard is None else list(held_out_faces(shard, task))
    some = np.unique(np.linspace(0, len(photos) - 1, count).round().astype(int)) if photos else ()
    chosen = [photos[i] for i in some]
    recorder, names = _Recorder(task), []  # type: _Recorder, list[str]
    with FaceAnalyzer(() if task == "detection" else (task,), bundle=bundle, backend=recorder) as analyzer:
        for picture, box, name in progress(f"{task}: held-out photos", chosen):
            frame = edgeface.read_image(picture) if isinstance(picture, Path) else picture
            analyzer.analyze(frame, boxes=None if box is None else [box])
            names += [name] * (len(recorder.frames) - len(names))
    if not recorder.frames:
        raise ExportError(
            f"{task}: no validation photo gave a frame; is {shard or data} what the student learned from?"
        )
    return HeldOut(recorder.frames, names)


def _photos(task: str, data: Path, labels: Path) -> Sequence[Photo]:
    """Photos of the validation part and the face in each."""
    if task == "expression":
        whole, root = BBox(-0.5, -0.5, 48, 48, 1.0), data / "expression/ferplus"
        return [(root / name, whole, Path(name).name) for name in parts("ferplus", "validation")]
    if task == "detection":
        root = data / "landmarks/lfpw/trainset"
        return [(root / name, None, name) for name in parts("lfpw", "validation")]
    split, folder = {
        "landmarks": ("lfpw", data / "landmarks/lfpw/trainset"),
        "parsing": ("celebamask", data / "parsing/celebamask_hq/images"),
    }[task]
    found = load_labels(labels, split)
    rows = np.flatnonzero(found.parts == "validation")
    boxes = [BBox(*(float(v) for v in found.boxes[i]), 1.0) for i in rows]
    names = [str(found.names[i]) for i in rows]
    return [(folder / name, box, name) for name, box in zip(names, boxes, strict=True)]


class _Recorder:
    """The default backend, noting what one task's network is given."""

    name = "recorder"

    def __init__(self, task: str) -> None:
        self._backend: Backend = select("auto", frozenset({"tflite"}))
        self._task = task
        self.formats = self._backend.formats
        self.frames: list[Frame] = []

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> Session:
        session = self._backend.open(spec, artifact, threads)
        return _NotingSession(session, spec.input.name, self.frames) if spec.task == self._task else session


class _NotingSession:
    def __init__(self, session: Session, image: str, frames: list[Frame]) -> None:
        self._session, self._image, self._frames = session, image, frames

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        self._frames.append(np.array(tensors[self._image]))  # the analyzer reuses its tensor
        return self._session.run(tensors)

    def close(self) -> None:
        self._session.close()
