"""From one parsing scheme to another, and mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface.errors import ArgumentError, ConversionError
from edgeface.labels.schemes import PARSING_SCHEMES, ParsingScheme, parsing_scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Conversion", "conversion", "conversions", "convert_labels", "flip_labels"]


@dataclass(frozen=True)
class Conversion:
    """How the class ids of one scheme become those of another.

    Attributes:
        source: Key of the scheme that is read.
        target: Key of the scheme that is written.
        mapping: Source class name to target class name, every source class once.
        lossless: True when no two classes fall together, so that the way back gives the same map, and no
            class of the target gets pixels that its scheme calls something else.
        lost: In words, what the target can no longer tell apart or calls something else; empty when lossless.
    """

    source: str
    target: str
    mapping: Mapping[str, str]
    lossless: bool
    lost: str

    @property
    def empty(self) -> tuple[str, ...]:
        """Classes of the target that no class of the source fills."""
        return tuple(name for name in PARSING_SCHEMES[self.target].names if name not in self.mapping.values())

    def table(self) -> NDArray[np.uint8]:
        """Return uint8 [source classes]: the target id of each source id."""
        target = PARSING_SCHEMES[self.target]
        names = PARSING_SCHEMES[self.source].names
        return np.array([target.index(self.mapping[name]) for name in names], dtype=np.uint8)


# Where classes go that the target does not know by name; classes known to both keep their name. A pair that
# is not listed has no conversion, because a class of the target would be filled by half or with the wrong
# pixels: LaPa's background holds the body and the wall, so LaPa could fill EasyPortrait's person with hair
# alone. A class that stays empty does no such harm (`Conversion.empty` tells which).
_BEHIND_A_FACE = dict.fromkeys(["hat", "earring", "necklace", "neck", "cloth"], "background")
# Where a scheme without classes for them has the ears; the sources are named in `schemes`.
_EARS_IN: Mapping[str, str] = {
    "lapa11": "skin",
    "ibug11": "background",
    "easyportrait9": "person",
    "easyportrait8": "background",
    "easyportrait2": "person",
}


def _ears(scheme: str) -> dict[str, str]:
    return dict.fromkeys(("l_ear", "r_ear"), _EARS_IN[scheme])


# EasyPortrait's inside of a mouth without teeth is no class of its own; CelebAMask-HQ's mouth is mostly
# teeth.
_FACE_PARTS = {"nose": "skin", "u_lip": "lips", "l_lip": "lips", "mouth": "teeth"}
_BODY = ("hair", "hat", "l_ear", "r_ear", "earring", "necklace", "neck", "cloth", "eyeglasses")
_BROWS_AND_EYES = ("l_brow", "r_brow", "l_eye", "r_eye")
_FACE = ("skin", "nose", *_BROWS_AND_EYES, "mouth", "u_lip", "l_lip", "lips", "teeth")
_TO_PERSON = dict.fromkeys(_BODY, "person")
_FACE_TO_PERSON = dict.fromkeys(_FACE, "person")

_MOVES: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("celebamask19", "lapa11"): {**_BEHIND_A_FACE, **_ears("lapa11"), "eyeglasses": "skin"},
    ("celebamask19", "ibug11"): {**_BEHIND_A_FACE, **_ears("ibug11"), "eyeglasses": "skin"},
    ("celebamask19", "ibug14"): {**_BEHIND_A_FACE, "eyeglasses": "glasses"},
    ("celebamask19", "easyportrait9"): {**_FACE_PARTS, **_TO_PERSON},
    ("celebamask19", "easyportrait8"): {**_FACE_PARTS, **dict.fromkeys(_BODY, "background")},
    ("celebamask19", "easyportrait2"): {**_FACE_TO_PERSON, **_TO_PERSON},
    ("lapa11", "ibug11"): {},
    ("ibug11", "lapa11"): {},
    ("ibug11", "ibug14"): {},
    ("lapa11", "celebamask19"): {},
    ("ibug11", "celebamask19"): {},
    ("ibug14", "celebamask19"): {"glasses": "eyeglasses"},
    ("ibug14", "ibug11"): {**_ears("ibug11"), "glasses": "skin"},
    ("ibug14", "lapa11"): {**_ears("lapa11"), "glasses": "skin"},
    ("lapa11", "easyportrait8"): {**_FACE_PARTS, "hair": "background"},
    ("ibug11", "easyportrait8"): {**_FACE_PARTS, "hair": "background"},
    ("ibug14", "easyportrait8"): {
        **_FACE_PARTS, **_ears("easyportrait8"), "hair": "background", "glasses": "background",
    },
    ("easyportrait8", "easyportrait9"): {},
    ("easyportrait9", "easyportrait8"): {"person": "background"},
    ("easyportrait9", "easyportrait2"): _FACE_TO_PERSON,
}  # fmt: skip


def _lost(source: ParsingScheme, target: ParsingScheme, mapping: Mapping[str, str]) -> str:
    merged: dict[str, list[str]] = {name: [] for name in target.names}
    for name in source.names:
        merged[mapping[name]].append(name)
    said = [f"{' + '.join(names)} -> {goal}" for goal, names in merged.items() if len(names) > 1]
    # Classes of one name need not cover the same: ears that lie in a class of the source go where it goes.
    # In the background they harm a class of the target that is filled without them, but no empty one.
    if source.key in _EARS_IN:
        ears = mapping[_EARS_IN[source.key]]
        wanted = _EARS_IN.get(target.key, "l_ear and r_ear")
        if ears != wanted and (ears != "background" or wanted in mapping.values()):
            said.append(f"ears, in {source.key} part of {_EARS_IN[source.key]}, in {target.key} of {wanted}")
    return "; ".join(said)


@cache
def _conversion(source: ParsingScheme, target: ParsingScheme) -> Conversion | None:
    if source is target:
        return Conversion(source.key, target.key, {name: name for name in source.names}, True, "")
    moves = _MOVES.get((source.key, target.key))
    if moves is None:
        return None
    mapping = {name: moves.get(name, name) for name in source.names}
    lost = _lost(source, target, mapping)
    return Conversion(source.key, target.key, mapping, not lost, lost)


def conversion(source: str, target: str) -> Conversion:
    """Return the conversion between two parsing schemes, given by key or short name.

    Raises:
        ArgumentError: A scheme is unknown.
        ConversionError: The target needs something that the source never says.
    """
    have, want = parsing_scheme(source), parsing_scheme(target)
    found = _conversion(have, want)
    if found is None:
        goals = ", ".join(goal for start, goal in _MOVES if start == have.key)
        raise ConversionError(
            f"{have.key} cannot become {want.key}: it does not tell apart what the target needs. "
            f"From {have.key} there are conversions to: {goals or 'none'}"
        )
    return found


def conversions() -> tuple[Conversion, ...]:
    """Return every conversion between two different schemes."""
    pairs = (_conversion(PARSING_SCHEMES[source], PARSING_SCHEMES[target]) for source, target in _MOVES)
    return tuple(found for found in pairs if found is not None)


def convert_labels(
    labels: NDArray[np.uint8], source: str, target: str, lossy: bool = False
) -> NDArray[np.uint8]:
    """Return the label map in another scheme, as a new uint8 array of the same shape.

    Args:
        labels: uint8 of any shape, class ids of `source`; 255 (ignore) stays 255.
        source: Key or short name of the scheme of `labels`.
        target: Key or short name of the scheme wanted.
        lossy: Allow a conversion that merges or drops classes.

    Raises:
        ArgumentError: A scheme is unknown, or `labels` holds an id that `source` does not have.
        ConversionError: The conversion is lossy and `lossy` is false, or there is none.
    """
    found = conversion(source, target)
    if not (found.lossless or lossy):
        raise ConversionError(
            f"{found.source} -> {found.target} loses information ({found.lost}): "
            "pass lossy=True if that is wanted"
        )
    return _look_up(labels, found.table(), found.source)


def flip_labels(labels: NDArray[np.uint8], scheme: str) -> NDArray[np.uint8]:
    """Return the label map [..., H, W] of the mirrored picture: columns reversed, left and right exchanged.

    Raises:
        ArgumentError: The scheme is unknown, or `labels` holds an id that it does not have.
    """
    found = parsing_scheme(scheme)
    table = np.array(found.flip, dtype=np.uint8)
    return np.ascontiguousarray(_look_up(labels, table, found.key)[..., ::-1])


def _look_up(labels: Any, table: NDArray[np.uint8], scheme: str) -> NDArray[np.uint8]:
    if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8:
        kind = getattr(labels, "dtype", type(labels).__name__)
        raise ArgumentError(
            f"labels must be a uint8 array of class ids, not {kind}: use labels.astype(numpy.uint8)"
        )
    full = np.full(256, 254, dtype=np.uint8)
    full[: len(table)] = table
    full[255] = 255
    result: NDArray[np.uint8] = full[labels]
    if labels.size and bool((result == 254).any()):
        worst = int(labels[result == 254].max())
        raise ArgumentError(
            f"labels hold class id {worst}, but {scheme} has the ids 0 to {len(table) - 1} (255: ignore)"
        )
    return result
