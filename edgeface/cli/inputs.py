"""What the user pointed at: files, folders and patterns become an ordered list of pictures and videos."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Failure", "Item", "expand", "is_media", "printable"]

_PICTURES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp"})
_VIDEOS = frozenset(
    {
        ".mp4",
        ".m4v",
        ".mov",
        ".avi",
        ".mkv",
        ".webm",
        ".mpg",
        ".mpeg",
        ".wmv",
        ".3gp",
        ".ogv",
        ".mts",
        ".m2ts",
    }
    | {".gif", ".mjpeg", ".flv"}
)
_OVERLAY = ".faces"  # the mark in the names of our own overlays; a folder that is analysed again skips them


@dataclass(frozen=True, slots=True)
class Item:
    """A picture or video to analyse; `folder` is where its overlay goes below the output folder."""

    path: Path
    folder: Path
    video: bool

    @property
    def source(self) -> str:
        """Its path as the user wrote it."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that could not be used, and why."""

    source: str
    reason: str


def printable(text: str) -> str:
    """Text from outside, safe to show: a file name can hold commands for the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def is_media(name: str) -> bool:
    """Whether a file name ends like one of a picture or video."""
    return Path(name).suffix.lower() in _PICTURES | _VIDEOS


def expand(patterns: Iterable[str], recursive: bool) -> tuple[list[Item], list[Failure]]:
    """Find what `patterns` name.

    A file is taken as it is, whatever its name: pictures are known by their content, videos by their ending.
    A folder gives its pictures and videos, sorted by name with numbers in order, without hidden files, links
    to folders and our own overlays. A pattern (`*`, `?`, `[...]`, `**`) is expanded here too, for shells that
    do not; a folder that it matches is taken like one that is named. A file that is named twice is analysed
    once.
    """
    items: dict[str, Item] = {}
    failures: list[Failure] = []
    for pattern in patterns:
        found: list[Item] = []
        faults: list[Failure] = []
        try:
            found.extend(_found(pattern, recursive, faults))
        except (OSError, ValueError) as error:
            faults.append(Failure(pattern, getattr(error, "strerror", None) or str(error)))
        for item in found:
            items.setdefault(os.path.realpath(item.path), item)
        if not found and not faults:
            faults.append(Failure(pattern, _nothing(pattern, recursive)))
        failures += faults
    return list(items.values()), failures


def _found(pattern: str, recursive: bool, faults: list[Failure]) -> Iterator[Item]:
    path = Path(pattern)
    if path.is_dir():
        yield from _folder(path, recursive, faults)
    elif path.is_file():
        yield _item(path, Path())
    elif glob.has_magic(pattern) and not path.exists():
        # Path.glob would refuse an absolute pattern.
        for name in sorted(glob.glob(pattern, recursive=True), key=_natural):  # noqa: PTH207  as said above
            matched = Path(name)
            if matched.is_dir():
                yield from _folder(matched, recursive, faults)
            elif matched.is_file() and (is_media(name) or path.suffix):
                yield _item(matched, Path())


def _folder(root: Path, recursive: bool, faults: list[Failure]) -> Iterator[Item]:
    def closed(error: OSError) -> None:  # a folder that cannot be opened costs no other
        faults.append(Failure(str(error.filename), error.strerror or str(error)))

    for parent, folders, names in os.walk(root, onerror=closed):
        folders[:] = sorted(
            (name for name in folders if recursive and not name.startswith(".")), key=_natural
        )
        for name in sorted(names, key=_natural):
            path = Path(parent, name)
            own = path.stem.endswith(_OVERLAY)
            if is_media(name) and not name.startswith(".") and not own and path.is_file():
                yield _item(path, Path(parent).relative_to(root))


def _item(path: Path, folder: Path) -> Item:
    return Item(path, folder, path.suffix.lower() in _VIDEOS)


def _natural(name: str) -> list[tuple[int, str]]:
    """Order in which frame2 comes before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def _nothing(pattern: str, recursive: bool) -> str:
    path = Path(pattern)
    if path.is_dir():
        below = "" if recursive else " (folders below it were not searched, as asked)"
        return f"no picture or video in this folder{below}"
    if path.exists():
        return "neither a file nor a folder"
    if not glob.has_magic(pattern):
        return "no such file or folder"
    if glob.glob(pattern, recursive=True):  # noqa: PTH207  Path.glob would refuse an absolute pattern
        return "no picture or video among what matches this pattern"
    return "nothing matches this pattern"
