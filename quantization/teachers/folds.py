"""Out-of-fold answers: a teacher that left out a fold of the training images answers for those alone.

So nobody is asked about a picture that it learned from (stacked generalization: Wolpert, 1992). A teacher
whose recipe has no ``student.fold`` answers for every image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets import ferplus
from ..recipe import RecipeError
from ..splits import fold_of
from ..terms import weights_terms

__all__ = ["TERMS", "split_by_fold", "who_may_answer"]

# Trained here, each from nothing, on a part of FER+ alone.
TERMS = weights_terms(ferplus.LAYOUT.terms).inherited(
    "EdgeFace's expression teachers by folds (trained here)",
    "derived from the terms of what they learned from",
)


def split_by_fold(names: Sequence[str], fold: Sequence[int] | None) -> tuple[list[str], list[str]]:
    """The images that train, and those of ``fold`` (k, n), which do not; None: all train."""
    if fold is None:
        return list(names), []
    left_out = [fold_of(name, fold[1]) == fold[0] for name in names]
    return (
        [name for name, out in zip(names, left_out, strict=True) if not out],
        [name for name, out in zip(names, left_out, strict=True) if out],
    )


def who_may_answer(teachers: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> NDArray[np.bool_]:
    """Which of ``teachers`` (recipes by name) did not learn from which image: bool [N, T].

    Raises:
        RecipeError: Nobody is left to answer for an image.
    """
    folds = [teacher["student"].get("fold") for teacher in teachers.values()]
    may = np.array([[fold is None or fold_of(name, fold[1]) == fold[0] for fold in folds] for name in names])
    alone = np.flatnonzero(~may.any(1))
    if len(alone):
        counts = sorted({fold[1] for fold in folds if fold})
        lacking = " or ".join(f"fold {fold_of(names[alone[0]], count)} of {count}" for count in counts)
        raise RecipeError(
            f"teacher: {', '.join(teachers)} learned from {len(alone)} of the {len(names)} images, so nobody "
            f"answers for them: name a recipe, too, whose student.fold leaves out {lacking}"
        )
    return may
