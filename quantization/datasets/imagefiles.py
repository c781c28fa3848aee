"""Pictures and index masks of a data set: is the file there, how large is it, what does it hold."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeface.labels import parsing_scheme

from .reading import BROKEN, ItemError, require
from .sample import Sample

__all__ = ["SUFFIXES", "find_picture", "fit_mask", "masked", "picture_size", "pictures", "read_mask"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def find_picture(stem: Path) -> Path:
    """The picture of this path without its suffix.

    Raises:
        ItemError: There is none.
    """
    for suffix in SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    raise ItemError(stem.with_name(stem.name + SUFFIXES[0]), "the picture is missing", mend="fetch it again")


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, by name.

    Raises:
        DataSetError: There is no such folder.
    """
    return sorted(path for path in require(folder).iterdir() if path.suffix.lower() in SUFFIXES)


def masked(root: Path, part: str, picture: Path, label: Path, scheme: str, **more: Any) -> Sample:
    """The sample of a picture below `root` and its index mask; `more` of a sample's fields as they are.

    Raises:
        ItemError: One of the two is missing, damaged, or does not fit the other.
    """
    mask = fit_mask(label, read_mask(label, scheme), picture_size(picture))
    name = picture.relative_to(root).as_posix()
    return Sample(name, picture, part, mask=mask, mask_scheme=scheme, **more)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height as decoding will give them, from the file's header alone.

    Raises:
        ItemError: The file is missing or no picture.
    """
    if not path.is_file():
        raise ItemError(path, "the picture is missing", mend="fetch it again")
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientation: lies on its side
    except BROKEN as error:
        raise ItemError(path, "not a readable image", mend="fetch it again") from error
    return (height, width) if turned else (width, height)


def read_mask(
    path: Path, scheme: str, source: IO[bytes] | None = None, ignore: bool = False
) -> NDArray[np.uint8]:
    """Class ids uint8 [H, W] of an index image, palette or not (OpenCV would give a palette's colours).

    Args:
        path: The file, or its name for the error where `source` is given.
        scheme: Key of the parsing scheme whose ids may occur.
        source: Where to read from instead.
        ignore: Allow 255 as well.

    Raises:
        ItemError: The file is missing, damaged, or holds something else.
    """
    try:
        with Image.open(path if source is None else source) as image:
            mode, mask = image.mode, np.array(image)
    except FileNotFoundError as error:
        raise ItemError(path, "the mask is missing", mend="fetch it again") from error
    except BROKEN as error:
        raise ItemError(path, "not a readable image", mend="fetch it again") from error
    last = len(parsing_scheme(scheme)) - 1
    if mode not in {"L", "P", "1"} or ((mask > last) & ~(ignore & (mask == 255))).any():
        raise ItemError(path, f"the mask is not an index map of 0 to {last}", mend="merge part masks first")
    return mask.astype(np.uint8)


def fit_mask(path: Path, mask: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The mask at the picture's size (width, height): as it is, or each pixel a whole number of times.

    Raises:
        ItemError: The sizes do not fit.
    """
    height, width = mask.shape
    times = size[0] // width
    if times < 1 or (times * width, times * height) != size:
        fault = f"the mask is {width} x {height}, the picture {size[0]} x {size[1]}"
        raise ItemError(path, fault, mend="they must be of one size")
    return mask if times == 1 else mask.repeat(times, axis=0).repeat(times, axis=1)
