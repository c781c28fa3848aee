"""What each landmark, parsing class and expression is called, and how one scheme becomes another.

Four kinds of scheme: points (`LandmarkScheme`: IBUG68), maps (`ParsingScheme`: CelebAMask-19, LaPa-11,
iBugMask-11/14, EasyPortrait-9/8/2), classes (`ClassScheme`: FER8) and coefficients (`CoefficientScheme`:
BLENDSHAPES52). A conversion that merges or drops classes is lossy by its table, whatever a given map
contains, and is refused unless asked for.

Left and right in a class name are always the **person's own**: ``l_eye`` is the eye on the right of a frontal
picture. Data sets disagree about this; the ids here are the data set's, the names are ours.
"""

from __future__ import annotations

from edgeface.labels.coefficients import BLENDSHAPES52, CoefficientScheme
from edgeface.labels.conversion import Conversion, conversion, conversions, convert_labels, flip_labels
from edgeface.labels.laid import lay_over
from edgeface.labels.metrics import confusion_matrix, f1_per_class, iou_per_class
from edgeface.labels.schemes import (
    CELEBAMASK19,
    EASYPORTRAIT2,
    EASYPORTRAIT8,
    EASYPORTRAIT9,
    FER8,
    IBUG11,
    IBUG14,
    IBUG68,
    LAPA11,
    PARSING_SCHEMES,
    ClassScheme,
    LandmarkScheme,
    ParsingScheme,
    parsing_scheme,
)

__all__ = [
    "BLENDSHAPES52",
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
    "CoefficientScheme",
    "Conversion",
    "LandmarkScheme",
    "ParsingScheme",
    "confusion_matrix",
    "conversion",
    "conversions",
    "convert_labels",
    "f1_per_class",
    "flip_labels",
    "iou_per_class",
    "lay_over",
    "parsing_scheme",
]
