"""What every reader yields: one frozen record per picture (per face, where the layout lists faces)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.labels import IBUG68

from ..pictures import read_picture

__all__ = ["AGREEMENT", "POINT_SCHEMES", "Attribute", "Sample", "Terms"]

# Points of each scheme. Only iBUG-68 is a scheme of the runtime; the others are read as published.
POINT_SCHEMES: Mapping[str, int] = MappingProxyType(
    {IBUG68.key: len(IBUG68), "wflw98": 98, "lapa106": 106, "cofw29": 29, "mediapipe478": 478}
)

Attribute = str | int | float | bool | tuple[int, ...]
AGREEMENT = "agreement_"
"""With a task behind it the attribute, 0 to 1, that says how far the teachers of its labels agree."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a data set may be used, from which a model card derives the licence of the weights.

    Attributes:
        title: The data set's name and paper, as a card cites it.
        licence: The terms in one line.
        commercial: Whether the terms are known to allow commercial use; False where they do not say.
        source: Where the terms are stated.
    """

    title: str
    licence: str
    commercial: bool
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture and what people (or a machine, see the reader) said of it; not to be changed.

    Attributes:
        name: Unique in the data set, the same on every machine.
        picture: The encoded file, as a path or as bytes; or pixels, uint8 [H, W] grey or [H, W, 3] RGB, where
            the layout stores such.
        part: ``train``, ``validation`` or ``test`` as published; empty where the layout does not say.
        boxes: float32 [F, 4], x, y, width, height in pixels of the picture; one row for a sample of one face.
        points: float32 [N, 2], x right, y down, 0-based pixels, pixel centres at integers.
        points_scheme: Key of `POINT_SCHEMES`; empty without points.
        visible: bool [N], False where something hides the point; None where the layout does not say.
        mask: uint8 [H, W], class ids of `mask_scheme` and 255 (ignore), of the picture's size.
        mask_scheme: Key of `edgeface.labels.PARSING_SCHEMES`; empty without a mask.
        votes: float32 [10], taggers' votes for FER-8's classes, "unknown" and "not a face".
        blendshapes: float32 [52] in [0, 1], in the order of `edgeface.labels.BLENDSHAPES52`;
            left and right are the person's own.
        blendshapes_known: bool [52], False for what whoever said them cannot tell; None where all are known.
        expression: Class id of `edgeface.labels.FER8`, whatever the layout's own order; None without one.
        attributes: What else the layout says, under the reader's names. Angles in degrees.
    """

    name: str
    picture: Path | bytes | NDArray[np.uint8]
    part: str = ""
    boxes: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    points_scheme: str = ""
    visible: NDArray[np.bool_] | None = None
    mask: NDArray[np.uint8] | None = None
    mask_scheme: str = ""
    votes: NDArray[np.float32] | None = None
    blendshapes: NDArray[np.float32] | None = None
    blendshapes_known: NDArray[np.bool_] | None = None
    expression: int | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def pixels(self) -> NDArray[np.uint8]:
        """The picture, RGB uint8 [H, W, 3].

        Raises:
            FileNotFoundError: The file is gone.
            ValueError: The file or the bytes are not a picture.
        """
        if isinstance(self.picture, Path):
            return cv2.cvtColor(read_picture(self.picture), cv2.COLOR_BGR2RGB)
        if isinstance(self.picture, bytes):
            data = np.frombuffer(self.picture, np.uint8)
            bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
            if bgr is None:
                raise ValueError(f"{self.name}: not a readable image; write the shard again")
            return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return cv2.cvtColor(self.picture, cv2.COLOR_GRAY2RGB) if self.picture.ndim == 2 else self.picture
