"""From other point schemes to iBUG-68, where every one of the 68 points has its like.

WFLW-98 marks 300-W's places with more points on the jaw, the lower side of the brows and the eyelids (Wu et
al., 2018, figure 4): every second point of its jaw, the upper side of its brows, and six of the eight points
around an eye are iBUG's. COFW-29 has no jaw line; LaPa-106 marks each eyelid at three places where iBUG
marks it at two, so neither can be converted point by point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import IBUG68

from .reading import DataSetError

__all__ = ["CONVERTIBLE", "to_ibug68"]

_WFLW = (
    *range(0, 33, 2),  # jaw
    *range(33, 38), *range(42, 47),  # brows, upper side
    *range(51, 60),  # nose
    60, 61, 63, 64, 65, 67,  # the eye on the picture's left
    68, 69, 71, 72, 73, 75,
    *range(76, 96),  # lips
)  # fmt: skip
_CHOSEN = {IBUG68.key: tuple(range(len(IBUG68))), "wflw98": _WFLW}

CONVERTIBLE = tuple(_CHOSEN)
"""Keys of the schemes that :func:`to_ibug68` takes."""


def to_ibug68(points: NDArray[np.float32], scheme: str) -> NDArray[np.float32]:
    """The points [68, 2] among those of a scheme [N, 2].

    Raises:
        DataSetError: Not every one of the 68 points is among them.
    """
    if scheme not in _CHOSEN:
        raise DataSetError(f"points of {scheme} hold no {IBUG68.key}: use one of {', '.join(CONVERTIBLE)}")
    return points[list(_CHOSEN[scheme])]
