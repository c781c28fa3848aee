"""MediaPipe's 52 blendshape coefficients of the labelled faces: ``NAME_blendshapes.npz`` beside ``NAME.npz``.

The teacher is asked twice about every face, of the picture and of its mirror image, and both answers are
written as they are: which coefficients have a live partner on the other side is for who reads them to know
(`Answers.labels`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from edgeface.labels import BLENDSHAPES52

from .datasets import lfpw
from .label import MESH, SOURCES, Columns, in_pieces, load_labels
from .provenance import digest
from .teachers.blendshapes import LIVE, MediaPipeFace
from .teachers.mirror import mirrored

__all__ = ["LIVE_NAMES", "Answers", "label_blendshapes", "load_blendshapes", "path_of"]

Array = NDArray[np.float32]
LIVE_NAMES = tuple(name for name in BLENDSHAPES52.names if LIVE[BLENDSHAPES52.names.index(name)])
"""The coefficients that a student learns, in the teacher's order."""
_LEAST_PRESENCE = 0.5  # a mesh that is surer of no face than of one says nothing of its movement
_FLIP = list(BLENDSHAPES52.flip)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the teacher said, one row per labelled face, in the order of its labels.

    Attributes:
        names: Of the pictures, [N].
        boxes: Where the face is that was looked at, float32 [N, 4].
        seen: Of the picture, float32 [N, 52].
        mirror: Of its mirror image, [N, 52], as that shows it: its left is the face's right.
        presence: The lower of the two scores that a face is there, [N].
    """

    names: NDArray[np.str_]
    boxes: Array
    seen: Array
    mirror: Array
    presence: Array

    @property
    def known(self) -> NDArray[np.bool_]:
        """Of whose movement the teacher says anything, bool [N]."""
        return self.presence >= _LEAST_PRESENCE

    def views(self) -> Array:
        """Both answers about the live coefficients, float32 [N, 2, 43]: the picture's and its mirror's.

        The mirror's are turned back; of a coefficient whose partner is dead it tells nothing, NaN.
        """
        back = np.where(LIVE[_FLIP], self.mirror[:, _FLIP], np.nan)
        return np.stack([self.seen[:, LIVE], back[:, LIVE]], axis=1).astype(np.float32)

    def labels(self) -> Array:
        """What a student learns of the live coefficients, float32 [N, 2, 43]: the picture's, its mirror's.

        Each is the mean of both answers. A coefficient whose partner is dead (jawLeft) has one answer alone.
        """
        alone = ~(LIVE & LIVE[_FLIP])
        views = []
        for own, other in ((self.seen, self.mirror), (self.mirror, self.seen)):
            views.append(np.where(alone, own, (own + other[:, _FLIP]) / 2)[:, LIVE])
        return np.stack(views, axis=1).astype(np.float32)


def path_of(folder: Path, split: str) -> Path:
    """Where the answers about a data set's faces lie in the label folder."""
    return folder / f"{split}_blendshapes.npz"


def load_blendshapes(folder: Path, split: str) -> Answers:
    """Reads what :func:`label_blendshapes` wrote.

    Raises:
        ValueError: There is no such file, or it is of other labels than those beside it.
    """
    path, mend = path_of(folder, split), f"run `label --only {split}` again"
    if not path.exists():
        raise ValueError(f"{path}: there are no blendshapes; {mend}")
    with np.load(path) as arrays:
        found = Answers(**{key: arrays[key] for key in arrays.files})
    labels = load_labels(folder, split)
    if not (np.array_equal(found.names, labels.names) and np.array_equal(found.boxes, labels.boxes)):
        raise ValueError(f"{path}: they are of other faces than {split}.npz: delete it, and {mend}")
    return found


def label_blendshapes(data: Path, teachers: Path, out: Path, only: Collection[str] | None = None) -> None:
    """Asks about every labelled face of every source (or ``only`` some); a finished one is not done again.

    What a process that was killed had labelled is kept, but for the last `label.PIECE` images.
    """
    teacher = MediaPipeFace(teachers / MESH)
    for source in SOURCES if only is None else [s for s in SOURCES if s.split in only]:
        path = path_of(out, source.split)
        if path.exists():
            continue
        found = load_labels(out, source.split)
        faces = list(zip(found.names.tolist(), found.boxes, strict=True))
        read = partial(_row, data / source.folder, teacher)
        made_of = {"labels": digest(out / f"{source.split}.npz"), MESH: digest(teachers / MESH)}
        count = in_pieces(path, made_of, faces, read)
        click.echo(f"{path.stem}: {count} faces")


def _row(root: Path, teacher: MediaPipeFace, face: tuple[str, Array]) -> Columns:
    name, box = face
    rgb = lfpw.load_photo(root, name)
    _, seen, presence = teacher(rgb, box)
    _, mirror, other = teacher(*mirrored(rgb, box))
    row = (name, box, seen, mirror, np.float32(min(presence, other)))
    keys = ("names", "boxes", "seen", "mirror", "presence")
    return {key: np.array([value]) for key, value in zip(keys, row, strict=True)}
