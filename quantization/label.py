"""Teachers' labels for images that have none: boxes and five points by YuNet, 68 points by the face mesh.

One ``.npz`` per data set in the label folder. Where a data set has human points, the face whose box holds
them is taken; elsewhere the largest. The 68-point map is fitted on LFPW's training part alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.geometry import iou_matrix

from . import splits
from .datasets import lfpw
from .progress import progress
from .provenance import digest
from .splits import Item, parts, read_split
from .teachers.facemesh import FaceMesh, RidgeMap
from .teachers.meshmap import FOLDS, Shown, both_meshes, errors, fit_map, shown, unseen_errors
from .teachers.ultraface import UltraFace
from .teachers.yunet import YuNet

__all__ = [
    "MESH",
    "PIECE",
    "SOURCES",
    "Columns",
    "Labels",
    "Source",
    "find_face",
    "in_pieces",
    "label_all",
    "label_faces",
    "label_parsing",
    "load_labels",
    "load_parsing",
]

Array = NDArray[np.float32]
Mask = NDArray[np.uint8]
Columns = dict[str, NDArray[Any]]
"""Rows of labels: name of a column -> its values, one row each."""
_T = TypeVar("_T")

PIECE = 100
"""Images whose labels a process that is killed loses at most."""
_WIDE, _NEAR = "yunet_n_640_640.onnx", "yunet_n_320_320.onnx"
MESH, _ULTRA = "mediapipe_face_landmarker.task", "ultralight_version-RFB-320.onnx"


@dataclass(frozen=True, slots=True)
class Source:
    """A data set's images: its split, its folder under the data root, how much of YuNet's input they fill."""

    split: str
    folder: str
    fill: float  # tight crops need context around them


SOURCES = (
    Source("lfpw", "landmarks/lfpw/trainset", 1.0),
    Source("celebamask", "parsing/celebamask_hq/images", 0.8),
    Source("celeba_hq", "parsing/celeba_hq_unlabelled", 0.8),
    Source("utkface", "unlabelled/utkface", 0.5),
    Source("youtube_faces", "landmarks/youtube_faces_68/images", 0.5),
)


@dataclass(frozen=True, slots=True)
class Labels:
    """One row per face that was found; ``points`` are human ones for LFPW, the teacher's elsewhere."""

    names: NDArray[np.str_]
    parts: NDArray[np.str_]
    boxes: Array  # [N, 4] x, y, width, height
    scores: Array  # [N]
    keypoints: Array  # [N, 5, 2]
    points: Array  # [N, 68, 2]
    trust: Array  # [N] the mesh's presence score; 1 for human labels


def load_labels(folder: Path, split: str) -> Labels:
    """Reads what :func:`label_all` wrote."""
    with np.load(folder / f"{split}.npz") as arrays:
        return Labels(**{k: arrays[k] for k in arrays.files})


def load_parsing(folder: Path, split: str, name: str) -> Mask:
    """Label map uint8 [H, W] that :func:`label_parsing` wrote; 255 is unknown."""
    path = folder / "parsing" / split / f"{Path(name).stem}.png"
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise ValueError(f"{path}: there is no label map; write it by `label --parsing`")
    return mask


def label_parsing(
    data: Path,
    out: Path,
    split: str,
    labeller: Callable[[Mask, Array], Mask],
    part: str = "train",
    drawn_by: str = "",
) -> int:
    """Lets ``labeller`` (photo, face box -> label map) parse the labelled faces of a data set's part.

    Returns how many maps there are; those already written are not done again, unless somebody else than
    ``drawn_by``, where that is said, drew them.
    """
    source = next(s for s in SOURCES if s.split == split)
    found = load_labels(out, split)
    folder = out / "parsing" / split
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "drawn_by"
    if drawn_by and not (told.exists() and told.read_text() == drawn_by):
        for path in folder.glob("*.png"):
            path.unlink()
        told.write_text(drawn_by)
    rows = np.flatnonzero(found.parts == part)
    for i in progress(f"parsing {split}", rows):
        path = folder / f"{Path(str(found.names[i])).stem}.png"
        if path.exists():
            continue
        mask = labeller(lfpw.load_photo(data / source.folder, str(found.names[i])), found.boxes[i])
        unfinished = path.with_suffix(".partial.png")
        cv2.imwrite(str(unfinished), mask)
        unfinished.replace(path)
    return len(rows)


def label_all(data: Path, teachers: Path, out: Path, only: Collection[str] | None = None) -> None:
    """Labels every source (or ``only`` some) into ``out``; a finished data set is not done again.

    What a process that was killed had labelled is kept, but for the last `PIECE` images.
    """
    out.mkdir(parents=True, exist_ok=True)
    wide, near = YuNet(teachers / _WIDE), YuNet(teachers / _NEAR)
    mesh = FaceMesh(teachers / MESH)
    if not (out / "lfpw_faces.npz").exists():
        label_faces(data, teachers, out / "lfpw_faces.npz")
    ridge: RidgeMap | None = None
    for source in SOURCES if only is None else [s for s in SOURCES if s.split in only]:
        path = out / f"{source.split}.npz"
        if path.exists():
            continue
        fitted_on = None if source.split == "lfpw" else digest(out / "lfpw.npz")
        if fitted_on and ridge is None:
            ridge = _fitted(shown(data, load_labels(out, "lfpw"), mesh))
        items = read_split(source.split)
        made_of = _asked(teachers, source.split, _WIDE if source.fill == 1 else _NEAR, MESH) | {
            "points": fitted_on
        }
        detector = wide if source.fill == 1 else near
        count = in_pieces(path, made_of, items, partial(_row, data, source, detector, mesh, ridge))
        click.echo(f"{source.split}: {count} faces of {len(items)} images")


