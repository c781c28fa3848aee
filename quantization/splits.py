"""Which image trains and which grades: fixed before training, by content, in lists of names and digests.

An image's part follows from the SHA-256 of its pixels (of its person's name where names exist, so that
persons do not cross), not from a random generator's state; exact duplicates keep their first occurrence in
the grading part and are dropped from training. ``python -m quantization split`` writes the lists; readers
only read them.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .pictures import read_picture

__all__ = [
    "MISTAKEN",
    "Item",
    "assign",
    "digest",
    "fold_of",
    "make_all",
    "near_duplicates",
    "parts",
    "read_split",
    "write_split",
]

SPLITS = Path(__file__).parent / "splits"
MISTAKEN = SPLITS / "lfpw-mistaken.csv"
"""No split: what :mod:`.mistaken` lists."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a split: its name within the data set, the digest of its pixels, its part."""

    name: str
    digest: str
    part: str


def digest(path: Path) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the decoded pixels: metadata does not count."""
    pixels = read_picture(path)
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes() + str(pixels.shape).encode()).hexdigest()[
        :16
    ]


def near_duplicates(paths: Sequence[Path], threshold: float = 0.95) -> list[int]:
    """A group number for each image: the same photo, stored or cropped again, gets the same number.

    Two images are alike when their 24 x 24 grey thumbnails, mean removed, correlate above ``threshold``.
    """
    thumbs = []
    for path in paths:
        grey = read_picture(path, grey=True)
        thumb = cv2.resize(grey, (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
        thumbs.append((thumb - thumb.mean()) / (np.linalg.norm(thumb - thumb.mean()) + 1e-6))
    matrix = np.stack(thumbs)
    group = list(range(len(paths)))
    for a, b in np.argwhere(np.triu(matrix @ matrix.T > threshold, 1)):
        low, high = sorted((group[a], group[b]))
        group = [low if g == high else g for g in group]
    return group


def assign(
    entries: Iterable[tuple[str, str, str]], sizes: Sequence[tuple[str, float]], rest: str, seed: str
) -> list[Item]:
    """Splits ``(name, digest, group)`` entries; a group (a person, or the digest itself) never crosses parts.

    Groups are put in the order of the SHA-256 of ``seed`` and group; each part of ``sizes`` takes groups
    until it holds its number of images (a group too large for it goes to ``rest``), what is left goes to
    ``rest``. Repeated digests are dropped after their first.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    seen: set[str] = set()
    for name, image_digest, group in entries:
        if image_digest not in seen:
            seen.add(image_digest)
            groups.setdefault(group, []).append((name, image_digest))
    order = sorted(groups, key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).hexdigest())
    items: list[Item] = []
    position = 0
    for part, size in sizes:
        taken = 0
        while position < len(order) and taken < size:
            members = groups[order[position]]
            fits = taken + len(members) <= size
            items += [Item(name, d, part if fits else rest) for name, d in members]
            taken += len(members) if fits else 0
            position += 1
    items += [Item(name, d, rest) for g in order[position:] for name, d in groups[g]]
    return sorted(items, key=lambda item: item.name)


def write_split(name: str, items: Iterable[Item]) -> Path:
    """Writes ``splits/NAME.csv``."""
    SPLITS.mkdir(exist_ok=True)
    path = SPLITS / f"{name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "digest", "part"])
        writer.writerows((i.name, i.digest, i.part) for i in items)
    return path


def read_split(name: str) -> list[Item]:
    """Reads ``splits/NAME.csv``."""
    with (SPLITS / f"{name}.csv").open(newline="") as file:
        return [Item(row["name"], row["digest"], row["part"]) for row in csv.DictReader(file)]


def parts(name: str, *wanted: str) -> list[str]:
    """The image names of the wanted parts of a split."""
    return [item.name for item in read_split(name) if item.part in wanted]


def fold_of(name: str, count: int) -> int:
    """Which of ``count`` folds an image lies in: by the hash of its name, whatever the other images are."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % count


def make_all(data: Path) -> list[tuple[Path, int]]:
    """Splits every data set; returns each list's path and length."""
    from .datasets import celebamask, ferplus, folder, lfpw

    made = {
        "lfpw": lfpw.make_split(data / "landmarks/lfpw/trainset"),
        "ferplus": ferplus.make_split(data / "expression/ferplus"),
        "celebamask": celebamask.make_split(data / "parsing/celebamask_hq"),
        "celeba_hq": folder.make_split(data / "parsing/celeba_hq_unlabelled", "celeba_hq"),
        "utkface": folder.make_split(data / "unlabelled/utkface", "utkface", 150),
        "youtube_faces": folder.make_split(
            data / "landmarks/youtube_faces_68/images", "youtube_faces", 150, folder.youtube_person
        ),
    }
    return [(write_split(name, items), len(items)) for name, items in made.items()]
