"""A student that learned from shards is graded on what of them did not train it: RUN/held-out.tar.

Against the labels of the shards: where a teacher made them, the figures tell how far the student agrees with
that teacher, not how often it is right.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface import BBox

from .courses import HELD_OUT, write_held_out
from .datasets import open_dataset
from .graded import Graded
from .grading import Grading, grade_set
from .recipe import shards_of
from .tasks.shards import box_of

__all__ = ["graded_on", "held_out_faces", "held_out_shard"]

_FACE3D = Path("face3d") / "ict_face_model_light.npz"


@dataclass(frozen=True, slots=True)
class _Student:
    """What `grade_set` takes for a subject: an analyzer that somebody makes."""

    make: Callable[..., Any]
    digest: str

    def open(self, tasks: Collection[str], min_score: float | None = None) -> Any:
        heads = tuple(task for task in tasks if task != "detection")
        return self.make(heads) if min_score is None else self.make(heads, min_score=min_score)


def held_out_shard(recipe: Mapping[str, Any], run: Path) -> Path | None:
    """The shard of what did not train, written if it is not there; None where the recipe has no shards.

    Raises:
        DataSetError: it must be written, and the recipe's shards are not there or broken.
    """
    path = run / HELD_OUT
    if not shards_of(recipe):
        return None
    if not path.exists():
        write_held_out(recipe, path)
    return path


def graded_on(shard: Path, task: str, make: Callable[..., Any], digest: str, data: Path) -> Graded:
    """Figures and curves of an analyzer on the samples of a shard.

    Args:
        shard: What `held_out_shard` says.
        task: One of :data:`quantization.recipe.TASKS`.
        make: Of heads, and of detection a ``min_score``, the analyzer.
        digest: SHA-256 of what is graded.
        data: Folder of the data sets, whose 3D face gives the yaw, if it is there.

    Raises:
        DataSetError: no sample has the label, or too many are broken.
    """
    face3d = data / _FACE3D
    # Grading asks its subject for `digest` and `open` alone, and a `Subject` would be a file on the disk.
    subject: Any = _Student(make, digest)
    work = Grading(subject, task, face3d if face3d.is_file() else None)
    with tempfile.TemporaryDirectory() as store:
        found, _ = grade_set(work, "webdataset", shard, store=Path(store))
    return Graded(found.metrics, found.curves | {"sha256": digest})


def held_out_faces(shard: Path, task: str) -> Iterator[tuple[NDArray[np.uint8], BBox | None, str]]:
    """Pictures RGB uint8 [H, W, 3] of a shard, the face that each is of (None for a detector), its name."""
    for sample, rgb in open_dataset("webdataset", shard).decoded():
        box = None if task == "detection" else box_of(sample)
        if box is not None:
            yield rgb, BBox(*box.tolist()), sample.name
        elif task == "detection":
            yield rgb, None, sample.name
        elif task == "expression" and sample.boxes is None:
            yield rgb, BBox(-0.5, -0.5, rgb.shape[1], rgb.shape[0]), sample.name
