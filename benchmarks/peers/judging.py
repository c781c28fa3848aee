"""What the sides that were timed say about the labelled photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.peers.accuracy import Judged, best
from benchmarks.process import Program, Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.crops import LandmarkCrops
    from benchmarks.peers.labelled import Expressive, Labelled
    from benchmarks.peers.peer import Variant
    from benchmarks.peers.rounds import Plan
    from edgeface.analyzer import FaceAnalyzer

__all__ = ["Judge"]

_MOST_FACES = 8  # of a labelled photo; one of them is labelled


@dataclass(frozen=True)
class Judge:
    """The labelled photos, and what cuts faces out of them for sides that find none themselves.

    Attributes:
        photos: With 68 points.
        faces: With an expression; may be empty.
        finder: Finds faces.
        crops: The crops of our landmark network.
    """

    photos: Sequence[Labelled]
    faces: Sequence[Expressive]
    finder: FaceAnalyzer
    crops: LandmarkCrops

    def __call__(self, program: Program, variants: Sequence[Variant], plan: Plan) -> dict[str, Judged]:
        """Show a side every photo and judge what it says, by variant.

        Raises:
            BenchmarkError: it died or hangs.
        """
        own = [variant for variant in variants if variant.accuracy_of is None]
        judged = {variant.name: Judged() for variant in own}
        see = [variant for variant in own if variant.gives != "expression"]
        read = [variant for variant in own if variant.gives in ("expression", "all")]
        with Side(program, self.photos[0].rgb, plan.core, plan.patience) as side:
            for number, photo in enumerate(self.photos if see else ()):
                self._see(side, see, number, photo, judged)
            for face in self.faces if read else ():
                self._read(side, read, face, judged)
        return judged

    def _see(
        self, side: Side, variants: Sequence[Variant], number: int, photo: Labelled, judged: dict[str, Judged]
    ) -> None:
        """Is the face found, and how far off are its points? A bare network sees the crop that we make."""
        rgb, crop = photo.rgb, None
        if variants[0].gives == "network":
            faces = {tuple(_box(face)): face for face in self.finder.analyze(rgb).faces}
            mine = best({"each": [{"box": list(box)} for box in faces]}, photo.box)
            if mine is None:
                return
            rgb, crop = self.crops.cut(rgb, faces[tuple(mine["box"])])
        side.show(rgb)
        for variant in variants:
            seen = side.calls(variant.asked(_MOST_FACES), warm_up=0, calls=1)["seen"]
            if crop is None:
                judged[variant.name].see(number, best(seen, photo.box), photo.points)
            else:
                told = {"points": self.crops.points(seen["offsets"], crop)}
                judged[variant.name].see(number, told, photo.points)

    def _read(
        self, side: Side, variants: Sequence[Variant], face: Expressive, judged: dict[str, Judged]
    ) -> None:
        """What does the largest face that our detector finds show, or all of a crop that it finds none in?

        Who finds faces itself is asked about those that are found; one that it misses tells nothing.
        """
        rgb, asked = face.rgb, {one.expression for one in self.faces}
        found = max(self.finder.analyze(rgb).faces, key=lambda one: one.bbox.area, default=None)
        box = [0.0, 0.0, rgb.shape[1], rgb.shape[0]] if found is None else _box(found)
        for variant in variants:
            given = variant.gives == "expression"
            if not given and found is None:
                continue
            side.show(rgb, box if given else ())
            seen = side.calls(variant.asked(_MOST_FACES), warm_up=0, calls=1)["seen"]
            told = seen if given else best(seen, box) or {}
            judged[variant.name].read(face.expression, told.get("expression") or {}, asked)


def _box(face: Any) -> list[float]:
    return [face.bbox.x, face.bbox.y, face.bbox.width, face.bbox.height]
