"""A plain folder of photos without labels (CelebA-HQ, UTKFace, YouTube Faces), its folders included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from ..splits import Item, assign, digest
from .imagefiles import SUFFIXES, picture_size
from .reading import Job, Layout
from .sample import Sample, Terms

__all__ = ["LAYOUT", "TERMS", "make_split", "youtube_person"]

TERMS: Mapping[str, Terms] = MappingProxyType(
    {
        "celeba_hq": Terms(
            "CelebA-HQ (Karras et al., 2018)",
            "non-commercial research",
            commercial=False,
            source="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        ),
        "utkface": Terms(
            "UTKFace (Zhang et al., 2017)",
            "non-commercial research",
            commercial=False,
            source="https://susanqq.github.io/UTKFace/",
        ),
        "youtube_faces": Terms(
            "YouTube Faces (Wolf et al., 2011)",
            "research only",
            commercial=False,
            source="https://www.cs.tau.ac.il/~wolf/ytfaces/",
        ),
    }
)
"""Of the folders that the students learn from, by the name of their split."""


def make_split(
    root: Path, seed: str, tuning: float = 0, person: Callable[[str], str] | None = None, part: str = "train"
) -> list[Item]:
    """``tuning`` images (whole persons where ``person`` names them) to choose by; the rest trains."""
    names = sorted(p.name for p in root.iterdir() if p.suffix.lower() in SUFFIXES)
    digests = {n: digest(root / n) for n in names}
    entries = ((n, digests[n], person(n) if person else digests[n]) for n in names)
    return assign(entries, [("tuning", tuning)] if tuning else [], part, seed)


def youtube_person(name: str) -> str:
    """The person of a frame named ``First_Last_NN.jpg``."""
    return name.rsplit("_", 1)[0]


def _read(root: Path, picture: Path) -> Sample:
    picture_size(picture)
    return Sample(picture.relative_to(root).as_posix(), picture)


def _jobs(root: Path) -> Iterator[Job]:
    pictures = (p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
    return (partial(_read, root, picture) for picture in sorted(pictures))


LAYOUT = Layout("folder", None, _jobs)
