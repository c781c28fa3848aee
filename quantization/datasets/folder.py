"""A plain folder of photos without labels (CelebA-HQ, UTKFace, YouTube Faces frames)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..splits import Item, assign, digest

__all__ = ["make_split", "youtube_person"]


def make_split(
    root: Path, seed: str, tuning: float = 0, person: Callable[[str], str] | None = None, part: str = "train"
) -> list[Item]:
    """``tuning`` images (whole persons where ``person`` names them) to choose by; the rest trains."""
    names = sorted(p.name for p in root.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
    digests = {n: digest(root / n) for n in names}
    entries = ((n, digests[n], person(n) if person else digests[n]) for n in names)
    return assign(entries, [("tuning", tuning)] if tuning else [], part, seed)


def youtube_person(name: str) -> str:
    """The person of a frame named ``First_Last_NN.jpg``."""
    return name.rsplit("_", 1)[0]
