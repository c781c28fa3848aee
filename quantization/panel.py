"""Teachers that are asked together: one or several, each also about the mirror image if wanted.

A member is what was trained here (:class:`quantization.taught.Taught`), a foreign model with its adapter or
MediaPipe's bundle (:mod:`quantization.members`). :mod:`quantization.teachers.together` says what several of
them say as one. `label` writes it into shards and `evaluate` grades it.

::

    PanelError(ValueError)    these cannot be asked together; names who, why, and the mend
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .datasets import Terms
from .taught import Taught
from .teachers.analyzer import AskedAnalyzer
from .teachers.answers import Answer, Ask
from .teachers.mirror import FLIPS, mirrored, mirrored_keypoints, unmirrored
from .teachers.together import Joint, joined

__all__ = ["Asked", "Member", "Panel", "PanelError"]

Array = NDArray[np.float32]
Asked = Callable[..., Joint | None]
"""As `Ask`, of several: None where one of them sees no face."""
_NEEDS = ("nothing", "a box", "keypoints")


class PanelError(ValueError):
    """Teachers that cannot be asked together, or not about a mirror image."""


class Member(Protocol):
    """A teacher. It travels to other processes by pickle, before anything is opened."""

    @property
    def name(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def scheme(self) -> str:
        """What its answers are in: of points, of maps, of classes; empty where there is no such thing."""

    @property
    def needs(self) -> str:
        """What of a face it goes by: ``"nothing"`` (the whole picture), ``"a box"`` or ``"keypoints"``."""

    @property
    def terms(self) -> tuple[Terms, ...]: ...
    @property
    def asked(self) -> list[Any]:
        """All that its answers depend on, as JSON values."""

    @property
    def size(self) -> int:
        """Bytes of its file."""

    def open(self, min_score: float | None = None) -> Ask:
        """Loads it; ``min_score`` of a face, where it is a detector whose threshold can be set."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Teachers of one task that answer in one scheme. Made by :meth:`of`."""

    members: tuple[Member, ...]
    mirror: bool = False
    asked: tuple[Any, ...] = field(default=(), repr=False)
    """All that the answers depend on, as JSON values."""

    @classmethod
    def of(cls, members: Sequence[Member], mirror: bool = False) -> Panel:
        """The panel.

        Args:
            members: One or more.
            mirror: Ask each about the mirror image, too.

        Raises:
            PanelError: They are of several tasks or schemes, or nobody knows the mean or the mirror image of
                what they say.
        """
        kinds = {(one.task, one.scheme): one.name for one in members}
        if len(kinds) > 1:
            told = "; ".join(f"{who} says {what} of {_order(of)}" for (what, of), who in kinds.items())
            raise PanelError(f"only teachers of one task and one scheme can be asked together: {told}")
        ((task, scheme),) = kinds
        alone = len(members) == 1 and not mirror
        if task == "blendshapes" and not alone:
            raise PanelError("blendshapes: nobody knows the mean of its coefficients; ask it alone")
        if mirror and task == "landmarks" and scheme not in FLIPS:
            raise PanelError(
                f"{members[0].name}: nobody knows which points of {_order(scheme)} "
                f"change places in a mirror; --mirror is for points of {', '.join(FLIPS)}"
            )
        return cls(tuple(members), mirror, (*(one.asked for one in members), mirror))

    @property
    def name(self) -> str:
        """What figures and labels are filed under."""
        names = " + ".join(one.name for one in self.members)
        return f"{names}, mirrored" if self.mirror else names

    @property
    def task(self) -> str:
        return self.members[0].task

    @property
    def scheme(self) -> str:
        return self.members[0].scheme

    @property
    def needs(self) -> str:
        """The most that one of them needs, as `Member.needs` says it."""
        return _NEEDS[max(_NEEDS.index(one.needs) for one in self.members)]

    @property
    def terms(self) -> tuple[Terms, ...]:
        return tuple(terms for one in self.members for terms in one.terms)

    @property
    def digest(self) -> str:
        """SHA-256 of all that the answers depend on."""
        return hashlib.sha256(json.dumps(self.asked, sort_keys=True).encode()).hexdigest()

    @property
    def size(self) -> int:
        return sum(one.size for one in self.members)

    def open(self, min_score: float | None = None) -> Asked:
        """Loads all of them."""
        asks = [one.open(min_score) for one in self.members]

        def ask(
            rgb: NDArray[np.uint8], box: Array | None = None, keypoints: Array | None = None
        ) -> Joint | None:
            said: list[Answer] = []
            for view in _views(rgb, box, keypoints, self.mirror):
                for one in asks:
                    answer = one(*view)
                    if answer is None:
                        return None
                    said.append(answer if view[0] is rgb else unmirrored(answer, rgb.shape[1]))
            return joined(said)

        return ask

    def analyzer(self, tasks: Collection[str], min_score: float | None = None) -> Any:
        """The panel behind the runtime's API; what was trained here and is asked alone is in the runtime."""
        alone = self.members[0]
        if isinstance(alone, Taught) and len(self.members) == 1 and not self.mirror:
            return alone.analyzer(tasks, min_score)
        return AskedAnalyzer(self.open(min_score), self.task, self.needs, doubtful=min_score is not None)


def _order(scheme: str) -> str:
    return scheme or "no known order"


def _views(
    rgb: NDArray[np.uint8], box: Array | None, keypoints: Array | None, mirror: bool
) -> list[tuple[NDArray[np.uint8], Array | None, Array | None]]:
    """The picture and, if wanted, its mirror image, with where the face is in each."""
    views = [(rgb, box, keypoints)]
    if mirror:
        flipped, moved = mirrored(rgb, np.zeros(4, np.float32) if box is None else box)
        points = None if keypoints is None else mirrored_keypoints(keypoints, rgb.shape[1])
        views.append((flipped, None if box is None else moved, points))
    return views
