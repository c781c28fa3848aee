"""Crops that no calibration saw: what the runtime itself cuts out of the validation photos.

A backend that notes every input stands between the analyzer and its network, so the frames are those of the
runtime to the bit; the validation part of a split neither trains nor calibrates.
"""

from __future__ import annotations

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
from .label import load_labels
from .progress import progress
from .splits import parts

__all__ = ["HeldOut", "held_out_frames"]

Frame = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Inputs of a network, int8 [1, H, W, 3] = pixel - 128, and the name of the photo each was cut from."""

    frames: list[Frame]
    photos: list[str]


def held_out_frames(task: str, bundle: Bundle, data: Path, labels: Path, count: int) -> HeldOut:
    """Inputs of ``task``'s network in ``bundle``, from up to ``count`` photos spread over the part.

    Raises:
        ExportError: the validation photos give no frame.
    """
    photos = _photos(task, data, labels)
    chosen = [photos[i] for i in np.unique(np.linspace(0, len(photos) - 1, count).round().astype(int))]
    recorder, names = _Recorder(task), []  # type: _Recorder, list[str]
    with FaceAnalyzer(() if task == "detection" else (task,), bundle=bundle, backend=recorder) as analyzer:
        for path, box in progress(f"{task}: held-out photos", chosen):
            analyzer.analyze(edgeface.read_image(path), boxes=None if box is None else [box])
            names += [path.name] * (len(recorder.frames) - len(names))
    if not recorder.frames:
        raise ExportError(f"{task}: no validation photo gave a frame; is {data} the data of the split lists?")
    return HeldOut(recorder.frames, names)


def _photos(task: str, data: Path, labels: Path) -> list[tuple[Path, BBox | None]]:
    """Photos of the validation part and the face in each."""
    if task == "expression":
        whole = BBox(-0.5, -0.5, 48, 48, 1.0)
        return [(data / "expression/ferplus" / name, whole) for name in parts("ferplus", "validation")]
    if task == "detection":
        return [(data / "landmarks/lfpw/trainset" / name, None) for name in parts("lfpw", "validation")]
    split, folder = {
        "landmarks": ("lfpw", data / "landmarks/lfpw/trainset"),
        "parsing": ("celebamask", data / "parsing/celebamask_hq/images"),
    }[task]
    found = load_labels(labels, split)
    rows = np.flatnonzero(found.parts == "validation")
    return [(folder / str(found.names[i]), BBox(*(float(v) for v in found.boxes[i]), 1.0)) for i in rows]


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