def label_faces(
    data: Path, teachers: Path, path: Path, wanted: Collection[str] = ("train", "validation")
) -> None:
    """All faces of LFPW's photos by YuNet, down to a doubtful score, and if UltraFace agrees (IoU >= 0.5).

    Agreed ones are what the detection student is graded by; doubtful ones say where not to look for a
    background.
    """
    detector, second = YuNet(teachers / _WIDE), UltraFace(teachers / _ULTRA)

    def read(name: str) -> Columns:
        rgb = lfpw.load_photo(data / "landmarks/lfpw/trainset", name)
        found, (others, _) = detector.detect(rgb, 0.3), second.detect(rgb)
        overlap = iou_matrix(found.boxes, others)
        return {
            "names": np.full(len(found), name),
            "boxes": found.boxes,
            "scores": found.scores,
            "keypoints": found.keypoints,
            "agreed": (overlap >= 0.5).any(1) if len(others) else np.zeros(len(found), np.bool_),
        }

    made_of = _asked(teachers, "lfpw", _WIDE, _ULTRA) | {"parts": sorted(wanted)}
    in_pieces(path, made_of, parts("lfpw", *wanted), read)


def _asked(teachers: Path, split: str, *files: str) -> dict[str, object]:
    """What decides about labels: the images that are to have some, and the networks."""
    return {name: digest(teachers / name) for name in files} | {
        "split": digest(splits.SPLITS / f"{split}.csv")
    }


def in_pieces(
    path: Path, made_of: Mapping[str, object], items: Sequence[_T], read: Callable[[_T], Columns | None]
) -> int:
    """Writes the columns that ``read`` finds in all items (None: none) to ``path``; returns how many rows.

    They are kept in pieces beside it until all are there; pieces of something else, by ``made_of``, are
    left alone until then.

    Raises:
        ValueError: no item has a row.
    """
    told = json.dumps(dict(made_of), sort_keys=True).encode()
    home = path.with_name(f"{path.stem}-{hashlib.sha256(told).hexdigest()[:12]}.parts")
    home.mkdir(exist_ok=True)
    pieces = []
    with click.progressbar(length=len(items), label=path.stem, file=sys.stderr) as bar:
        for start in range(0, len(items), PIECE):
            pieces.append(home / f"{start:06d}.npz")
            chosen = items[start : start + PIECE]
            if pieces[-1].exists():
                bar.update(len(chosen))
                continue
            found = []
            for item in chosen:
                columns = read(item)
                found += [] if columns is None else [columns]
                bar.update(1)
            _save(pieces[-1], found)
    rows = []
    for piece in pieces:
        with np.load(piece) as arrays:
            rows += [dict(arrays)] if arrays.files else []
    if not rows:
        raise ValueError(f"{path}: no face in {len(items)} images; is it the data of the split lists?")
    _save(path, rows)
    for folder in path.parent.glob(f"{path.stem}-*.parts"):
        shutil.rmtree(folder)
    return sum(len(columns["names"]) for columns in rows)


def _save(path: Path, rows: Sequence[Columns]) -> None:
    columns = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]} if rows else {}
    unfinished = path.with_suffix(".partial.npz")
    np.savez_compressed(unfinished, **columns)
    unfinished.replace(path)


def find_face(
    detector: YuNet, rgb: NDArray[np.uint8], fill: float, points: Array | None
) -> tuple[Array, float, Array] | None:
    """Box, score and five keypoints of the face that holds the middle of ``points``, else of the largest."""
    for amount in (fill, fill * 0.6):
        found = detector.detect(rgb, 0.5, fill=amount)
        if points is None:
            best = int(np.argmax(found.boxes[:, 2] * found.boxes[:, 3])) if len(found) else -1
        else:
            middle = points.mean(0)
            inside = (found.boxes[:, :2] < middle).all(1) & (
                middle < found.boxes[:, :2] + found.boxes[:, 2:]
            ).all(1)
            best = int(np.argmax(inside * found.scores)) if inside.any() else -1
        if best >= 0:
            return found.boxes[best], float(found.scores[best]), found.keypoints[best]
    return None


def _fitted(faces: Sequence[Shown]) -> RidgeMap:
    """The 68-point map of LFPW's training part; says what it is worth on photos that it did not see."""
    ridge, unseen = fit_map(faces), unseen_errors(faces)
    if np.isfinite(unseen).all():
        own = errors(ridge, faces).mean()
        click.echo(
            f"face mesh to 68 points, fitted on {len(faces)} photos of LFPW: NME {unseen.mean():.2%} on "
            f"those that a map had not seen ({FOLDS} folds), {own:.2%} on its own"
        )
    return ridge


def _row(
    data: Path, source: Source, detector: YuNet, mesh: FaceMesh, ridge: RidgeMap | None, item: Item
) -> Columns | None:
    root = data / source.folder
    rgb = lfpw.load_photo(root, item.name)
    human = lfpw.load_points(root, item.name) if source.split == "lfpw" else None
    face = find_face(detector, rgb, source.fill, human)
    if face is None:
        return None
    points, presence = human, 1.0
    if points is None:
        assert ridge is not None  # noqa: S101  # for the type checker
        seen, other, presence = both_meshes(mesh, rgb, face[0])
        points = ridge.both_views(seen, other, rgb.shape[1])
    row = (item.name, item.part, *face, points, presence)
    keys = ("names", "parts", "boxes", "scores", "keypoints", "points", "trust")
    return {key: np.array([value]) for key, value in zip(keys, row, strict=True)}
