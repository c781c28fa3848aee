"""Thin readers of the public layouts, one file each: pictures and labels as published, nothing else.

``open_dataset(kind, root)`` gives a `DataSet`; going through it yields `Sample` after `Sample`, each read
when its turn comes. What is missing or malformed is named, counted and left out, and too much of it ends the
run (`reading`)::

    faces = open_dataset("wflw", Path("~/data/WFLW").expanduser(), part="test")
    for sample in faces:
        print(sample.name, sample.points.shape, sample.attributes["occlusion"])
    print(len(faces.faults), "broken, the first:", faces.faults[:1])
    print(faces.terms.licence)

Every kind declares its `Terms`, because what was trained on a data set inherits them. ``folder`` and
``webdataset`` hold what somebody put there: who opens them states the terms, or a shard does.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import (
    affectnet,
    aflw2000,
    celebamask,
    cofw,
    easyportrait,
    fer2013,
    ferplus,
    folder,
    helen,
    ibug,
    ibugmask,
    lapa,
    rafdb,
    shards,
    wflw,
    widerface,
)
from .reading import DataSet, DataSetError, ItemError, Layout
from .sample import POINT_SCHEMES, Sample, Terms
from .shards import write_shard

__all__ = [
    "KINDS",
    "POINT_SCHEMES",
    "UNSTATED",
    "DataSet",
    "DataSetError",
    "ItemError",
    "Layout",
    "Sample",
    "Terms",
    "open_dataset",
    "write_shard",
]

_LANDMARKS = (ibug, wflw, aflw2000, cofw)
_PARSING = (celebamask, lapa, easyportrait, ibugmask, helen)
_EXPRESSION = (ferplus, fer2013, rafdb, affectnet)
_MODULES = (*_LANDMARKS, *_PARSING, *_EXPRESSION, widerface, folder, shards)
KINDS: Mapping[str, Layout] = MappingProxyType({m.LAYOUT.kind: m.LAYOUT for m in _MODULES})

UNSTATED = Terms("pictures of unstated origin", "unstated: no permission is known", False, "nobody")


def open_dataset(kind: str, root: Path, terms: Terms | None = None, **options: Any) -> DataSet:
    """A data set on disk.

    Args:
        kind: One of `KINDS`.
        root: The folder that the layout's module calls ROOT; for ``webdataset`` also a single ``.tar``.
        terms: Terms of a ``folder``, or of shards that do not state their own; `UNSTATED` without.
        options: What the layout offers: ``part`` where it has parts, ``aligned`` of ``rafdb``.

    Raises:
        DataSetError: There is no such kind, root or option, or `terms` contradicts what the layout declares.
    """
    layout = KINDS.get(kind)
    if layout is None:
        raise DataSetError(f"there is no layout {kind!r}: use one of {', '.join(KINDS)}")
    if not root.exists():
        raise DataSetError(f"{root}: there is no such folder")
    stated = shards.stated_terms(root) if layout is shards.LAYOUT else layout.terms
    if terms is not None and stated is not None and terms != stated:
        raise DataSetError(f"{kind} is under its own terms ({stated.licence}): open it without terms")
    try:
        inspect.signature(layout.jobs).bind(root, **options)
    except TypeError as error:
        offered = ", ".join(list(inspect.signature(layout.jobs).parameters)[1:]) or "none"
        raise DataSetError(f"{kind}: {error}; its options: {offered}") from error
    return DataSet(kind, root, stated or terms or UNSTATED, partial(layout.jobs, root, **options))
