"""Labelled photos: each with its 68 points in a .pts file beside it, as 300-W has it; faces by expression."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import edgeface
from benchmarks.errors import BenchmarkError
from edgeface.labels import FER8

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Expressive", "Labelled", "describe", "describe_expressions", "read_expressions", "read_labelled"]

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Labelled:
    """A photo's file, and where the 68 points of one of its faces are, float64 [68, 2], pixels from 0."""

    path: Path
    points: NDArray[np.float64]

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """Its pixels, uint8 [H, W, 3]."""
        return edgeface.read_image(self.path).rgb

    @property
    def box(self) -> list[float]:
        """The upright rectangle around its points: x, y, width, height."""
        low, size = self.points.min(0), np.ptp(self.points, axis=0)
        return [*low.tolist(), *size.tolist()]


@dataclass(frozen=True)
class Expressive:
    """A photo's file, and which of `edgeface.labels.FER8` its face shows."""

    path: Path
    expression: str

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """Its pixels, uint8 [H, W, 3]."""
        return edgeface.read_image(self.path).rgb


def read_expressions(folder: Path) -> list[Expressive]:
    """The photos of a folder with one folder for each expression, called as `edgeface.labels.FER8` does.

    Raises:
        BenchmarkError: there are none.
    """
    found = [
        Expressive(path, name)
        for name in FER8.names
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in _PICTURES
    ]
    if not found:
        raise BenchmarkError(f"{folder}: holds no photo in folders called {', '.join(FER8.names)}")
    return found


def read_labelled(folder: Path, split: Path | None, part: str) -> list[Labelled]:
    """The photos of a folder, in the order of their names.

    Args:
        folder: with pictures and .pts files.
        split: a CSV with the columns ``name`` and ``part``; None: all photos.
        part: which of its parts.

    Raises:
        BenchmarkError: there are none, or a .pts file does not hold 68 points.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _PICTURES)
    if split is not None:
        with split.open(newline="") as lines:
            wanted = {row["name"] for row in csv.DictReader(lines) if row["part"] == part}
        paths = [path for path in paths if path.name in wanted]
    found = [Labelled(path, _points(path.with_suffix(".pts"))) for path in paths]
    if not found:
        of = "" if split is None else f" that {split.name} has in its part {part!r}"
        raise BenchmarkError(f"{folder}: holds no photo{of}; name a folder of pictures with .pts files")
    return found


def describe(labelled: list[Labelled]) -> dict[str, Any]:
    """How many photos, and a digest of their names and points: equal digests, equal labels."""
    found = hashlib.sha256()
    for one in labelled:
        found.update(one.path.name.encode() + one.points.tobytes())
    return {"photos": len(labelled), "sha256": found.hexdigest()}


def describe_expressions(expressive: list[Expressive]) -> dict[str, Any]:
    """How many photos of each expression, and a digest of their names and files."""
    found = hashlib.sha256()
    for one in expressive:
        found.update(f"{one.expression}/{one.path.name}".encode() + one.path.read_bytes())
    names = [one.expression for one in expressive]
    return {
        "photos": len(expressive),
        "expressions": {name: names.count(name) for name in dict.fromkeys(names)},
        "sha256": found.hexdigest(),
    }


def _points(path: Path) -> NDArray[np.float64]:
    """A .pts file of 300-W, which counts pixels from 1."""
    try:
        body = path.read_text().partition("{")[2].partition("}")[0]
        points = np.array(body.split(), np.float64).reshape(-1, 2) - 1
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: cannot be read as the points of a photo ({error})") from error
    if points.shape != (68, 2):
        raise BenchmarkError(f"{path}: holds {len(points)} points, not iBUG's 68")
    return points
