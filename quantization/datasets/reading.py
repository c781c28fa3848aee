"""How a data set is read: item by item, what is broken counted and left out, too much of it an error.

::

    DataSetError(ValueError)      the whole: no such layout, nothing readable, too many broken items
    ItemError(ValueError)         one item: names the file, the line where there is one, and the mend

A layout lists *jobs*, one per item: calls without arguments that read the item or raise `ItemError`. Listing
is cheap (a folder, a text file), reading is not, and all that is said about broken items is said here, once.
"""

from __future__ import annotations

import csv
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .sample import Sample, Terms

__all__ = [
    "BROKEN",
    "FAULTS_ALLOWED",
    "FAULT_SHARE",
    "DataSet",
    "DataSetError",
    "ItemError",
    "Job",
    "Layout",
    "Line",
    "check_finite",
    "parts_wanted",
    "read_lines",
    "require",
]

FAULT_SHARE = 0.05  # of the items may be broken ...
FAULTS_ALLOWED = 20  # ... and this many in any case, so that a small set does not fail on a single file
_NAMED = 5  # broken items that the final error names

# What decoders raise on a damaged file, besides OSError, which is also what a missing one raises.
BROKEN: tuple[type[Exception], ...] = (OSError, ValueError, SyntaxError, EOFError, IndexError, zlib.error)
BROKEN += (struct.error, Image.DecompressionBombError)

Job = Callable[[], Sample]
_T = TypeVar("_T")


class DataSetError(ValueError):
    """A data set cannot be used as it lies there; the message says what to mend."""


class ItemError(ValueError):
    """One item is missing or malformed. `path` and `line` (None for a whole file) say where."""

    def __init__(self, path: Path, fault: str, line: int | None = None, mend: str = "") -> None:
        self.path, self.line = path, line
        where = f" in line {line}" if line is not None else ""
        super().__init__(f"{path}: {fault}{where}{', ' + mend if mend else ''}")


@dataclass(frozen=True, slots=True)
class Layout:
    """A public layout: its key, its terms (None: whoever made the folder states them), its jobs."""

    kind: str
    terms: Terms | None
    jobs: Callable[..., Iterator[Job]]


@dataclass(slots=True)
class DataSet:
    """A data set on disk. Every pass reads it anew; `faults` are the broken items of the latest pass.

    Attributes:
        kind: Key of the layout.
        root: Where it lies.
        terms: What its labels and pictures may be used for.
        jobs: Lists the items, each as a call that reads it; calls can be pickled, to be read elsewhere.
    """

    kind: str
    root: Path
    terms: Terms
    jobs: Callable[[], Iterator[Job]]
    faults: list[ItemError] = field(default_factory=list, init=False)

    def count(self) -> int:
        """Items listed, broken ones included."""
        return sum(1 for _ in self.jobs())

    def __iter__(self) -> Iterator[Sample]:
        """The samples, in an order that depends on names or on the list alone.

        Raises:
            DataSetError: More than `FAULT_SHARE` of the items and more than `FAULTS_ALLOWED` are broken, or
                all are.
        """
        return self._read(lambda sample: sample)

    def decoded(self) -> Iterator[tuple[Sample, NDArray[np.uint8]]]:
        """The samples with their pixels, RGB uint8 [H, W, 3]; a picture that does not decode is a fault too.

        Raises:
            DataSetError: As for the samples alone.
        """
        return self._read(_decode)

    def _read(self, finish: Callable[[Sample], _T]) -> Iterator[_T]:
        self.faults = faults = []
        seen, allowed = 0, float(FAULTS_ALLOWED)
        for job in self.jobs():
            seen += 1
            try:
                value = finish(job())
            except ItemError as error:
                faults.append(error)
                if len(faults) == FAULTS_ALLOWED + 1:  # only now is it worth counting
                    allowed = max(allowed, FAULT_SHARE * self.count())
                if len(faults) > allowed:
                    limit = f"{FAULT_SHARE:.0%} (and {FAULTS_ALLOWED}) are allowed"
                    raise self._failed(f"{len(faults)} broken items so far, {limit}", faults) from error
                continue
            yield value
        if seen == len(faults):
            raise self._failed(f"none of the {seen} items can be read", faults)

    def _failed(self, what: str, faults: list[ItemError]) -> DataSetError:
        named = "".join(f"\n  {fault}" for fault in faults[:_NAMED])
        return DataSetError(f"{self.root}: {what} in this {self.kind} folder, fetch it again{named}")


def _decode(sample: Sample) -> tuple[Sample, NDArray[np.uint8]]:
    try:
        return sample, sample.pixels()
    except BROKEN as error:
        path = sample.picture if isinstance(sample.picture, Path) else Path(sample.name)
        raise ItemError(path, "the picture cannot be decoded", mend="fetch it again") from error


# -- lists -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a list: it knows where it stands, so that what is wrong with it can be found."""

    path: Path
    number: int
    text: str

    def fault(self, fault: str, mend: str = "") -> ItemError:
        """What is wrong with this line."""
        return ItemError(self.path, fault, self.number, mend)

    def numbers(self, words: Iterable[str]) -> NDArray[np.float64]:
        """The words as finite numbers, float64 [N].

        Raises:
            ItemError: One is not a number, or not a finite one.
        """
        words = list(words)
        try:
            values = np.array([float(word) for word in words], np.float64)
        except ValueError as error:
            raise self.fault(f"not a number ({str(error)[-40:]})") from error
        if not np.isfinite(values).all():
            raise self.fault(f"{words[int(np.argmin(np.isfinite(values)))]} is not a position or a count")
        return values

    def cells(self, count: int) -> list[str]:
        """The line as a row of a comma-separated table, each cell stripped.

        Raises:
            ItemError: It does not have `count` cells.
        """
        try:
            found = [cell.strip() for cell in next(csv.reader([self.text]))]
        except csv.Error as error:
            raise self.fault(f"not comma-separated ({error})") from error
        if len(found) != count:
            raise self.fault(f"{len(found)} columns", f"there must be {count}")
        return found


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a text that are not blank, stripped, from number 1. BOM and CRLF do not matter.

    Raises:
        DataSetError: There is no such list.
    """
    require(path)
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, text in enumerate(file, 1):
            if text.strip():
                yield Line(path, number, text.strip())


def require(*paths: Path) -> Path:
    """The first of the paths that exists.

    Raises:
        DataSetError: None does.
    """
    for path in paths:
        if path.exists():
            return path
    raise DataSetError(f"{paths[0]}: missing; is the folder above it the root of this data set?")


def parts_wanted(part: str | None, folders: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs of our part's name and the layout's own, of all `folders` or of the one part.

    Raises:
        DataSetError: The layout has no such part.
    """
    if part is not None and part not in folders:
        raise DataSetError(f"there is no part {part!r}: use one of {', '.join(folders)}")
    return ((ours, theirs) for ours, theirs in folders.items() if part in {None, ours})


# -- values ----------------------------------------------------------------------------------------------


def check_finite(path: Path, what: str, values: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The values as float32 of this shape.

    Raises:
        ItemError: They have another shape, or are not all finite numbers.
    """
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise ItemError(path, f"{what}: not numbers") from error
    if array.shape != shape:
        raise ItemError(path, f"{what}: of shape {array.shape}", mend=f"it must be {shape}")
    if not np.isfinite(array).all():
        raise ItemError(path, f"{what}: not all are finite numbers")
    return array
