"""What may be seen: pictures whose faces are hidden by their parsing map, results reduced to counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from edgeface.frame import Frame
    from edgeface.results import BBox, Face, FrameResult
    from edgeface.tracking import Analyzer
    from edgeface.tracks import TrackResult

__all__ = ["CoverMemory", "Witness", "counts_of", "hide_faces"]

COUNTS = "edgeface.counts/1"

_NOT_FACE = frozenset({"background", "hair", "hat", "cloth", "neck", "necklace", "earring", "person"})
_GREY = (58, 66, 82)
_HOLD = 1_000_000_000  # nanoseconds that the place of a face stays hidden after it was lost
_CELLS = 7  # blocks across a blurred face; what is left says that there is one, and no more
_SAME = 0.3  # overlap of a remembered face with one that is seen


class Witness:
    """Hands frames to an analyzer and remembers every face that it answers, also those a tracker rejects."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer
        self.faces: list[Face] = []
        """Every face since it was last emptied."""

    def analyze(
        self,
        frame: Frame,
        boxes: Sequence[BBox] | None = None,
        rolls: Sequence[float | None] | None = None,
        *,
        skip: Collection[str] = (),
    ) -> FrameResult:
        """Analyse; see `FaceAnalyzer.analyze`."""
        result = self._analyzer.analyze(frame, boxes, rolls, skip=skip)
        self.faces.extend(result.faces)
        return result


class CoverMemory:
    """Keeps a face hidden for a second after it was lost: whoever turns away is not suddenly shown."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, BBox]] = []

    def boxes(self, faces: Sequence[Face], now: int) -> list[BBox]:
        """Return where faces were lately and none is now; take note of those that are."""
        current = [face.bbox for face in faces]
        lost = [
            (at, box)
            for at, box in self._seen
            if 0 <= now - at < _HOLD and all(box.iou(other) < _SAME for other in current)
        ]
        self._seen = lost + [(now, box) for box in current]
        return [box for _, box in lost]


def hide_faces(
    rgb: NDArray[np.uint8], faces: Sequence[Face], boxes: Sequence[BBox] = (), *, blur: bool
) -> NDArray[np.uint8]:
    """Blur faces beyond recognition, or paint them over.

    A face is hidden where its parsing map says skin, eye, mouth and so on, and within its landmarks; one
    without a parsing map that can be believed, within the ellipse of its box.

    Args:
        rgb: uint8 [H, W, 3]; it is not changed.
        faces: the faces of this picture.
        boxes: further places to hide, whatever is there, in pixels.
        blur: blur instead of painting.

    Returns:
        A new picture, uint8 [H, W, 3].
    """
    shown = rgb.copy()
    height, width = rgb.shape[:2]
    for face in faces:
        cover = np.zeros((height, width), np.uint8)
        if not (_by_parsing(cover, face) and _by_landmarks(cover, face)):
            _ellipse(cover, face.bbox, 1.25)
        _hide(shown, cover, face.bbox, blur)
    for box in boxes:
        cover = np.zeros((height, width), np.uint8)
        _ellipse(cover, box, 1.5)
        _hide(shown, cover, box, blur)
    return shown


def counts_of(result: TrackResult | FrameResult) -> dict[str, Any]:
    """Return how many faces there are, how many face the camera, and who came or went; nothing about any."""
    tracks = getattr(result, "tracks", None)
    frame: FrameResult = result if tracks is None else result.frame  # type: ignore[union-attr, assignment]  # told apart above
    said: dict[str, Any] = {"schema": COUNTS, "timestamp_ns": frame.timestamp_ns, "faces": len(frame.faces)}
    if tracks is not None:
        said["facing"] = sum(track.facing for track in tracks)
        said["events"] = [event.to_dict() for event in result.events]  # type: ignore[union-attr]  # told apart above
    return said


def _by_parsing(cover: NDArray[np.uint8], face: Face) -> bool:
    if face.parsing is None:
        return False
    hidden = np.array([name not in _NOT_FACE for name in face.parsing.names])
    part = hidden[face.parsing.to_frame((cover.shape[0], cover.shape[1]))]
    cover[part] = 255
    # A face fills about two thirds of its box; a map that finds little of it has failed.
    inside = part[_slices(face.bbox, cover)]
    return bool(inside.size) and float(inside.mean()) > 0.4


def _by_landmarks(cover: NDArray[np.uint8], face: Face) -> bool:
    """Fill the outline of the points; a face without points has none to miss."""
    if face.landmarks is not None:
        hull = cv2.convexHull(np.rint(face.landmarks.points).astype(np.int32))
        cv2.fillConvexPoly(cover, hull, (255,))
    return face.landmarks is None or face.landmarks.presence >= 0.5


def _ellipse(cover: NDArray[np.uint8], box: BBox, scale: float) -> None:
    x, y = box.center
    axes = (max(1, round(box.width * scale / 2)), max(1, round(box.height * scale / 2)))
    cv2.ellipse(cover, (round(x), round(y)), axes, 0, 0, 360, (255,), -1)


def _slices(box: BBox, cover: NDArray[np.uint8], margin: float = 0.0) -> tuple[slice, slice]:
    x0, x1 = box.x - margin, box.x + box.width + margin
    y0, y1 = box.y - margin, box.y + box.height + margin
    height, width = cover.shape
    columns = slice(int(np.clip(x0, 0, width)), int(np.clip(np.ceil(x1), 0, width)))
    return slice(int(np.clip(y0, 0, height)), int(np.clip(np.ceil(y1), 0, height))), columns


def _hide(shown: NDArray[np.uint8], cover: NDArray[np.uint8], box: BBox, blur: bool) -> None:
    where = _slices(box, cover, 0.6 * box.side)
    region, mask = shown[where], cover[where]
    if mask.size == 0 or not mask.any():
        return
    reach = max(1, round(box.side * 0.04))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    core = cv2.dilate(mask, kernel)
    # Soft outwards only: within the core nothing of the face is left.
    soft = cv2.GaussianBlur(cv2.dilate(core, kernel), (0, 0), reach)
    alpha = (np.maximum(core, soft).astype(np.float32) / 255)[..., None]
    if blur:
        size = box.side / _CELLS
        cells = (max(1, round(region.shape[1] / size)), max(1, round(region.shape[0] / size)))
        small = cv2.resize(region, cells, interpolation=cv2.INTER_AREA)
        over = cv2.resize(small, (region.shape[1], region.shape[0]), interpolation=cv2.INTER_CUBIC)
    else:
        over = np.full_like(region, _GREY)
    region[...] = np.rint(region * (1 - alpha) + over * alpha).astype(np.uint8)
