"""CelebAMask-HQ (Lee et al., 2020), as published in part masks, or merged into index masks 0-18.

::

    ROOT/CelebA-HQ-img/K.jpg                                      1024 x 1024, K = 0 to 29999
    ROOT/CelebAMask-HQ-mask-anno/(K // 2000)/KKKKK_PART.png       512 x 512, black and white, 18 parts at most

or, merged:

    ROOT/images/NAME.jpg
    ROOT/masks/NAME.png

Later parts lie over earlier ones, in the order of `edgeface.labels.CELEBAMASK19`, whose ids are those of the
authors' ``g_mask.py`` (switchablenorms/CelebAMask-HQ, ``face_parsing/Data_preprocessing``); a part without a
file is not in the picture. Masks are brought to the picture's size by repeating pixels. Some merged masks are
palette images, so Pillow reads them.

Left is the person's own, but one picture in fifteen calls all its left parts right and its right parts left
(61 of the 900 here, 11 of the 100 that grade), as if it had been mirrored after it was annotated. Who reads a
mask gets it with the sides put right, unless it is asked for as annotated.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeface.labels import CELEBAMASK19

from ..splits import Item, assign, digest
from .imagefiles import SUFFIXES, fit_mask, picture_size, read_mask
from .lfpw import load_photo
from .reading import BROKEN, DataSetError, ItemError, Job, Layout
from .sample import Sample, Terms

__all__ = ["LAYOUT", "load_mask", "load_photo", "make_split", "sided"]

_HOLD_OUT, _TUNING = 100, 40
_LEAST_COLUMNS = 3  # that a part fills: less may be a slip of the pen
# The file names' own words, where they are not the scheme's.
_FILE_WORDS = {"eyeglasses": "eye_g", "earring": "ear_r", "necklace": "neck_l"}


def load_mask(root: Path, name: str, *, as_annotated: bool = False) -> NDArray[np.uint8]:
    """Label map uint8 [H, W] of the photo ``images/NAME`` of the merged layout, its sides put right.

    Raises:
        ItemError: The mask is missing, damaged or no index map.
    """
    mask = read_mask(root / "masks" / (Path(name).stem + ".png"), CELEBAMASK19.key)
    return mask if as_annotated else sided(mask)


def sided(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The label map [H, W] with left and right exchanged if its left parts lie left of its right ones.

    Eyes, brows and ears each have a say by how far apart they are, where both of a pair are there.
    """
    apart = 0.0
    for pair in CELEBAMASK19.flip_pairs:
        left, right = (np.nonzero((mask == CELEBAMASK19.index(name)).any(axis=0))[0] for name in pair)
        if min(len(left), len(right)) >= _LEAST_COLUMNS:
            apart += float(left.mean() - right.mean())
    return np.array(CELEBAMASK19.flip, np.uint8)[mask] if apart < 0 else mask


def _merge(folder: Path, number: int) -> NDArray[np.uint8]:
    merged: NDArray[np.uint8] | None = None
    for label, part in enumerate(CELEBAMASK19.names[1:], 1):
        path = folder / str(number // 2000) / f"{number:05d}_{_FILE_WORDS.get(part, part)}.png"
        if not path.exists():
            continue
        try:
            with Image.open(path) as image:
                there = np.array(image.convert("L")) > 127
        except BROKEN as error:
            raise ItemError(path, "not a readable image", mend="fetch it again") from error
        if merged is None:
            merged = np.zeros(there.shape, np.uint8)
        if there.shape != merged.shape:
            raise ItemError(path, "of another size than the other parts", mend="fetch it again")
        merged[there] = label
    if merged is None:
        path = folder / str(number // 2000) / f"{number:05d}_skin.png"
        raise ItemError(path, "there is no part mask", mend="fetch the masks again")
    return merged


def _read_official(root: Path, picture: Path) -> Sample:
    folder = root / "CelebAMask-HQ-mask-anno"
    if not picture.stem.isdecimal():
        raise ItemError(picture, "its name is not a number")
    mask = fit_mask(folder, sided(_merge(folder, int(picture.stem))), picture_size(picture))
    name = picture.relative_to(root).as_posix()
    return Sample(name, picture, mask=mask, mask_scheme=CELEBAMASK19.key)


def _read_merged(root: Path, picture: Path) -> Sample:
    size = picture_size(picture)
    mask = fit_mask(root / "masks" / (picture.stem + ".png"), load_mask(root, picture.name), size)
    return Sample(picture.name, picture, mask=mask, mask_scheme=CELEBAMASK19.key)


def _jobs(root: Path) -> Iterator[Job]:
    for folder, read in (("CelebA-HQ-img", _read_official), ("images", _read_merged)):
        if (root / folder).is_dir():
            pictures = (p for p in (root / folder).iterdir() if p.suffix.lower() in SUFFIXES)
            return (partial(read, root, p) for p in sorted(pictures, key=lambda p: (len(p.stem), p.name)))
    raise DataSetError(f"{root}: neither CelebA-HQ-img nor images in it; is it the root of CelebAMask-HQ?")


def make_split(root: Path) -> list[Item]:
    """``validation``: 100 pairs by their digests' order, ``tuning``: 40 to choose by; the rest trains."""
    names = sorted(p.name for p in (root / "images").iterdir())
    digests = {n: digest(root / "images" / n) for n in names}
    entries = ((n, digests[n], digests[n]) for n in names)
    return assign(entries, [("validation", _HOLD_OUT), ("tuning", _TUNING)], "train", "celebamask")


LAYOUT = Layout(
    "celebamask",
    Terms(
        "CelebAMask-HQ (Lee et al., 2020)",
        "non-commercial research and education",
        commercial=False,
        source="https://github.com/switchablenorms/CelebAMask-HQ",
    ),
    _jobs,
)
