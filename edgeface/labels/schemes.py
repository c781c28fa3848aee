"""The schemes themselves, as data."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "CELEBAMASK19",
    "EASYPORTRAIT2",
    "EASYPORTRAIT8",
    "EASYPORTRAIT9",
    "FER8",
    "IBUG11",
    "IBUG14",
    "IBUG68",
    "LAPA11",
    "PARSING_SCHEMES",
    "ClassScheme",
    "LandmarkScheme",
    "ParsingScheme",
    "parsing_scheme",
]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LandmarkScheme:
    """A set of face points with fixed order.

    Attributes:
        key: Registry name, as it stands in a bundle.
        names: One name per point.
        parts: Part name to the slice of its points. Left and right are the person's own.
        flip: ``flip[i]`` is the point that point ``i`` becomes when the picture is mirrored.
        source: Where the order is defined.
    """

    key: str
    names: tuple[str, ...]
    parts: Mapping[str, slice]
    flip: tuple[int, ...]
    source: str

    def __len__(self) -> int:
        return len(self.names)

    def flip_points(self, points: NDArray[np.float32], width: int) -> NDArray[np.float32]:
        """Return the points [..., N, 2] of the mirrored picture of this width, in scheme order."""
        mirrored = np.array(points, dtype=np.float32)[..., list(self.flip), :]
        mirrored[..., 0] = (width - 1) - mirrored[..., 0]
        return mirrored


@dataclass(frozen=True)
class ParsingScheme:
    """A set of mutually exclusive pixel classes; the id is the position in `names`, 0 is the background.

    Attributes:
        key: Registry name, for example ``"celebamask19"``.
        names: One name per class id. ``l_`` and ``r_`` are the person's own sides; ``u_lip`` and ``l_lip``
            are the upper and the lower lip, as CelebAMask-HQ calls them.
        flip_pairs: Pairs of names that a mirrored picture exchanges.
        colours: RGB per class id, for overlays; the background is black and meant to stay transparent.
        source: Where the ids are defined.
    """

    key: str
    names: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...]
    colours: tuple[Colour, ...]
    source: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flip(self) -> tuple[int, ...]:
        """``flip[i]`` is the class that class ``i`` becomes when the picture is mirrored."""
        exchanged = dict(self.flip_pairs) | {right: left for left, right in self.flip_pairs}
        return tuple(self.index(exchanged.get(name, name)) for name in self.names)

    def index(self, name: str) -> int:
        """Return the class id of a name.

        Raises:
            ArgumentError: The scheme has no class of this name; the message lists those it has.
        """
        try:
            return self.names.index(name)
        except ValueError:
            known = ", ".join(self.names)
            raise ArgumentError(f"{self.key} has no class {name!r}: use one of {known}") from None


@dataclass(frozen=True)
class ClassScheme:
    """A set of mutually exclusive classes of a whole face; the class id is the position in `names`."""

    key: str
    names: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.names)


_IBUG68_PARTS: Mapping[str, slice] = MappingProxyType({
    "jaw": slice(0, 17),
    "right_brow": slice(17, 22),
    "left_brow": slice(22, 27),
    "nose_bridge": slice(27, 31),
    "nose_tip": slice(31, 36),
    "right_eye": slice(36, 42),
    "left_eye": slice(42, 48),
    "outer_lip": slice(48, 60),
    "inner_lip": slice(60, 68),
})  # fmt: skip

# Written by hand, as in the mark-up's own drawing: each row mirrors the part that stands beside it.
_IBUG68_FLIP = (
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,  # jaw
    26, 25, 24, 23, 22,  # right brow -> left brow
    21, 20, 19, 18, 17,  # left brow -> right brow
    27, 28, 29, 30,  # nose bridge
    35, 34, 33, 32, 31,  # nose tip
    45, 44, 43, 42, 47, 46,  # right eye -> left eye
    39, 38, 37, 36, 41, 40,  # left eye -> right eye
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,  # outer lip
    64, 63, 62, 61, 60, 67, 66, 65,  # inner lip
)  # fmt: skip

IBUG68 = LandmarkScheme(
    key="ibug68",
    names=tuple(
        f"{part}_{i - where.start}" for part, where in _IBUG68_PARTS.items() for i in range(68)[where]
    ),
    parts=_IBUG68_PARTS,
    flip=_IBUG68_FLIP,
    source="iBUG 300-W mark-up of 68 points (Sagonas et al., 2013), 0-based",
)

# One colour per part, the same in every scheme, so that overlays of different schemes can be compared at a
# glance. Left and right share a hue and differ in lightness.
_COLOURS: Mapping[str, Colour] = MappingProxyType({
    "background": (0, 0, 0),
    "person": (124, 144, 178),
    "skin": (245, 188, 150),
    "nose": (232, 138, 100),
    "glasses": (90, 215, 225),
    "l_eye": (70, 130, 255),
    "r_eye": (120, 175, 255),
    "l_brow": (140, 95, 215),
    "r_brow": (175, 140, 240),
    "l_ear": (240, 165, 60),
    "r_ear": (252, 200, 105),
    "mouth": (150, 25, 55),
    "u_lip": (232, 62, 92),
    "l_lip": (250, 105, 130),
    "lips": (240, 80, 110),
    "teeth": (250, 248, 235),
    "hair": (96, 70, 140),
    "hat": (40, 150, 140),
    "earring": (255, 225, 60),
    "necklace": (225, 180, 30),
    "neck": (214, 160, 135),
    "cloth": (85, 165, 95),
})  # fmt: skip
_COLOUR_OF: Mapping[str, str] = MappingProxyType({"eyeglasses": "glasses"})


def _parsing(key: str, names: str, source: str) -> ParsingScheme:
    split = tuple(names.split())
    # The lower lip is called l_lip; it has no r_lip beside it, so it is no pair.
    pairs = tuple((n, "r_" + n[2:]) for n in split if n.startswith("l_") and "r_" + n[2:] in split)
    colours = tuple(_COLOURS[_COLOUR_OF.get(n, n)] for n in split)
    return ParsingScheme(key, split, pairs, colours, source)


CELEBAMASK19 = _parsing(
    "celebamask19",
    "background skin nose eyeglasses l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat "
    "earring necklace neck cloth",
    "CelebAMask-HQ (Lee et al., 2020), ids of its g_mask script; its left and right are the person's own",
)
_LAPA_NAMES = "background skin r_brow l_brow r_eye l_eye nose u_lip mouth l_lip hair"
LAPA11 = _parsing(
    "lapa11",
    _LAPA_NAMES,
    "LaPa (Liu et al., 2020); its own names look at the picture: its 'left eyebrow', id 2, is r_brow here. "
    "Its list of labels does not mention ears; they are taken to lie in its skin",
)
IBUG11 = _parsing(
    "ibug11",
    _LAPA_NAMES,
    "iBugMask (Lin et al., 2021), ids and sides as LaPa and Helen have them; its training pictures are "
    "Helen's (Smith et al., 2013), whose skin is 'excluding ears and neck'",
)
IBUG14 = _parsing(
    "ibug14",
    _LAPA_NAMES + " r_ear l_ear glasses",
    "iBugMask's extended set: the eleven classes, then ears (sides as in the eleven) and glasses",
)
_EASYPORTRAIT_PARTS = "skin r_brow l_brow r_eye l_eye lips teeth"
EASYPORTRAIT9 = _parsing(
    "easyportrait9",
    "background person " + _EASYPORTRAIT_PARTS,
    "EasyPortrait (Kvanchiani et al., 2023); its own names are taken to look at the picture, as LaPa's do",
)
EASYPORTRAIT8 = _parsing(
    "easyportrait8",
    "background " + _EASYPORTRAIT_PARTS,
    "EasyPortrait's face-parsing set: the person belongs to the background",
)
EASYPORTRAIT2 = _parsing(
    "easyportrait2",
    "background person",
    "EasyPortrait's portrait-segmentation set",
)

PARSING_SCHEMES: Mapping[str, ParsingScheme] = MappingProxyType({
    scheme.key: scheme
    for scheme in (CELEBAMASK19, LAPA11, IBUG11, IBUG14, EASYPORTRAIT9, EASYPORTRAIT8, EASYPORTRAIT2)
})  # fmt: skip
_ALIASES: Mapping[str, str] = MappingProxyType({
    "celebamask": "celebamask19",
    "lapa": "lapa11",
    "ibug": "ibug11",
    "easyportrait": "easyportrait9",
})  # fmt: skip

FER8 = ClassScheme(
    key="fer8",
    names=("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    source="FER+ (Barsoum et al., 2016), without its 'unknown' and 'not a face'",
)


def parsing_scheme(name: str) -> ParsingScheme:
    """Return a parsing scheme by its key or by a short name (``"lapa"``, ``"ibug"``, ``"easyportrait"``).

    Raises:
        ArgumentError: No scheme is called so; the message lists the known keys.
    """
    scheme = PARSING_SCHEMES.get(_ALIASES.get(str(name), str(name)))
    if scheme is None:
        raise ArgumentError(f"no parsing scheme is called {name!r}: use one of {', '.join(PARSING_SCHEMES)}")
    return scheme
